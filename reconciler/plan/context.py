"""What planning may examine, and what it has decided so far. Shared by the planners of each kind of record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.graph.parts import Built, Desired
from reconciler.graph.records import GONE, CubeRecord, HookRecord, Live, NextHopRecord, State, global_records
from reconciler.model import BuildKey
from reconciler.service.registry import Services

if TYPE_CHECKING:
    from reconciler.facts.own import OwnNetdev
    from reconciler.plan.operations import Operation

ASIDE = "~old"  # where a cube that is replaced goes on working until its successor has taken over
NEW = "~new"  # a table that will take over from one of another shape
Configs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Inputs that are in neither the desired nor the live graph: the host's own use of netdevs that are attached
    (facts/own.py), and configurations by cube, applied and wanted. Netdevs that the plan creates have no connections yet:
    `made`."""

    own: Mapping[str, OwnNetdev] = field(default_factory=dict)
    before: Configs = field(default_factory=dict)
    after: Configs = field(default_factory=dict)
    made: frozenset[str] = frozenset()


def taken(wanted: State, live: State) -> set[str]:
    """The netdevs where the path of packets changes: for these the host's own use is read."""
    hooks = (r for r in global_records(wanted).values() if isinstance(r, HookRecord) and not pins.is_hidden(r.netdev))
    return {hook.netdev for hook in hooks if live.get(hook.address) != hook}


@dataclass(slots=True)
class Context:
    """All inputs of planning. `built` are compiled kinds, `objects` by digest; `rebuilt` are tables and stubs that are
    replaced, with the temporary pins of their successors; `growing` are cubes that get more programs than they have, which
    rows may refer to; `cleared` are orphans that are removed before new objects take their pins; `moved` has the pins to
    which replaced cubes are renamed aside; `state` is the live one without objects that will be removed first, and `altered`:
    whether there are any; `restore` has, by the address of a link that is recreated, how to create the old one again."""

    desired: Desired
    live: Live
    services: Services
    built: Mapping[BuildKey, Built]
    objects: Mapping[str, Any]
    state: State = field(default_factory=dict)
    altered: bool = False
    fresh: set[str] = field(default_factory=set)
    growing: set[str] = field(default_factory=set)
    rebuilt: dict[str, str] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    restore: dict[str, tuple[Operation, ...]] = field(default_factory=dict)
    _reachable: set[str] | None = None
    _referrers: dict[str, list[HookRecord | NextHopRecord]] | None = None
    _hooks: dict[str, HookRecord] | None = None

    def hook_at(self, path: str) -> HookRecord | None:
        """The live hook that is pinned there, if it is attached to anything."""
        if self._hooks is None:
            records = global_records(self.live.state).values()
            self._hooks = {r.path: r for r in records if isinstance(r, HookRecord) and r.stub != GONE}
        return self._hooks.get(path)

    def referrers(self, stub: str) -> list[HookRecord | NextHopRecord]:
        """The hooks and hops that point to a stub and stay as they are."""
        if self._referrers is None:
            self._referrers = {}
            for record in self.desired.state.values():
                if isinstance(record, HookRecord | NextHopRecord) and self.state.get(record.address) == record:
                    target = record.stub if isinstance(record, HookRecord) else record.target
                    self._referrers.setdefault(target, []).append(record)
        return self._referrers.get(stub, [])

    def is_reachable(self, cube: str) -> bool:
        """Whether any hook or hop of the desired graph refers to a cube: if none does, its own hops lose no packet."""
        if self._reachable is None:
            leading = [r for r in self.desired.state.values() if isinstance(r, HookRecord | NextHopRecord)]
            targets = [r.stub if isinstance(r, HookRecord) else r.target for r in leading]
            self._reachable = {"/".join(target.split("/")[:2]) for target in targets}
        return pins.cube(cube) in self._reachable

    def path_now(self, path: str) -> str:
        """The pin of a cube's object once the replaced cubes are renamed aside."""
        home = "/".join(path.split("/")[:2])
        return self.moved.get(home, home) + path.removeprefix(home)

    def unused(self, path: str) -> str:
        """`path`, lengthened until it differs from all orphans of interrupted applies: such an orphan may be in use."""
        while path in self.live.orphans:
            path += "~"
        return path

    def cube(self, name: str) -> CubeRecord | None:
        record = self.desired.state.get(f"cube/{name}")
        return record if isinstance(record, CubeRecord) else None

    def built_for(self, name: str) -> Built:
        record = self.cube(name)
        assert record is not None
        return self.built[record.build_key]


def what(record: CubeRecord) -> str:
    return f"{record.service} ({record.type})"
