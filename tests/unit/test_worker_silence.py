"""A worker that has nothing to say: the agent asks it again and again, and takes one that never answers for one that hangs."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

from reconciler.slowpath import worker
from reconciler.slowpath.worker import Worker


class Quiet:
    """A dispatcher to which nothing comes."""

    ticks = False

    def __init__(self, *_: Any) -> None:
        self._pipe = os.pipe()

    def fileno(self) -> int:
        return self._pipe[0]

    def tick(self) -> None:
        pass

    def close(self) -> None:
        for fd in self._pipe:
            os.close(fd)


class Nothing:
    def __init__(self, *_: Any) -> None:
        self.open_pin = None

    def names(self) -> None:
        pass


def test_who_asks_a_silent_worker_is_answered_in_time(monkeypatch):
    for name, stand_in in {"Dispatcher": Quiet, "Bpffs": Nothing, "Counters": Nothing, "_half": Nothing}.items():
        monkeypatch.setattr(worker, name, stand_in)
    near, far = socket.socketpair()
    served = Worker({"service": "quiet", "root": "/", "services": [], "counters": 0, "sockets": [far.detach()]})
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    near.settimeout(50)
    for wait in (0.2, 0.1):
        body = json.dumps({"wait": wait}).encode()
        began = time.monotonic()
        near.sendall(b"POST /out HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        said = near.recv(4096)
        assert b" 200 " in said
        assert b'"out":[]' in said
        assert time.monotonic() - began >= wait
    near.close()
    thread.join(20)
    assert not thread.is_alive()
    served._dispatcher.close()
