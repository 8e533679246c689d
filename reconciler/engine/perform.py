"""Small plans (an action, a clean-up) under the same lock and by the same transaction as an apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from reconciler.engine.apply import Options
    from reconciler.engine.session import Reconciler
    from reconciler.graph.records import Live
    from reconciler.plan.steps import Plan

T = TypeVar("T")


def perform(options: Options, make: Callable[[Reconciler, Live], Plan]) -> Plan:
    """Look, plan, and carry the plan out, all as the one writer. Raises LockBusy and what the steps raise."""
    from reconciler.engine.transaction import carry_out
    from reconciler.kernel.bpffs import Bpffs
    from reconciler.live.execute import Executor

    root = Bpffs(options.root)
    with root.locked(options.lock_timeout):
        try:
            reconciler = reconciler_of(options)
            plan = make(reconciler, reconciler.live())
            if plan.steps:
                executor = Executor(root, {})
                try:
                    carry_out(plan, executor, list, progress=options.progress)
                finally:
                    executor.close()
        finally:
            root.remove_if_empty()
    return plan


def snapshot(options: Options, make: Callable[[Reconciler, Live], T]) -> T:
    """Only look, while no other process writes."""
    from reconciler.kernel.bpffs import Bpffs

    with Bpffs(options.root).read_locked(options.lock_timeout):
        reconciler = reconciler_of(options)
        return make(reconciler, reconciler.live())


def reconciler_of(options: Options) -> Reconciler:
    from reconciler.engine.builder import Builder
    from reconciler.engine.session import Reconciler

    builder = Builder(options.services, options.compiling, options.root, stored=True)
    return Reconciler(options.root, options.services, builder, options.drop)
