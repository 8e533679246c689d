"""An ordinary user beside root: what `nobody` does to root's directories, files and sockets.

    with nobody(lambda: os.mkdir(path)):      # done by a process of its own, which stays until the block ends
        ...
"""
from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

UID = 65534


@contextlib.contextmanager
def nobody(do: Callable[[], object]) -> Iterator[int]:
    """`do` as that user. What it opens, locks or binds stays so for as long as the block runs. Gives the process's id."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)
            kept = do()
            os.write(writing, b".")
            signal.pause()
            del kept
        except BaseException:  # noqa: BLE001 - it must not go on as a second pytest
            os.write(writing, traceback.format_exc().encode())
        os._exit(0)
    os.close(writing)
    try:
        said = os.read(reading, 1 << 16).decode()
        assert said == ".", f"nobody could not do it:\n{said}"
        yield process
    finally:
        os.close(reading)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def done_by_nobody(do: Callable[[], object]) -> None:
    with nobody(do):
        pass


class Victim:
    """A directory of root's that an attacker would like root to empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("cubes/c", "links/eth0", "topologies", "shared", "c/g1"):
            (path / name).mkdir(parents=True)
            (path / name / "precious").write_text("do not touch")
        self._before = self._now()

    def _now(self) -> list[tuple[str, int, int, bytes]]:
        return [(str(each), each.lstat().st_mode, each.lstat().st_uid, each.read_bytes() if each.is_file() else b"")
                for each in sorted(self.path.rglob("*"))]  # fmt: skip

    def is_untouched(self) -> bool:
        return self._now() == self._before
