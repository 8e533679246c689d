"""Lists that are written once and used in several places: named sets of addresses, groups of rules, and whatever else is a
list.

    spec:
      shared:
        - {name: office, entries: [10.0.0.0/8, 192.0.2.7]}
        - {name: web, entries: [{l4proto: TCP, dport: 80}, {l4proto: TCP, dport: 443}]}
      cubes:
        - name: fw1
          service-name: firewall
          set: [{name: office, prefix: {shared: office}}]                           in the place of a list: all of it
          chain: [{name: INGRESS, rule: [{id: 10, shared: web, src-set: office}]}]  in that of an entry: each of its entries

Leaves beside `shared` apply to each of the entries, and a number that is the list's key is incremented. References are
expanded before anything is checked, so services never see them; errors in an entry are reported at its own position.

A cube that is unchanged, with unchanged lists, is the very same object; a list that is used as a unit is never copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.check.messages import quoted
from reconciler.check.schema import Services, key_finder, service_of
from reconciler.check.shared_places import Places, Run
from reconciler.document import Document, Path
from reconciler.document.paths import display
from reconciler.document.suggest import near_miss
from reconciler.errors import Hint, Problem
from reconciler.incremental.entry_memo import FEW, EntryMemo
from reconciler.incremental.memo import Owned

HERE: Path = ("spec", "shared")
_REFERENCE = "shared"
_MOST = 1_000_000  # entries that one cube's references may come to


@dataclass(frozen=True, slots=True)
class SharedList:
    entries: list[Any]
    path: Path


@dataclass(frozen=True, slots=True)
class _Written:
    """A cube as it is with its lists; `used` has those, by name."""

    raw: Any
    used: Mapping[str, Any]
    cube: Any
    runs: Mapping[Path, tuple[Run, ...]]


_CHECKS = 4
_KNOWN: Owned[deque[dict[str, _Written]]] = Owned(lambda: deque([{}], _CHECKS))
"""The cubes of the last checks, by name; that one is the very same object is seen then."""


def written_out(document: Document, services: Services) -> tuple[Document, list[Problem]]:
    """The document without `spec.shared`, its lists where they are used; and what is wrong with them."""
    spec = document.data.get("spec") if isinstance(document.data, Mapping) else None
    if not isinstance(spec, Mapping) or _REFERENCE not in spec:
        return document, []
    given, problems = _Document(document, services), list[Problem]()
    lists = dict(_declared(given, spec[_REFERENCE], problems))
    said = spec.get("cubes")
    cubes = said if isinstance(said, list) else []
    _KNOWN().append({})
    written = [_cube(given, place, cube, lists, problems) for place, cube in enumerate(cubes)]
    for name in lists.keys() - {name for each in written for name in each.used}:
        unused = f"nothing uses the shared list {quoted(name)}"
        problems.append(given.problem(lists[name].path[:-1], unused, severity="warning"))
    rest = {name: value for name, value in spec.items() if name != _REFERENCE}
    if cubes:
        rest["cubes"] = [each.cube for each in written]
    runs = {("spec", "cubes", place, *path): some for place, each in enumerate(written) for path, some in each.runs.items()}
    return replace(document, data={**document.data, "spec": rest}, places=Places(document, runs), lists={}), problems


@dataclass(frozen=True, slots=True)
class _Document:
    """The document, and the position of its parts for problems."""

    document: Document
    services: Services

    def problem(self, path: Path, message: str, hint: str | Hint = "", severity: str = "error") -> Problem:
        said = display(path, self.document.data, key_finder(self.document.data, self.services))
        return Problem(message, said, self.document.position(path), hint, severity)


def _declared(document: _Document, said: Any, problems: list[Problem]) -> Iterator[tuple[str, SharedList]]:
    if not isinstance(said, list):
        problems.append(document.problem(HERE, "expected lists, each with a name and its entries"))
        return
    seen: set[str] = set()
    for place, each in enumerate(said):
        path: Path = (*HERE, place)
        name, entries = (each.get("name"), each.get("entries")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(name, str) or not isinstance(entries, list) or len(each) > 2:
            problems.append(document.problem(path, "a shared list is a 'name' and its 'entries'"))
        elif name in seen:
            problems.append(document.problem(path, f"there are two shared lists {quoted(name)}"))
        else:
            seen.add(name)
            yield name, SharedList(entries, (*path, "entries"))


def _cube(
    document: _Document, place: int, raw: Any, lists: Mapping[str, SharedList], problems: list[Problem]
) -> _Written:
    """As the last time if it and the lists that it uses are the same objects."""
    name = str(raw.get("name")) if isinstance(raw, Mapping) else ""
    for check in _KNOWN():
        known = check.get(name)
        if known is not None and known.raw is raw and all(_is_same(known, used, lists) for used in known.used):
            break
    else:
        service = service_of(raw, document.services)
        work = _Writing(document, lists, ("spec", "cubes", place))
        before = len(problems)
        cube = work.value(raw, (), work.start, service.schema if service else {})
        problems += work.problems
        known = _Written(raw, {name: (lists[name].entries, lists[name].path) for name in work.used}, cube, work.runs)
        if len(problems) > before:
            return known
    _KNOWN()[-1][name] = known
    return known


def _is_same(known: _Written, name: str, lists: Mapping[str, SharedList]) -> bool:
    entries, path = known.used[name]
    return name in lists and lists[name].entries is entries and lists[name].path == path


@dataclass(slots=True)
class _Writing:
    """The expansion of one cube, which is at `start`. `runs`: of each assembled list, where its entries originate from."""

    document: _Document
    lists: Mapping[str, SharedList]
    start: Path
    runs: dict[Path, tuple[Run, ...]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    within: tuple[str, ...] = ()
    left: int = _MOST

    def value(self, value: Any, path: Path, origin: Path, schema: Mapping[str, Any]) -> Any:
        """The expanded value at `path` of the cube, whose source is at `origin` of the document."""
        if isinstance(value, Mapping):
            name = value.get(_REFERENCE)
            if len(value) == 1 and isinstance(name, str) and "items" in schema:
                return self.whole(name, path, origin, schema)
            if not _has_reference(value):
                return value
            known = schema.get("properties", {})
            return {key: self.value(part, (*path, key), (*origin, key), known.get(key, {})) for key, part in value.items()}
        if isinstance(value, list) and _has_reference(value):
            return self.several(value, path, origin, schema)
        return value

    def found(self, name: str, origin: Path) -> SharedList | None:
        if name in self.lists and name not in self.within:
            self.used.add(name)
            return self.lists[name]
        ring = " > ".join((*self.within, name))
        wrong = f"shared lists are in one another: {ring}" if name in self.within else f"there is no shared list {quoted(name)}"
        hint = near_miss(name, lambda: sorted(self.lists), "") if name not in self.within else ""
        self.problems.append(self.document.problem(origin, wrong, hint))
        return None

    def whole(self, name: str, path: Path, origin: Path, schema: Mapping[str, Any]) -> Any:
        found = self.found(name, origin)
        if found is None:
            return []
        if not _has_reference(found.entries):
            self.runs[path] = (Run(0, found.path),)
            return found.entries
        return self.inside(name, found, path, schema)

    def inside(self, name: str, found: SharedList, path: Path, schema: Mapping[str, Any]) -> Any:
        """A shared list that uses others."""
        before, self.within = self.within, (*self.within, name)
        made = self.value(found.entries, path, found.path, schema)
        self.within = before
        return made

    def several(self, entries: list[Any], path: Path, origin: Path, schema: Mapping[str, Any]) -> list[Any]:
        """A list of which some entries represent others."""
        made: list[Any] = []
        runs: list[Run] = []
        items = schema.get("items", {})
        for place, entry in enumerate(entries):
            here: Path = (*origin, place)
            if not _is_reference(entry, items):
                if not runs or runs[-1].origin != origin or runs[-1].place + len(made) - runs[-1].start != place:
                    runs.append(Run(len(made), origin, place))
                made.append(self.value(entry, (*path, len(made)), here, items))
                continue
            found = self.found(entry[_REFERENCE], here)
            if found is None:
                continue
            first = len(made)
            some, theirs = self.of_list(entry[_REFERENCE], found, schema)
            beside = {leaf: said for leaf, said in entry.items() if leaf != _REFERENCE}
            runs += [replace(run, start=run.start + first, beside=here, leaves=run.leaves | beside.keys()) for run in theirs]
            made += self.merged(some, beside, here, _counted(schema, beside)) if beside else some
            self.left -= len(some)
            if self.left < 0:
                said = f"shared lists come to more than {_MOST} entries here"
                self.problems.append(self.document.problem(here, said))
                return []
        self.runs[path] = tuple(runs)
        return made

    def of_list(self, name: str, found: SharedList, schema: Mapping[str, Any]) -> tuple[list[Any], tuple[Run, ...]]:
        if not _has_reference(found.entries):
            return found.entries, (Run(0, found.path),)
        kept, self.runs = self.runs, {}
        made = self.inside(name, found, (), schema)
        theirs, self.runs = self.runs.get((), ()), kept
        return made, theirs

    def merged(self, entries: list[Any], beside: Mapping[str, Any], here: Path, counted: str) -> Iterator[Any]:
        for place, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                said = "what stands beside 'shared' is said of mappings, and these entries are none"
                self.problems.append(self.document.problem(here, said))
                return
            for leaf in beside.keys() & entry.keys():
                said = f"the shared list's entries say {leaf} themselves"
                self.problems.append(self.document.problem((*here, leaf), said))
            yield {**entry, **beside, **({counted: beside[counted] + place} if counted else {})}


def _counted(schema: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    """The key that counts up."""
    keys = schema.get("x-yang-key", ())
    return keys[0] if len(keys) == 1 and type(beside.get(keys[0])) is int else ""


def _is_reference(entry: Any, items: Mapping[str, Any]) -> bool:
    is_one = isinstance(entry, Mapping) and isinstance(entry.get(_REFERENCE), str)
    return is_one and _REFERENCE not in items.get("properties", {})


_ENTRIES: Owned[EntryMemo[bool]] = Owned(EntryMemo)
_LISTS: Owned[deque[tuple[list[Any], bool]]] = Owned(lambda: deque(maxlen=2 * FEW))
"""The lists that were looked at last, and whether they have references."""


def _has_reference(value: Any) -> bool:
    """Whether anything in it may be a reference."""
    if value.__class__ is dict:
        return _REFERENCE in value or any(part.__class__ in (dict, list) and _has_reference(part) for part in value.values())
    if not isinstance(value, list):
        return False
    if len(value) < FEW:
        return any(map(_has_reference, value))
    for known, answer in _LISTS():
        if known is value:
            return answer
    found = any(_ENTRIES().each(value, lambda _, entry: _has_reference(entry)))
    _LISTS().append((value, found))
    return found
