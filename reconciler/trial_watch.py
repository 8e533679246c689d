"""The watchdog of an apply on trial: a process of its own that takes the apply back unless it is told not to.

It is started by `trial.Watchdog` and spoken to by `trial.ask`; see there for the words. It depends on no terminal and on no
other process: once it has said that it is ready, nothing but its own death keeps it from rolling back.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.errors import PcnError
from reconciler.trial import BUSY, FAILED, KEPT, READY, ROLLED_BACK, address

if TYPE_CHECKING:
    from reconciler.apply import Options
    from reconciler.document import Document

_LOCK_TIMEOUT = 60.0


def main() -> int:
    """Read what to do from standard input, and watch."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    parent = socket.socket(fileno=os.dup(0))
    lines = parent.makefile()
    settings = json.loads(lines.readline())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(address(settings["root"]))
        except OSError:
            _tell(parent, BUSY)
            return 1
        listener.listen(4)
        try:
            _rehearse(settings)
        except Exception as error:  # noqa: BLE001 - whatever it is, there can be no trial, and that must be said
            _tell(parent, f"{FAILED} {' '.join(str(error).split()) or repr(error)}")
            return 1
        _tell(parent, READY)
        word = lines.readline().strip()
        if word == "failed":
            return 0
        seconds = settings["seconds"] if word == "applied" else 0.0  # the command died in the middle: take back what it did
        ended, asked = _wait(parent, listener, seconds)
        outcome = KEPT if ended else _roll_back(settings)
        for talk in filter(None, (parent, asked)):
            _tell(talk, outcome)
    return 0 if not outcome.startswith(FAILED) else 1


def _rehearse(settings: Mapping[str, Any]) -> None:
    """Check the old documents, find their programs, and import what an apply imports: all that it takes for the rollback is
    then known to be there, and in memory. (Planning it would need the lock, which the command has.)"""
    import reconciler.live.execute
    import reconciler.live.observe  # noqa: F401
    from reconciler.check import check
    from reconciler.survey import Builder, families

    documents, options = _way_back(settings)
    topologies = check(documents, options.services)[0] if documents else []
    Builder(options.services).ensure(families(topologies))


def _way_back(settings: Mapping[str, Any]) -> tuple[list[Document], Options]:
    """What to apply to be back where the trial began."""
    from reconciler.apply import Options
    from reconciler.document import Document
    from reconciler.service import Services

    texts = enumerate(settings["documents"])
    documents = [Document(f"applied topology {number}", text, json.loads(text)) for number, text in texts]
    options = Options(settings["root"], Services(settings["services"]), _LOCK_TIMEOUT, drop=frozenset(settings["new"]))
    return documents, options


def _wait(parent: socket.socket, listener: socket.socket, seconds: float) -> tuple[bool, socket.socket | None]:
    """Until the time is over or somebody decides. (Whether to keep it, who asked.)"""
    deadline = time.monotonic() + seconds
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    with selectors.DefaultSelector() as selector:
        selector.register(parent, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and not ended:
            for key, _ in selector.select(min(left, 0.5)):
                if key.fileobj is listener:
                    talk, word = _heard(listener)
                    if word == "status":
                        _tell(talk, f"trying {max(0, deadline - time.monotonic()):.0f} {os.getpid()}")
                        talk.close()
                    elif word in ("keep", "back"):
                        return word == "keep", talk
                else:
                    words = parent.recv(64).decode(errors="replace").split()
                    if not words:  # it is gone, or its terminal is; the time runs on
                        selector.unregister(parent)
                    elif words[0] in ("keep", "back"):
                        return words[0] == "keep", None
    return False, None


def _heard(listener: socket.socket) -> tuple[socket.socket, str]:
    """A visitor and what it asks; only root and our own user are listened to."""
    talk, _ = listener.accept()
    _, user, _ = struct.unpack("iII", talk.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    talk.settimeout(2)
    try:
        word = talk.recv(64).decode(errors="replace").strip()
    except OSError:
        word = ""
    return talk, word if user in (0, os.geteuid()) else ""


def _tell(talk: socket.socket, word: str) -> None:
    try:
        talk.sendall(f"{word}\n".encode())
    except OSError:
        pass  # nobody is there any more


def _roll_back(settings: Mapping[str, Any]) -> str:
    import syslog

    from reconciler.apply import apply

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
