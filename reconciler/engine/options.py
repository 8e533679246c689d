"""Options of an apply, and its result."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.engine.session import Session, SessionCache
from reconciler.errors import Problem
from reconciler.graph.records import Live
from reconciler.kernel.bpffs import DEFAULT_ROOT
from reconciler.model import Topology
from reconciler.plan.steps import Plan, Step
from reconciler.service.registry import Services


@dataclass(slots=True)
class Options:
    """`prune`: topologies that the documents do not name are removed (else they stay as applied); `drop`: these of them, by
    name. `hold`: applied topologies that stay as they are in any case.

    `doing` is called with the name of each phase as it begins.

    `kept` is the cache of a caller that reuses its options. `recent` is the result of a poll that was in sync, on which an
    edit that only writes rows can be based, or, with `connecting`, the connection of new netdevs. Its caller does a full poll
    soon afterwards.

    `partial`: netdevs that no cube can work on are omitted and named in the result; else they are errors.

    `warn` is called for applied topologies that a read-only command had to omit. `planned` is called with the result once it
    is planned, under the lock and before the first step; what it raises ends the apply with nothing done. `in_force` is
    called with the result, under the lock, once all is done; as soon as it is verified, if all that is left to do is to wait
    for packets and to delete rows that none of them looks up any more.
    """

    root: str = field(default_factory=lambda: os.environ.get("PCN_BPFFS", DEFAULT_ROOT))
    services: Services = field(default_factory=Services)
    lock_timeout: float = 10.0
    prune: bool = False
    drop: frozenset[str] = frozenset()
    hold: frozenset[str] = frozenset()
    merge: bool = False
    partial: bool = False
    progress: Callable[[int, int, Any], None] | None = None
    compiling: Callable[[int, int, str], None] | None = None
    doing: Callable[[str], object] = str
    planned: Callable[[Any], object] | None = None
    in_force: Callable[[Any], object] = id
    warn: Callable[[Sequence[Problem]], object] | None = None
    before: Callable[[int, Step], Any] | None = None
    kept: SessionCache = field(default_factory=SessionCache)
    recent: Live | None = None
    connecting: bool = False


@dataclass(slots=True)
class ApplyResult:
    """What was (or would be) done. `warnings` are about the documents; `topologies` are those of the documents that were given,
    `wanted` these and those that stay. `refused` is what was omitted of it (see Options.partial). `verified` is what was read
    back, if nothing was done but that rows were written or netdevs connected: what the kernel holds now."""

    session: Session
    warnings: tuple[Problem, ...] = ()
    topologies: tuple[Topology, ...] = ()
    wanted: tuple[Topology, ...] = ()
    refused: tuple[Problem, ...] = ()
    verified: Live | None = None

    @property
    def plan(self) -> Plan:
        return self.session.plan
