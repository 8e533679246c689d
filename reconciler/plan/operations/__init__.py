"""The operations of a plan: one frozen value for each action, with its arguments and, where these suffice, its inverse.

`live.execute` has a function for each of these types, in files of the same names.
"""

from reconciler.plan.operations.base import Operation
from reconciler.plan.operations.forwarding import AttachHook, DetachHook, MoveHook, SetHop, SetMember, UpdateHook
from reconciler.plan.operations.names import Grace, MakeDirectory, Remove, RemoveCube, Rename, SetDocument, SetLink
from reconciler.plan.operations.network import (
    ClaimLink,
    ConfigureEnd,
    CreateLink,
    CreateNamespace,
    DeleteLinks,
    DeleteNamespace,
    SetOffload,
    SetPromiscuous,
    TellEnd,
)
from reconciler.plan.operations.programs import (
    ClearSlot,
    KeepProgram,
    LinkedCube,
    LoadChain,
    LoadProgram,
    LoadStub,
    RecordGeneration,
    SetSlot,
)
from reconciler.plan.operations.tables import (
    AdoptMap,
    CreateMap,
    DeleteRows,
    FlushRows,
    MigrateRows,
    PurgeRows,
    WriteRows,
    ZeroRows,
)

__all__ = [
    "AdoptMap", "AttachHook", "ClaimLink", "ClearSlot", "ConfigureEnd", "CreateLink", "CreateMap", "CreateNamespace",
    "DeleteLinks", "DeleteNamespace", "DeleteRows", "DetachHook", "FlushRows", "Grace", "KeepProgram", "LinkedCube",
    "LoadChain", "LoadProgram", "LoadStub", "MakeDirectory", "MigrateRows", "MoveHook", "Operation", "PurgeRows",
    "RecordGeneration", "Remove", "RemoveCube", "Rename", "SetDocument", "SetHop", "SetLink", "SetMember", "SetOffload",
    "SetPromiscuous", "SetSlot", "TellEnd", "UpdateHook", "WriteRows", "ZeroRows",
]  # fmt: skip
