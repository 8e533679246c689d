"""States: records by address, in groups by cube, of which most are the same objects from one poll to the next."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.graph.records.cube import CubeRecord, PortRecord, WaitingRecord
from reconciler.graph.records.forwarding import HookRecord, MemberRecord, NextHopRecord
from reconciler.graph.records.network import LinkRecord, NamespaceRecord, OffloadRecord, PromiscuousRecord
from reconciler.graph.records.program import ProgramRecord, TrampolineRecord
from reconciler.graph.records.table import TableRecord
from reconciler.graph.records.topology import TopologyRecord

Record = (
    NamespaceRecord
    | LinkRecord
    | OffloadRecord
    | PromiscuousRecord
    | CubeRecord
    | PortRecord
    | WaitingRecord
    | TableRecord
    | ProgramRecord
    | TrampolineRecord
    | NextHopRecord
    | MemberRecord
    | HookRecord
    | TopologyRecord
)
State = dict[str, Record]


class RecordGroup(dict[str, Record]):
    """The records of one cube, or those of none, by address. Immutable, so that `like`, an equal group, stays equal."""

    __slots__ = ("like",)

    def __init__(self, records: Mapping[str, Record]) -> None:
        super().__init__(records)
        self.like: RecordGroup | None = None

    def is_known_to_be(self, other: RecordGroup | None) -> bool:
        """Whether the other one is equal, as far as is known without a comparison."""
        return other is self or (other is not None and other.like is self)


class Grouped(State):
    """An immutable state that consists of `groups`: one for each cube by its name, and '' for records of none. Most groups
    are the same objects from one poll to the next, and are not compared then."""

    __slots__ = ("groups",)

    def __init__(self, groups: Mapping[str, RecordGroup]) -> None:
        super().__init__()
        self.groups = groups
        for group in groups.values():
            self.update(group)

    def without_cubes(self) -> RecordGroup:
        return self.groups.get("", RecordGroup({}))

    def but(self, groups: Mapping[str, RecordGroup]) -> Grouped:
        """This with other groups in the place of some."""
        made = Grouped({})
        made.groups = {**self.groups, **groups}
        made.update(self)
        for owner, group in groups.items():
            for address in self.groups.get(owner, ()):
                del made[address]
            made.update(group)
        return made


def assemble(groups: Mapping[str, RecordGroup], before: Grouped | None) -> Grouped:
    """A state of these groups; most of them are those of the one `before`."""
    if before is None or before.groups.keys() != groups.keys():
        return Grouped(groups)
    return before.but({owner: group for owner, group in groups.items() if before.groups[owner] is not group})


def grouped(state: State) -> Grouped:
    groups: dict[str, State] = {}
    for address, record in state.items():
        owner = record.name if isinstance(record, CubeRecord) else getattr(record, "cube", "")
        groups.setdefault(owner, {})[address] = record
    return Grouped({owner: RecordGroup(records) for owner, records in groups.items()})


def global_records(state: State) -> State:
    """At least those records that are of no cube: netdevs, hooks, documents."""
    return state.without_cubes() if isinstance(state, Grouped) else state
