"""Small plans (an action, a clean-up) under the same lock and by the same transaction as an apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from reconciler.engine.apply import Options
    from reconciler.engine.session import Reconciler
    from reconciler.graph.records import Live
    from reconciler.kernel.bpffs import Bpffs
    from reconciler.plan.steps import Plan

T = TypeVar("T")
Make = Callable[["Reconciler", "Live"], "Plan | Continued"]


@dataclass(frozen=True, slots=True)
class Continued:
    """A plan with a continuation: `then` returns the next plan, and is called an RCU grace period after this one, when no
    packet uses old rows any more."""

    plan: Plan
    then: Make


def perform(options: Options, make: Make) -> Plan:
    """Read, plan, and carry the plan out, under the lock; repeatedly while a plan is continued. Returns the last one.
    Raises LockBusy, and the exceptions of the steps."""
    from reconciler.kernel.bpffs import Bpffs
    from reconciler.kernel.rcu import wait_for_grace_period

    root = Bpffs(options.root)
    with root.locked(options.lock_timeout):
        try:
            while True:
                reconciler = reconciler_of(options)
                made = make(reconciler, reconciler.live())
                plan = made.plan if isinstance(made, Continued) else made
                if plan.steps:
                    _carry_out(plan, root, options)
                if not isinstance(made, Continued):
                    return plan
                wait_for_grace_period()
                make = made.then
        finally:
            root.remove_if_empty()


def _carry_out(plan: Plan, root: Bpffs, options: Options) -> None:
    from reconciler.engine.transaction import carry_out
    from reconciler.live.execute import Executor

    executor = Executor(root, {})
    try:
        carry_out(plan, executor, list, progress=options.progress)
    finally:
        executor.close()


def snapshot(options: Options, make: Callable[[Reconciler, Live], T]) -> T:
    """`make` called with a read of the kernel, while no other process writes."""
    from reconciler.kernel.bpffs import Bpffs

    with Bpffs(options.root).read_locked(options.lock_timeout):
        reconciler = reconciler_of(options)
        return make(reconciler, reconciler.live())


def reconciler_of(options: Options) -> Reconciler:
    from reconciler.engine.builder import Builder
    from reconciler.engine.session import Reconciler

    builder = Builder(options.services, options.compiling, options.root, stored=True)
    return Reconciler(options.root, options.services, builder, options.drop)
