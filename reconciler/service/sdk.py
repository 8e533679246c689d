"""The only module of pcn that a service's Python imports: its arguments, its results, and its exceptions.

    cubes/<service>/__init__.py    from reconciler.service.sdk import Env, TableRows

A service from elsewhere imports it too. Everything else may change with any version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from reconciler.errors import DocumentError, Position, Problem, UsageError
from reconciler.facts import Facts
from reconciler.facts.netdevs import Netdev
from reconciler.incremental.entry_memo import EntryMemo
from reconciler.incremental.memo import Owned, memoised, recent
from reconciler.incremental.persistent_list import Distinct, PersistentList, Sums, splice, unchanged
from reconciler.incremental.row_delta import row_delta
from reconciler.service.commands import Command, CommandCall, CommandDone
from reconciler.service.implementation import ActionCall, ActionDone, ServiceImpl
from reconciler.service.importers import Import, Imported, Option
from reconciler.service.model.codec import Env, decode, encode
from reconciler.service.model.packing import place
from reconciler.service.model.rows import Migrate, TableRows

__all__ = [
    "ActionCall",
    "ActionDone",
    "Answer",
    "Command",
    "CommandCall",
    "CommandDone",
    "CubeHandle",
    "Distinct",
    "DocumentError",
    "EntryMemo",
    "Env",
    "Facts",
    "Import",
    "Imported",
    "Metadata",
    "Migrate",
    "Netdev",
    "Option",
    "Owned",
    "PersistentList",
    "Position",
    "Problem",
    "ServiceImpl",
    "Sums",
    "TableHandle",
    "TableRows",
    "UsageError",
    "decode",
    "encode",
    "memoised",
    "place",
    "recent",
    "row_delta",
    "splice",
    "unchanged",
]


class Metadata(Protocol):
    """Of a packet in the slow path (reconciler/slowpath/handle.py)."""

    @property
    def port(self) -> str: ...
    @property
    def metadata(self) -> tuple[int, int, int]: ...
    @property
    def direction(self) -> str: ...
    @property
    def length(self) -> int: ...
    @property
    def time(self) -> int: ...


class TableHandle(Protocol):
    """One of the cube's tables, rows as bytes."""

    def get(self, key: bytes) -> bytes | None: ...
    def set(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> bool: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...


class Question(Protocol):
    """A request that was sent (`CubeHandle.ask`)."""

    @property
    def of(self) -> bytes: ...


class Answer(Protocol):
    """The outcome (reconciler/slowpath/questions.py)."""

    @property
    def question(self) -> Question: ...
    @property
    def error(self) -> str: ...
    @property
    def line(self) -> bytes: ...


class CubeHandle(Protocol):
    """The cube that a `SlowPath` serves, and all that it may do to the world (reconciler/slowpath/handle.py)."""

    INGRESS: ClassVar[str]
    EGRESS: ClassVar[str]
    port_names: dict[int, str]

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def ports(self) -> Mapping[str, int]: ...
    @property
    def facts(self) -> Facts: ...
    def publish_fact(self, name: str, value: Any) -> None: ...
    def log(self, level: str, text: str) -> None: ...
    def ask(self, of: bytes, address: str, port: int, seconds: float, send: bytes = b"") -> bool: ...
    def answers(self) -> Sequence[Answer]: ...
    def table(self, name: str) -> TableHandle: ...
    def send_packet_out(self, packet: bytes | Sequence[bytes], port: str = "", direction: str = ...) -> int: ...
