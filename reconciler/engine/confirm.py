"""Commit-confirmed: an apply is rolled back after some seconds unless it is confirmed, even if the terminal dies.

A process of its own, the watchdog, keeps the documents that were applied before, and waits. It is started under the apply's
lock and before its first step, in a session of its own. While it runs it holds a seat (lock file) in /run/pcn, named by the
root's identity, so that it is valid in every network namespace; its content is the deadline, which can be read without
blocking. Decisions are sent to a socket beside the seat:

    keep      -> 'kept'
    back      -> 'rolled back', or 'failed <why>'

Older versions had an abstract socket, which any user can bind. It is still tried, and bound for their clients, but only peers of
root and of the same user are trusted.

The command that started it has the other end of its standard input, and writes 'applied' after the apply; if it dies before, its
partial apply is rolled back at once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reconciler.errors import ApplyFailed, LockBusy
from reconciler.kernel import rundir
from reconciler.kernel.bpffs import Bpffs
from reconciler.plan.steps import Disruption

if TYPE_CHECKING:
    from reconciler.engine.apply import ApplyResult
    from reconciler.plan.steps import Step

KEPT, ROLLED_BACK, FAILED, READY, BUSY = "kept", "rolled back", "failed", "ready", "busy"
_NOWHERE = (FileNotFoundError, NotADirectoryError)
_START = 20.0  # seconds within which the watchdog must be ready
_PATIENCE = 120.0  # seconds for an answer, which may need a rollback first


def seat_of(root: str) -> str:
    """The name of a trial's seat; its socket is beside it."""
    return f"trial-{Bpffs(root).identity}"


def socket_of(root: str) -> str:
    return f"{seat_of(root)}.sock"


def old_address(root: str) -> str:
    """The abstract socket of older versions."""
    return f"\0pcn-trial:{os.path.realpath(root)}"


def ask(root: str, question: str) -> str | None:
    """The answer of the trial in progress at this root; None if there is none."""
    talk = _connection(root)
    if talk is None:
        return None
    with talk, suppress(OSError):
        talk.settimeout(_PATIENCE)
        talk.sendall(f"{question}\n".encode())
        return talk.makefile().readline().strip() or None
    return None


def _connection(root: str) -> socket.socket | None:
    """A connection to the watchdog, if there is one."""
    try:
        return rundir.connect(socket_of(root), _PATIENCE)
    except OSError:
        return _old_trial(root)


def _old_trial(root: str) -> socket.socket | None:
    """A connection to the watchdog of an older version. Never blocks; other users' sockets are ignored."""
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        talk.connect(old_address(root))
        if rundir.is_believed(talk):
            return talk
    except OSError:  # no listener; or a full backlog, which a watchdog never has
        pass
    talk.close()
    return None


def refuse_while_unconfirmed(root: str) -> None:
    """Raise LockBusy while a trial is in progress: its rollback would undo later changes too."""
    try:
        said = rundir.holder(seat_of(root))
    except _NOWHERE:  # the root's directory does not exist
        return
    left = ""
    if said is not None:
        until, _, process = said.partition(" ")
        left = f" for {max(0.0, float(until) - time.monotonic()):.0f} s more" if process else ""
    elif (old := _old_trial(root)) is not None:
        with old:
            process = str(rundir.peer(old)[0])
    else:
        return
    way = "keep it with 'pcn apply --confirm', or wait"
    raise LockBusy(f"an apply is on trial{left} (process {process or '?'}); {way}")


# -- what a rollback would undo --------------------------------------------------------------------------------------------


def refuse_loss(steps: Sequence[Step]) -> None:
    """Raise ApplyFailed if a rollback could not restore everything. Called before the first step."""
    from reconciler.plan.operations import DeleteNamespace

    lost = []
    for step in steps:
        if step.disruption == Disruption.STATE_RESET:
            lost.append(f"{step.address}: {step.reason}; what it learned and counted would be lost")
        elif isinstance(step.operation, DeleteNamespace):
            lost.append(f"{step.address}: whatever else is in it would be lost")
    if lost:
        shown = lost[:10] + ([f"and {len(lost) - 10} more"] if len(lost) > 10 else [])
        why = "this cannot be tried, for it could not all be taken back (nothing was done):"
        raise ApplyFailed("\n".join([why, *shown]))


def before_and_new(result: ApplyResult) -> tuple[list[str], list[str]]:
    """(the applied documents of topologies that the plan changes or removes, names of those that it adds)."""
    from reconciler.graph.records import TopologyRecord

    old = {r.name: r for r in result.session.live.state.values() if isinstance(r, TopologyRecord)}
    new = {r.name: r for r in result.session.desired.state.values() if isinstance(r, TopologyRecord)}
    return [record.document for name, record in old.items() if new.get(name) != record], [name for name in new if name not in old]


# -- the command's side --------------------------------------------------------------------------------------------------------


class Watchdog:
    """The watchdog's handle in the command that started it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Start it, and wait until it is ready. `settings`: root, services, seconds, documents, new. Raises LockBusy,
        ApplyFailed."""
        import subprocess

        ours, theirs = socket.socketpair()
        self.socket, self._lines = ours, ours.makefile()
        home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))}
        with theirs:
            quiet = subprocess.DEVNULL
            command = [sys.executable, "-m", "reconciler.engine.watchdog"]
            subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=quiet, stderr=quiet, start_new_session=True, cwd="/", env=environment
            )
        self.say(json.dumps(settings))
        ours.settimeout(_START)
        try:
            answer = self._lines.readline().strip()
        except TimeoutError:
            answer = ""
        ours.settimeout(None)
        if answer != READY:
            if answer == BUSY:
                raise LockBusy("another apply is on trial")
            why = answer.removeprefix(FAILED).strip() or "it does not start"
            raise ApplyFailed(f"the trial's watchdog cannot go to work, so nothing was done: {why}")

    def say(self, word: str) -> None:
        self.socket.sendall(f"{word}\n".encode())

    def answer(self) -> str:
        """The outcome: 'kept', 'rolled back' or 'failed <why>'; '' if the watchdog died."""
        try:
            return self._lines.readline().strip()
        except OSError:
            return ""
