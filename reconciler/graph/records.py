"""What the kernel should hold, or holds: one record for each object, found by its address.

The desired graph and the live graph are both made of these, so that a diff is a comparison of values. Records name each
other by address or path, never by kernel number: an ifindex or a program id is resolved at the edge, on the way in
and on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler import pins
from reconciler.graph.documents import StoredDocument, stored
from reconciler.model import BuildKey, Link, Tap, family_of

GONE = "(gone)"  # stands for a netdev or a program that is no longer there


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """A network namespace that a topology owns."""

    name: str
    topology: str

    @property
    def address(self) -> str:
        return f"namespace/{self.name}"


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """Netdevs that a topology owns. `alias` marks them as pcn's. Live, `link` holds what was read back, and None
    addresses what could not be read because the far end is gone."""

    link: Link
    topology: str

    @property
    def name(self) -> str:
        return self.link.end.name

    @property
    def address(self) -> str:
        return link_address(self.link.end.name, self.link.end.netns)


@dataclass(frozen=True, slots=True)
class OffloadRecord:
    """The far end of a veth that carries XDP traffic: GRO gives it the NAPI without which redirected frames are lost,
    and its checksums must be whole and VLAN tags in the frame because XDP sees no offload metadata."""

    netdev: str
    netns: str | None
    gro: bool = True
    tx_checksum: bool = False
    tx_vlan: bool = False

    @property
    def address(self) -> str:
        return f"offload/{self.netns or ''}:{self.netdev}"


@dataclass(frozen=True, slots=True)
class PromiscuousRecord:
    """A netdev that hears frames for other stations, as a bridge's port has to. Live, `ours` says whether it was asked for here;
    its mark is a symlink below bpffs, and may be all that is left of it."""

    netdev: str
    topology: str = field(default="", compare=False)
    ours: bool = field(default=True, compare=False)

    @property
    def address(self) -> str:
        return f"promiscuous/{self.netdev}"


@dataclass(frozen=True, slots=True)
class CubeRecord:
    """`fuse`: it may run as one program with the cubes around it. `init`: its init-only leaves as JSON; live, '' if it was made
    by a version that did not note them. `sources` stands for its C where that depends on its configuration."""

    name: str
    service: str
    topology: str
    type: str
    fuse: bool = True
    init: str = ""
    sources: str = ""

    @property
    def address(self) -> str:
        return f"cube/{self.name}"

    @property
    def build_key(self) -> BuildKey:
        return BuildKey(self.service, family_of(self.type), self.sources)


@dataclass(frozen=True, slots=True)
class PortRecord:
    """`peer` as the document has it; '-' is unconnected."""

    cube: str
    name: str
    index: int
    peer: str

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/port/{self.name}"


@dataclass(frozen=True, slots=True)
class WaitingRecord:
    """A transparent cube to which no packet finds its way yet: the netdev `at` which it is to be attached is not there, or the
    port `at` which it sits leads nowhere. `place` is its place in the list there. No hook or hop says so, and it must not be
    forgotten: it may be what protects the netdev that comes."""

    cube: str
    at: str
    place: int

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/waits"


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table. `spec` is (type, key size, value size, max entries, flags). `rows` None: content is not the
    configuration's. `mask` marks the bits of a value that are; `sparse`: all-zero rows count as absent.
    `init` marks the bits of init-only leaves: a row in which one of them changes is replaced. Live, `relaid` says that its rows
    are laid out in another way than today's programs have it. `btf`: its types, where the kernel has to know them. `bits`: each
    bit is set before what it stands for is there, and cleared after it went."""

    cube: str
    name: str
    path: str
    spec: tuple[int, int, int, int, int]
    rows: Mapping[bytes, bytes] | None = None
    mask: bytes = b""
    sparse: bool = False
    staged: bool = False
    init: bytes = field(default=b"", compare=False)
    relaid: bool = False
    btf: bytes = field(default=b"", compare=False)
    bits: bool = field(default=False, compare=False)

    @property
    def address(self) -> str:
        if not self.cube:
            return self.path
        below = self.path.removeprefix(f"{pins.cube(self.cube)}/")  # a twin has tables of the same names: twin/hops
        return f"cube/{self.cube}/table/{below.removeprefix('tables/')}"


@dataclass(frozen=True, slots=True)
class ProgramRecord:
    """A µCube. `object` is the digest of the compiled object; `constants` the bytes of its frozen map.

    Live, `object` says 'foreign:<tag>' if what runs is not what was loaded.
    """

    cube: str
    side: str
    direction: str
    index: int
    object: str
    constants: bytes

    @property
    def name(self) -> str:
        return f"{'twin_' if self.side else ''}{pins.program(self.direction, self.index)}"

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/program/{self.name}"


@dataclass(frozen=True, slots=True)
class ChainPart:
    """A cube's share of a program of several: its first program in a direction, entered at port `index`, and left by `row` for
    the part that follows (-1: none does)."""

    cube: str
    side: str
    direction: str
    index: int
    row: int
    object: str
    constants: bytes


