"""Counts what is asked of the kernel, where the kernel's room asks it: a figure that no clock and no other process changes."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.kernel import bpf, maps, nlmsg, trusted

_BPF = {
    bpf.MAP_CREATE: "map created", bpf.MAP_LOOKUP: "row read", bpf.MAP_UPDATE: "row written", bpf.MAP_DELETE: "row deleted",
    bpf.PROG_LOAD: "program loaded", bpf.OBJ_PIN: "pinned", bpf.OBJ_GET: "pin opened", bpf.OBJ_INFO: "described",
    bpf.MAP_LOOKUP_BATCH: "rows read", bpf.MAP_UPDATE_BATCH: "rows written", bpf.MAP_FREEZE: "map frozen",
    bpf.MAP_DELETE_BATCH: "rows deleted", bpf.LINK_CREATE: "hook attached",
}  # fmt: skip
OF_BPF = frozenset(_BPF.values())


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """What happens within the block: calls of bpf(2) by what they do, and by name those on files and sockets that a look needs."""
    calls: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:

        def count(owner: Any, name: str, word: str | Callable[..., str]) -> None:
            real = getattr(owner, name)

            def counting(*args: Any, **named: Any) -> Any:
                calls[word if isinstance(word, str) else word(*args)] += 1
                return real(*args, **named)

            patch.setattr(owner, name, counting)

        count(bpf, "bpf", lambda command, *_: _BPF.get(command, f"bpf command {command}"))
        for name in ("stat", "scandir", "readlink", "symlink", "rename", "mkdir", "unlink"):
            count(os, name, name)
        count(trusted, "beneath", "directory opened")
        count(maps.mmap, "mmap", "mapped")
        for name in ("dump", "query", "_exchange"):
            count(nlmsg, name, "netlink")
        yield calls

