"""A cache of each service's rows, so that a changed endpoint costs one service of 5,000, and not all of them.

Entries are valid for identical API objects: a watch replaces an object that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import is_
from typing import TYPE_CHECKING, Any

from providers.kubernetes.state import Name, Object, State

if TYPE_CHECKING:
    from providers.kubernetes.services import Served

LABEL = "kubernetes.io/service-name"
_MOST = 64  # changed services; with more, the union is rebuilt
Make = Callable[[Name, Object, list[Object]], "Served | None"]


@dataclass(slots=True)
class Known:
    """`parts` by service, with the objects that they were built from, in the order of the names; `whole` is their union.
    `of`: their other inputs; `services` and `slices`: the API's objects at that time; `own`: the slices of each service."""

    of: tuple[Any, ...] = ()
    services: Mapping[Name, Object] = field(default_factory=dict)
    slices: Mapping[Name, Object] = field(default_factory=dict)
    own: dict[Name, dict[Name, Object]] = field(default_factory=dict)
    parts: dict[Name, tuple[Object, list[Object], Served]] = field(default_factory=dict)
    whole: Served | None = None

    def of_services(self, state: State, of: tuple[Any, ...], make: Make, empty: Callable[[], Served]) -> Served:
        """The union of all services, which callers must not mutate. `make` returns one service's part, None if it is
        not served."""
        if self.of != of:
            self.parts, self.whole = {}, None
        whole = self._edited(state, make) or self._anew(state, make, empty)
        self.of, self.services, self.slices, self.whole = of, state.services, state.slices, whole
        return whole

    def _anew(self, state: State, make: Make, empty: Callable[[], Served]) -> Served:
        self.own = {}
        for name, each in sorted(state.slices.items()):
            if whose := _service_of(name, each):
                self.own.setdefault(whose, {})[name] = each
        before, self.parts, whole = self.parts, {}, empty()
        for name, service in sorted(state.services.items()):
            own, part = list(self.own.get(name, {}).values()), before.get(name)
            if part is None or part[0] is not service or not _are(part[1], own):
                made = make(name, service, own)
                part = (service, own, made) if made is not None else None
            if part is not None:
                self.parts[name] = part
                whole.take(part[2])
        return whole

    def _edited(self, state: State, make: Make) -> Served | None:
        """The union with the rows of changed services replaced; None if more than the contents of rows has changed."""
        if self.whole is None or state.services.keys() != self.services.keys():
            return None
        changed = {name for name, each in state.services.items() if self.services[name] is not each}
        for name in _others(self.slices, state.slices):
            for each in (self.slices.get(name), state.slices.get(name)):
                if each is not None and (service := _service_of(name, each)):
                    changed.add(service)
                    those = {**self.own.get(service, {}), name: each}
                    self.own[service] = {at: those[at] for at in sorted(those) if state.slices.get(at) is those[at]}
        if len(changed) > _MOST:
            return None
        rows = {balancer: dict(those) for balancer, those in self.whole.rows.items()}
        for name in sorted(changed & state.services.keys()):
            own, old = list(self.own.get(name, {}).values()), self.parts.get(name)
            made = make(name, state.services[name], own)
            if old is None and made is None:
                continue
            if old is None or made is None or not self._is_edit(old[2], made):
                return None
            self.parts[name] = state.services[name], own, made
            for balancer, its in made.rows.items():
                rows[balancer].update(its)
        return replace(self.whole, rows=rows) if changed else self.whole

    def _is_edit(self, old: Served, new: Served) -> bool:
        """Whether only the contents of rows differ; and the old rows are in force, not those of another service."""
        assert self.whole is not None
        for balancer, rows in old.rows.items():
            there = self.whole.rows[balancer]
            if rows.keys() != new.rows[balancer].keys() or any(there[key] is not row for key, row in rows.items()):
                return False
        return replace(old, rows={}) == replace(new, rows={})


def _service_of(name: Name, each: Object) -> Name | None:
    service = (each.get("metadata", {}).get("labels") or {}).get(LABEL)
    return (name[0], service) if service else None


def _others(old: Mapping[Name, Object], new: Mapping[Name, Object]) -> Iterable[Name]:
    if old is new:
        return ()
    return [name for name in {**old, **new} if old.get(name) is not new.get(name)]


def _are(some: list[Object], others: list[Object]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))
