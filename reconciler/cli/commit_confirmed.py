"""The terminal's side of a trial (--try), and --confirm."""

from __future__ import annotations

import os
import selectors
import sys
import time
from typing import TYPE_CHECKING

from reconciler.cli.report import report
from reconciler.errors import ApplyFailed, PcnError, RollbackIncomplete

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.document import Document
    from reconciler.engine.apply import ApplyResult, Options
    from reconciler.engine.confirm import Watchdog


def attempt(run: Run, documents: list[Document], options: Options) -> int:
    """Apply on trial, and wait for the outcome."""
    from reconciler.engine.apply import apply
    from reconciler.engine.confirm import KEPT, Watchdog, before_and_new, refuse_loss, refuse_while_unconfirmed

    refuse_while_unconfirmed(options.root)
    started: list[Watchdog] = []

    def planned(result: ApplyResult) -> None:
        run.planned(result)
        if result.plan.steps:
            refuse_loss(result.plan.steps)
            before, new = before_and_new(result)
            services = [os.path.abspath(directory) for directory in run.args.services]
            settings = {"services": services, "seconds": run.args.try_seconds, "documents": before, "new": new}
            started.append(Watchdog(settings | {"root": options.root}))

    options.planned = planned
    try:
        result = apply(documents, options)
    except BaseException as error:
        for watchdog in started:
            watchdog.say("failed" if isinstance(error, PcnError) else "back")  # not a PcnError: the state is uncertain
            watchdog.answer()
        raise
    if not started:
        report(run, [result], done=True)
        return 0
    outcome = _outcome(run, result, started[0])
    if outcome != KEPT:
        raise _failure(outcome, run.args.try_seconds)
    if run.format == "text":
        run.terminal.say("Kept.")
    else:
        report(run, [result], done=True)
    return 0


def _outcome(run: Run, result: ApplyResult, watchdog: Watchdog) -> str:
    """Outcome of the trial; Ctrl-C rolls back at once."""
    try:
        watchdog.say("applied")
        if run.format == "text":
            report(run, [result], done=True)
        return _wait(run, watchdog)
    except KeyboardInterrupt:
        watchdog.say("back")
        return watchdog.answer()


def _failure(outcome: str, seconds: float) -> ApplyFailed:
    from reconciler.engine.confirm import ROLLED_BACK

    if outcome == ROLLED_BACK:
        return ApplyFailed(f"not confirmed (it had {seconds:g} s): rolled back, the kernel holds what it held before")
    why = outcome.partition(" ")[2] or "the watchdog ended without a word"
    mend = "the kernel holds what was tried; 'pcn apply' with the old file mends that"
    return RollbackIncomplete(f"not confirmed, and not rolled back: {why}\n{mend}")


def _wait(run: Run, watchdog: Watchdog) -> str:
    """Wait for Enter, the deadline, or a confirmation from elsewhere."""
    keyboard = _keyboard()
    words = "keep it with 'pcn apply --confirm'"
    if keyboard is not None:
        words = f"press Enter to keep it, Ctrl-C to roll it back; from elsewhere, {words}"
    run.terminal.say(f"On trial for {run.args.try_seconds:g} s: {words}")
    deadline = time.monotonic() + run.args.try_seconds
    with selectors.DefaultSelector() as selector:
        selector.register(watchdog.socket, selectors.EVENT_READ)
        if keyboard is not None:
            selector.register(keyboard, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(0.5):
                if key.fd == watchdog.socket.fileno():
                    return watchdog.answer()
                if os.read(key.fd, 1024):
                    watchdog.say("keep")
                selector.unregister(key.fd)
            run.terminal.progress(f"{max(0.0, deadline - time.monotonic()):.0f} s left")


def _keyboard() -> int | None:
    """File descriptor of the terminal; None if standard input is not one, but possibly the document."""
    if sys.stdin is not None and sys.stdin.isatty():
        return sys.stdin.fileno()
    return None


def confirm(run: Run) -> int:
    """Confirm the trial. Exit 1 if there is none: it may have been rolled back already."""
    from reconciler.engine.confirm import KEPT, ask

    run.need("confirm an apply", change=True)
    root = run.options().root
    answer = ask(root, "keep")
    if answer != KEPT:
        raise ApplyFailed(f"there is no apply on trial at {root}: it was never begun, or is rolled back already")
    run.terminal.say("Kept.")
    return 0
