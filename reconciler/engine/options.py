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
    """`prune`: topologies that are not among the documents are removed (else they stay as applied); `drop`: only these of
    them, by name. `hold`: applied topologies that stay as they are in any case.

    `doing` is called with the name of each phase as it begins.

    `kept` is the cache of a caller that reuses its options. `recent` is the snapshot of a poll that was in sync, on which an
    edit that only writes rows can be based, or, with `connecting`, the connection of new netdevs. The caller does a full poll
    soon afterwards.

    `partial`: netdevs without Ethernet frames are omitted and listed in the result; else they are errors.

    `warn` is called for applied topologies that a read-only command had to omit. `planned` is called with the
    result under the lock, before the first step; its exceptions end the apply with nothing done. `in_force` is called with the
    result under the lock, after the last step; already after the verification, if the only remaining steps wait for an RCU
    grace period and delete rows that no packet looks up any more.
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
    """The outcome of an apply, or of its planning. `warnings` are about the documents; `topologies` are those of the documents
    that were passed, `wanted` these and those that stay. `refused`: errors of omitted netdevs (see Options.partial). `verified`:
    the kernel's state now, as read back, if the apply only wrote rows or connected netdevs."""

    session: Session
    warnings: tuple[Problem, ...] = ()
    topologies: tuple[Topology, ...] = ()
    wanted: tuple[Topology, ...] = ()
    refused: tuple[Problem, ...] = ()
    verified: Live | None = None

    @property
    def plan(self) -> Plan:
        return self.session.plan
