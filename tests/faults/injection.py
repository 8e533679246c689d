"""Faults put into an apply, at any of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reconciler.errors import KernelError
from reconciler.live.execute import Executor
from reconciler.plan.operations import Operation
from reconciler.plan.steps import Step


class Fault(KernelError):
    """The error that is put into an apply: of the kind that the kernel itself would give."""

    def __init__(self) -> None:
        super().__init__("do what this test forbids", 28)


@dataclass
class Injected:
    """What an apply with a fault in it came to; `step` None: it has no such step, and went through."""

    step: Step | None = None
    error: BaseException | None = None


def inject(run: Callable[..., Any], number: int, *, half_done: bool) -> Injected:
    """Run an apply in which step `number` fails: without having done anything, or (`half_done`) after all that it does.

    `run` takes `before`, the callback ahead of each step.
    """
    met = Injected()

    def before(now: int, step: Step) -> None:
        if now == number:
            met.step = step

    with failing(lambda operation: met.step is not None and operation is met.step.operation, half_done=half_done):
        try:
            run(before=before)
        except Exception as error:  # noqa: BLE001 - whatever comes out is what the test looks at
            met.error = error
    return met


@contextmanager
def failing(chosen: Callable[[Operation], bool], *, half_done: bool) -> Iterator[None]:
    """Let the operation for which `chosen` holds fail, once."""
    original, met = Executor.do, False

    def do(self: Executor, operation: Operation) -> None:
        nonlocal met
        fails = not met and chosen(operation)
        if half_done or not fails:
            original(self, operation)
        if fails:
            met = True
            raise Fault

    Executor.do = do  # type: ignore[method-assign]
    try:
        yield
    finally:
        Executor.do = original  # type: ignore[method-assign]
