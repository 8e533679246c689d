"""The single ring of programs loaded by older versions, drained until the last of them is gone.

A host is upgraded under traffic: programs that the old agent loaded write their packets to
`shared/slowpath`, in the current format of records. They are passed to the workers over RPC, which is slow, but needed only until
the programs are replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from reconciler import pins
from reconciler.kernel.bpffs import Bpffs
from reconciler.rpc.contract import MOST_PACKETS, RpcError
from reconciler.slowpath.packet_in import PacketIn, cube_of, decode
from reconciler.slowpath.ring import Ring

if TYPE_CHECKING:
    from reconciler.slowpath.supervisor import Supervised

Find = Callable[[int], "tuple[Supervised, str] | None"]


class SharedRing:
    """`find` returns the worker of a cube's id. `unclaimed`: packets of cubes without a worker."""

    def __init__(self, root: str, find: Find) -> None:
        self._root, self._find = root, find
        self._ring: Ring | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone = False  # its pin is; remaining records are still passed on
        self._handing = False  # packets that were read from it are being passed to workers
        self.unclaimed = 0

    def follow(self, identity: int) -> None:
        """Called at every poll. `identity`: the kernel's id of the pinned ring, 0 if there is none."""
        if self._ring is not None and self._ring.identity != identity:
            if self._gone and not self._handing and not self._ring.waiting():  # since the previous poll no program has used it
                self._let_go()
            self._gone = True
        if self._ring is None and identity:
            try:
                self._ring = Ring(Bpffs(self._root).open_pin(pins.SHARED_SLOWPATH))
            except (OSError, ValueError):
                return
            self._gone = False
            self._task = asyncio.get_running_loop().create_task(self._empty(self._ring))

    async def close(self) -> None:
        task = self._task
        self._let_go()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _let_go(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._ring, self._task = None, None

    async def _empty(self, ring: Ring) -> None:
        with ring:
            while True:
                await readable(ring.fileno())
                self._handing = True
                try:
                    await self._hand_on(ring.records(MOST_PACKETS))
                finally:
                    self._handing = False

    async def _hand_on(self, records: Iterable[bytes]) -> None:
        shares: dict[Supervised, list[tuple[str, PacketIn]]] = {}
        for raw in records:
            found = self._find(cube_of(raw))
            if found is None:
                self.unclaimed += 1
            else:
                shares.setdefault(found[0], []).append((found[1], decode(raw)))
        for worker, packets in shares.items():
            try:
                await worker.packets_in(packets)
            except (RpcError, TimeoutError):
                self.unclaimed += len(packets)


async def readable(fd: int) -> None:
    """Wait until a descriptor is readable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
