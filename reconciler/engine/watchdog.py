"""The watchdog of an apply on trial: a process of its own that rolls the apply back unless it is confirmed.

It is started by `confirm.Watchdog`, and `confirm.ask` is its client; the protocol is described there. It depends on no
terminal and no other process: once it is ready, only its own death prevents a rollback.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from reconciler.engine.confirm import BUSY, FAILED, KEPT, READY, ROLLED_BACK, old_address, seat_of, socket_of
from reconciler.errors import PcnError
from reconciler.kernel import rundir

if TYPE_CHECKING:
    from reconciler.document import Document
    from reconciler.engine.apply import Options

_LOCK_TIMEOUT = 60.0


def main() -> int:
    """Read the settings from standard input, and watch."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    parent = socket.socket(fileno=os.dup(0))
    heard = bytearray()
    settings = json.loads(_line(parent, heard))
    root = settings["root"]
    try:
        seat = rundir.take(seat_of(root))
    except rundir.Taken:
        _tell(parent, BUSY)
        return 1
    with ExitStack() as stack:
        stack.callback(seat.release)
        listeners = [stack.enter_context(rundir.listen(socket_of(root)))]
        stack.callback(rundir.unlink, socket_of(root))
        listeners += _for_older_versions(root, stack)
        try:
            _rehearse(settings)
        except Exception as error:  # noqa: BLE001 - any failure prevents the trial, and is reported
            _tell(parent, f"{FAILED} {' '.join(str(error).split()) or repr(error)}")
            return 1
        _tell(parent, READY)
        word = _line(parent, heard)
        if word == "failed":
            return 0
        seconds = settings["seconds"] if word == "applied" else 0.0  # the command died during the apply: roll back at once
        deadline = time.monotonic() + seconds
        seat.write(f"{deadline:.1f} {os.getpid()}")
        ended, asked = _wait(parent, heard, listeners, deadline)
        outcome = KEPT if ended else _roll_back(settings)
        for talk in filter(None, (parent, asked)):
            _tell(talk, outcome)
    return 0 if not outcome.startswith(FAILED) else 1


def _for_older_versions(root: str, stack: ExitStack) -> list[socket.socket]:
    """The socket at which an older version (an agent that was not restarted yet) expects a trial; none if another process has
    bound it."""
    listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
    try:
        listener.bind(old_address(root))
        listener.listen(4)
    except OSError:
        return []
    return [listener]


def _rehearse(settings: Mapping[str, Any]) -> None:
    """Check the old documents, load their programs, and import the modules of an apply: everything that the rollback needs is
    then present, and in memory. (A plan would need the lock, which the command has.)"""
    import reconciler.live.execute
    import reconciler.live.observe  # noqa: F401
    from reconciler.check import check
    from reconciler.engine.builder import Builder

    documents, options = _way_back(settings)
    topologies = check(documents, options.services)[0] if documents else []
    builder = Builder(options.services, root=options.root)
    builder.ensure(builder.keys_of(topologies))


def _way_back(settings: Mapping[str, Any]) -> tuple[list[Document], Options]:
    """The documents and options of the rollback: an apply of what was applied before the trial."""
    from reconciler.document import Document
    from reconciler.engine.apply import Options
    from reconciler.service.registry import Services

    texts = enumerate(settings["documents"])
    documents = [Document(f"applied topology {number}", text, json.loads(text)) for number, text in texts]
    options = Options(settings["root"], Services(settings["services"]), _LOCK_TIMEOUT, drop=frozenset(settings["new"]))
    return documents, options


def _line(parent: socket.socket, heard: bytearray) -> str:
    """The next line; further input stays in `heard`. '' if the parent no longer exists."""
    while b"\n" not in heard:
        more = parent.recv(1 << 16)
        if not more:
            break
        heard += more
    line, _, rest = bytes(heard).partition(b"\n")
    heard[:] = rest
    return line.decode(errors="replace").strip()


def _wait(
    parent: socket.socket, heard: bytearray, listeners: list[socket.socket], deadline: float
) -> tuple[bool, socket.socket | None]:
    """Wait for the deadline or a decision: (whether to keep it, the client that decided)."""
    if heard:
        return _line(parent, heard) == "keep", None
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    with selectors.DefaultSelector() as selector:
        for sock in (parent, *listeners):
            selector.register(sock, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and not ended:
            for key, _ in selector.select(min(left, 0.5)):
                if key.fileobj is not parent:
                    assert isinstance(key.fileobj, socket.socket)
                    talk, word = _heard(key.fileobj)
                    if word in ("keep", "back"):
                        return word == "keep", talk
                    if word == "status":  # sent by older versions only
                        _tell(talk, f"trying {max(0, deadline - time.monotonic()):.0f} {os.getpid()}")
                    talk.close()
                else:
                    word = _line(parent, heard)
                    if not word:  # the command or its terminal is gone; the trial continues
                        selector.unregister(parent)
                    elif word in ("keep", "back"):
                        return word == "keep", None
    return False, None


def _heard(listener: socket.socket) -> tuple[socket.socket, str]:
    """A client and its request; '' without reading it for users other than root and our own."""
    talk, _ = listener.accept()
    if not rundir.is_believed(talk):
        return talk, ""
    talk.settimeout(2)
    try:
        return talk, talk.recv(64).decode(errors="replace").strip()
    except OSError:
        return talk, ""


def _tell(talk: socket.socket, word: str) -> None:
    try:
        talk.sendall(f"{word}\n".encode())
    except OSError:
        pass  # the peer is gone


def _roll_back(settings: Mapping[str, Any]) -> str:
    import syslog

    from reconciler.engine.apply import apply

    syslog.openlog("pcn", syslog.LOG_PID, syslog.LOG_DAEMON)
    try:
        apply(*_way_back(settings))
    except (PcnError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"an apply on trial could not be rolled back: {error}")
        return f"{FAILED} {' '.join(str(error).split())}"
    syslog.syslog(syslog.LOG_NOTICE, "an apply on trial was not confirmed and is rolled back")
    return ROLLED_BACK


if __name__ == "__main__":
    sys.exit(main())
