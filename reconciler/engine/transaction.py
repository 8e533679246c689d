"""Carry a plan out so that the kernel holds all of it or none of it.

Stage, commit, verify; a failure up to there undoes all steps in reverse order. Retire follows, and a failure there leaves only
garbage, which the next apply removes. There is no journal: after a killed apply, the next one reads the live graph like any
other, and reconciles it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.errors import ApplyFailed, Interrupted, PcnError, RollbackIncomplete, VerifyFailed
from reconciler.plan.steps import Plan, Step

if TYPE_CHECKING:
    from reconciler.plan.operations import Operation

Progress = Callable[[int, int, Step], None]


class Performer(Protocol):
    def do(self, operation: Operation) -> None: ...


def carry_out(
    plan: Plan,
    performer: Performer,
    verify: Callable[[], list[str]],
    *,
    progress: Progress | None = None,
    before: Callable[[int, Step], Any] | None = None,
) -> list[str]:
    """Perform every step. `verify` returns sentences about differences from the plan after the commit; `before` is called
    before each step (fault injection). Raises ApplyFailed, VerifyFailed, RollbackIncomplete or Interrupted.

    Returns failures of retire steps, as sentences: the apply is in force nevertheless.
    """
    staged = [step for step in plan.steps if step.rank.phase != "retire"]
    retired = [step for step in plan.steps if step.rank.phase == "retire"]
    done: list[Step] = []
    left: list[str] = []
    with _signals() as arrived:
        try:
            for number, step in enumerate(staged):
                if arrived:
                    raise Interrupted(f"stopped by {signal.Signals(arrived[0]).name}")
                if progress:
                    progress(number, len(plan.steps), step)
                done.append(step)  # before it runs: a partial step is undone too, and undoing nothing is harmless
                if before:
                    before(number, step)
                performer.do(step.operation)
            wrong = verify()
            if wrong:
                raise VerifyFailed("the kernel does not hold what was applied:\n  " + "\n  ".join(wrong[:10]))
        except Exception as error:
            _undo(done, performer, error)
            raise _as_failure(error, done) from error
        for number, step in enumerate(retired, len(staged)):
            if progress:
                progress(number, len(plan.steps), step)
            if before:
                before(number, step)
            try:
                performer.do(step.operation)
            except PcnError as error:
                left.append(f"{step.action} {step.address}: {error}")
    return left


def _undo(done: list[Step], performer: Performer, cause: Exception) -> None:
    """Undo in reverse order, past failures, to restore as much as possible. Raises RollbackIncomplete."""
    failures = []
    undone = False  # the failed step need not have done all that its undo reverts
    for step, operation in _backwards(done):
        if step is done[-1] and undone:
            continue
        try:
            performer.do(operation)
        except Exception as error:  # noqa: BLE001 - the others must still be undone
            undone = undone or step is done[-1]
            if step is not done[-1]:
                failures.append(f"{step.address}: {operation.kind}: {error}")
    if failures:
        raise RollbackIncomplete(f"{cause}\nand these could not be undone:\n  " + "\n  ".join(failures)) from cause


def _backwards(done: list[Step]) -> Iterator[tuple[Step, Operation]]:
    """The inverse operations, with their steps. Links that were created in a row are deleted together: the kernel deletes many
    in the time of one."""
    from reconciler.plan.operations import DeleteLinks

    operations = [(step, operation) for step in reversed(done) for operation in step.undo]
    for deletions, group in groupby(operations, key=lambda each: isinstance(each[1], DeleteLinks)):
        if deletions:
            together = list(group)
            links = (link for _, operation in together if isinstance(operation, DeleteLinks) for link in operation.links)
            yield together[-1][0], DeleteLinks(tuple(links))
        else:
            yield from group


def _as_failure(error: Exception, done: list[Step]) -> Exception:
    """PcnErrors keep their class and exit code, with the step named; anything else is a failed apply."""
    if isinstance(error, Interrupted):
        return Interrupted(f"{error}; {'all that was done is undone' if done else 'nothing was done yet'}")
    if isinstance(error, ApplyFailed):
        return error
    if isinstance(error, PcnError):
        error.add_note(f"at step {len(done)}: {done[-1].action} {done[-1].address}" if done else "")
        return error
    return ApplyFailed(f"{type(error).__name__}: {error} (at step {len(done)}: {done[-1].address if done else ''})")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP, so that they end an apply between steps, not within one. Outside of the main thread
    signals are not handled."""
    arrived: list[int] = []
    try:
        old = {
            number: signal.signal(number, lambda n, _: arrived.append(n))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    except ValueError:
        yield arrived
        return
    try:
        yield arrived
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
