"""The objects that the kernel should hold, or holds: one record for each, found by its address.

The desired graph and the live graph both consist of these, so that a diff is a comparison of values. Records refer to each
other by address or path, never by a kernel number: an ifindex or a program id is resolved at the edge.
"""

from __future__ import annotations

from reconciler.graph.records.cube import (
    CubeRecord,
    PortRecord,
    WaitingRecord,
)
from reconciler.graph.records.forwarding import (
    HookRecord,
    MemberRecord,
    NextHopRecord,
)
from reconciler.graph.records.live import (
    GONE,
    Live,
)
from reconciler.graph.records.network import (
    LinkRecord,
    NamespaceRecord,
    OffloadRecord,
    OfNetwork,
    PromiscuousRecord,
    link_address,
)
from reconciler.graph.records.program import (
    ChainPart,
    ProgramRecord,
    TrampolineRecord,
)
from reconciler.graph.records.state import (
    Grouped,
    Record,
    RecordGroup,
    State,
    assemble,
    global_records,
    grouped,
)
from reconciler.graph.records.table import (
    TableRecord,
)
from reconciler.graph.records.topology import (
    TopologyRecord,
)

__all__ = [
    "GONE",
    "ChainPart",
    "CubeRecord",
    "Grouped",
    "HookRecord",
    "LinkRecord",
    "Live",
    "MemberRecord",
    "NamespaceRecord",
    "NextHopRecord",
    "OfNetwork",
    "OffloadRecord",
    "PortRecord",
    "ProgramRecord",
    "PromiscuousRecord",
    "Record",
    "RecordGroup",
    "State",
    "TableRecord",
    "TopologyRecord",
    "TrampolineRecord",
    "WaitingRecord",
    "assemble",
    "global_records",
    "grouped",
    "link_address",
]