@dataclass(frozen=True, slots=True)
class TrampolineRecord:
    """The few instructions by which a packet enters (ingress) or leaves (egress) a cube at port `index`; or, with a `chain`, the
    cube itself and those that follow it. `chain` is the digest of its parts; live, 'foreign:…' if what runs is not what was
    linked from what is there now, and `refused` if the verifier would not have it, so that a plain stub leads to hops."""

    cube: str
    side: str
    direction: str
    index: int
    port: str
    flavour: str
    chain: str = ""
    parts: tuple[ChainPart, ...] = field(default=(), compare=False)
    refused: bool = field(default=False, compare=False)

    @property
    def path(self) -> str:
        return pins.trampoline(self.cube, self.side, self.direction, self.index, self.port)

    @property
    def address(self) -> str:
        return f"stub/{self.path}"


@dataclass(frozen=True, slots=True)
class NextHopRecord:
    """Row `row` of a cube's hops: kind 'none', 'pass', 'netdev' (target is its name) or 'program' (a stub's path)."""

    cube: str
    side: str
    row: int
    kind: str
    target: str = ""

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/hop/{self.side}{self.row}"


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """Row `index` of a cube's flood table: `netdev` leads out of the port. `far` is the far end of the hidden veth
    pair (then `netdev` is the near end), '' if the port is a plain netdev, and in a twin's table, as it sends out by the near
    end."""

    cube: str
    index: int
    netdev: str
    far: str = ""
    side: str = pins.MAIN

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/member/{self.side}{self.index}"


@dataclass(frozen=True, slots=True)
class HookRecord:
    """What runs at a netdev's hook ('xdp', 'tcx_ingress', 'tcx_egress'). `mode`: '' | 'skb' | 'drv' for XDP. `pin` is where it
    is pinned, if that is not where its netdev's name says: the netdev was renamed."""

    netdev: str
    point: str
    stub: str
    mode: str = ""
    pin: str = ""

    @property
    def path(self) -> str:
        return self.pin or pins.hook(self.netdev, self.point)

    @property
    def address(self) -> str:
        return f"hook/{self.netdev}/{self.point}"


@dataclass(frozen=True, slots=True, eq=False)
class TopologyRecord:
    """The applied document, JSON as the user ordered it, and what is known of it. Records are equal if their documents say the
    same."""

    name: str
    document: str
    stored: StoredDocument = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", stored(self.document))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopologyRecord) and self.name == other.name and self.stored.says_the_same_as(other.stored)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def address(self) -> str:
        return f"topology/{self.name}"


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
OfNetwork = NamespaceRecord | LinkRecord | OffloadRecord | PromiscuousRecord
State = dict[str, Record]


class RecordGroup(dict[str, Record]):
    """The records of one cube, or those of none, by address. Nobody changes it, so that `like`, which was found to be equal,
    stays so."""

    __slots__ = ("like",)

    def __init__(self, records: Mapping[str, Record]) -> None:
        super().__init__(records)
        self.like: RecordGroup | None = None

    def is_known_to_be(self, other: RecordGroup | None) -> bool:
        """Whether it is known, without a comparison, that the other one says the same."""
        return other is self or (other is not None and other.like is self)


class Grouped(State):
    """A state that nobody changes, put together from `groups`: one for each cube by its name, and '' for what is of none. Most
    groups are the same objects from one look to the next, and are not compared then."""

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


def link_address(name: str, netns: str | None) -> str:
    return f"link/{netns or ''}:{name}"


@dataclass(slots=True)
class Live:
    """The kernel as it was read: records by address, what no record accounts for, and the netdevs there are.

    `leftovers` are paths below the root that an interrupted apply left; nothing refers to them. `generations` is the
    number of each cube's current generation, and `ports` has the indices of its ports; `documents` are the applied ones, which
    are among the records, and `unreadable` the names of those that cannot be read;
    `netdevs` has every netdev of this namespace by name; `tables` the raw rows
    of tables by cube. `adoptable` are tables that lost their pin but are in use: map ids by path, and, in `adopted`, what
    they hold. `overfull` are the pins of tables that have more rows than they are to hold. `sealed` topologies were left out, for
    the reason given (see `live.quarantine`). `recorded` are the digests under which programs are recorded. `namespaces` are those
    that the applied documents name, with their topologies; `network` is the network as seen beside what was applied, where
    `state` has it as seen beside what is wanted. `published` are the facts that workers published, by cube. `format` is that of
    the layout in bpffs. `taps` are those that running commands ask for."""

    state: State = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    generations: dict[str, int] = field(default_factory=dict)
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    documents: tuple[TopologyRecord, ...] = ()
    unreadable: tuple[str, ...] = ()
    netdevs: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, dict[bytes, bytes]]] = field(default_factory=dict)
    adoptable: dict[str, int] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    adopted: dict[str, TableRecord] = field(default_factory=dict)
    overfull: frozenset[str] = frozenset()
    recorded: set[str] = field(default_factory=set)
    namespaces: dict[str, str] = field(default_factory=dict)
    network: State = field(default_factory=dict)
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = pins.FORMAT
    taps: tuple[Tap, ...] = ()
