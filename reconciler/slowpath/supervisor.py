"""The agent's side of the workers: starts, supervises and restarts them, and takes their messages.

One worker serves all cubes of a service, or one cube where the service's half requests it (`worker = "cube"`). A worker gets its
cubes at its start and at every change of them. It dies with the agent, and its cubes' packets stay in their rings
for the next one. Used from asyncio's loop, in the main thread: a worker ends with the thread that started it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from reconciler import pins
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader
from reconciler.rpc.client import Client, inherited
from reconciler.rpc.contract import Bounds, RpcError, from_bytes
from reconciler.service.registry import Services, cube_number
from reconciler.slowpath.counters import NAMES, Counters, abandon, free_slots, new_block, plain
from reconciler.slowpath.handle import ServedCube
from reconciler.slowpath.packet_in import PacketIn
from reconciler.slowpath.restarts import Restarts
from reconciler.slowpath.shared_ring import SharedRing, readable

ADOPTING, SILENT, PING, WAITING = 60.0, 10.0, 5.0, 30.0  # seconds: to adopt cubes, to answer, between pings, of a long poll
_NO_SLOWPATH = 3  # enum pcn_drop
CONNECTIONS = 3  # for its cubes, for packets of an older ring, and for the long poll of its messages
LEAVING = 1.0  # seconds to handle the packets it has taken
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from reconciler.slowpath.worker import main; main()"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ", "PCN_SERVICES", "PCN_CACHE")
Say = Callable[[str, Mapping[str, Any]], None]
"""Takes messages of workers: ('log' | 'notification' | 'fact' | 'mistake', {cube, name, value, time})."""
log = logging.getLogger("pcn.slowpath")


class _Ended(Exception):
    """The process has exited."""


class Supervised:
    """One worker, and its successors. `pid` is 0 while there is none."""

    def __init__(self, name: str, service: str, root: str, services: Services, say: Say) -> None:
        self.name, self._service, self._root, self._services, self._say = name, service, root, services, say
        self._block = new_block()
        self._counters = Counters(self._block)
        self._slots: dict[str, int] = {}
        self.cubes: Sequence[ServedCube] = ()
        self.pid, self.restarts = 0, 0
        self.serving = asyncio.Event()
        self._changed = asyncio.Event()
        self._client: Client | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def serve(self, cubes: Sequence[ServedCube]) -> None:
        if cubes == self.cubes:
            return
        self.cubes = cubes
        names = {cube.name for cube in cubes}
        self._slots = {name: slot for name, slot in self._slots.items() if name in names}
        for name, slot in zip(sorted(names - self._slots.keys()), free_slots(iter(self._slots.values())), strict=False):
            self._slots[name] = slot
            self._counters.slot(slot)[:] = memoryview(bytes(8 * len(NAMES))).cast("Q")
        self._changed.set()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        os.close(self._block)

    def counters(self) -> dict[str, dict[str, int]]:
        return {name: plain(self._counters.slot(slot)) for name, slot in self._slots.items()}

    async def packets_in(self, packets: Sequence[tuple[str, PacketIn]]) -> None:
        """Pass it packets from a ring other than its cubes'. Raises RpcError, TimeoutError."""
        async with asyncio.timeout(SILENT):
            await self.serving.wait()
        assert self._client is not None
        said = [{"cube": cube, **found._asdict(), "packet": from_bytes(found.packet)} for cube, found in packets]
        await self._client.call("packet_in", {"packets": said})

    async def _run(self) -> None:
        restarts = Restarts()
        while True:
            try:
                why = await self._life()
            except Exception as error:  # noqa: BLE001 - whatever failed, a restart may help
                why = f"{type(error).__name__}: {error}"
            gone = sum(abandon(self._counters.slot(slot)) for slot in self._slots.values())
            self.restarts += 1
            delay = restarts.delay(time.monotonic(), served=self.serving.is_set())
            self.serving.clear()
            lost_ = f", and {gone} packets that it had not answered are lost" if gone else ""
            log.warning("the worker of %s ended (%s)%s; the next one starts in %.1f s", self.name, why, lost_, delay)
            await asyncio.sleep(delay)

    async def _life(self) -> str:
        """One process, from its start to its end; returns why it ended."""
        process, sockets = self._start()
        self.pid, self._client = process.pid, Client(self.name, inherited(sockets), Bounds(in_flight=CONNECTIONS))
        why = ""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_until_dead(process))
                group.create_task(self._tell(self._client))
                group.create_task(self._listen(self._client))
        except* RpcError as failed:
            why = str(failed.exceptions[0])
        except* _Ended:
            pass
        finally:
            self.pid = 0
            self._client.close()
            for sock in sockets:
                sock.close()
            by_itself = await _finish(process)
        if not by_itself or not process.returncode:
            return why or "exit 0"
        return f"killed by signal {-process.returncode}" if process.returncode < 0 else f"exit {process.returncode}"

    def _start(self) -> tuple[subprocess.Popen[bytes], list[socket.socket]]:
        pairs = [socket.socketpair() for _ in range(CONNECTIONS)]
        theirs = [far for _, far in pairs]
        passed = [far.fileno() for far in theirs]
        order = {
            "parent": os.getpid(), "sockets": passed, "counters": self._block, "service": self._service,
            "root": self._root, "services": [str(path) for path in self._services.directories],
        }  # fmt: skip
        command = [sys.executable, "-I", "-S", "-c", _START, json.dumps([path for path in sys.path if path]), json.dumps(order)]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[*passed, self._block], cwd="/",
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )  # fmt: skip
        finally:
            for far in theirs:
                far.close()
        return process, [near for near, _ in pairs]

    async def _tell(self, client: Client) -> None:
        """Send the cubes whenever they change, and pings in between. Raises RpcError if the worker does not answer."""
        while True:
            self._changed.clear()
            cubes = [{**asdict(cube), "slot": self._slots[cube.name]} for cube in self.cubes if cube.name in self._slots]
            await client.call("cubes", {"cubes": cubes}, seconds=ADOPTING)
            self.serving.set()
            while not self._changed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(PING):
                        await self._changed.wait()
                    break
                await client.call("service", method="GET", seconds=SILENT)

    async def _listen(self, client: Client) -> None:
        while True:
            found = await client.call("out", {"wait": WAITING}, seconds=WAITING + SILENT)
            for kind in ("log", "notification", "fact", "mistake"):
                for entry in found.get(kind, ()):
                    self._say(kind, entry)


async def _until_dead(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        fd = os.pidfd_open(process.pid)
        try:
            await readable(fd)
        finally:
            os.close(fd)
    process.wait()
    raise _Ended


async def _finish(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the worker, which exits when its connections close; returns False if it had to be killed."""
    try:
        with suppress(_Ended, TimeoutError):
            async with asyncio.timeout(LEAVING):
                await _until_dead(process)
        return process.returncode is not None
    finally:
        if process.returncode is None:
            process.kill()
        process.wait()


class Supervisor:
    """The workers of one root. The agent calls `serve` with the live cubes."""

    def __init__(self, root: str, services: Services, say: Say) -> None:
        self._root, self._services, self._say = root, services, say
        self._workers: dict[str, Supervised] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._shared = SharedRing(root, self._worker_of)

    def serve(self, cubes: Sequence[ServedCube], shared_ring: int) -> None:
        """Serve these cubes, and no others. `shared_ring`: the kernel's id of the ring of older programs, 0 if there is none."""
        groups: dict[str, list[ServedCube]] = {}
        for cube in cubes:
            groups.setdefault(self._group(cube), []).append(cube)
        for name in self._workers.keys() - groups.keys():
            ending = asyncio.get_running_loop().create_task(self._workers.pop(name).end())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        for name, group in groups.items():
            if name not in self._workers:
                self._workers[name] = Supervised(name, group[0].service, self._root, self._services, self._say)
            self._workers[name].serve(tuple(group))
        self._shared.follow(shared_ring)

    def _group(self, cube: ServedCube) -> str:
        service = self._services.get(cube.service)
        alone = service is not None and getattr(service.slow_path, "worker", "service") == "cube"
        edition = f" {service.edition.removeprefix('sha256:')[:12]}" if service is not None and service.edition else ""
        return f"cube {cube.name}{edition}" if alone else f"service {cube.service}{edition}"

    def _worker_of(self, number: int) -> tuple[Supervised, str] | None:
        """The worker of the cube with this number, and the cube's name; None if there is none."""
        found = ((worker, cube.name) for worker in self._workers.values() for cube in worker.cubes)
        return next((each for each in found if cube_number(each[1]) == number), None)

    async def settled(self, seconds: float) -> None:
        """Wait until every worker serves its cubes, for at most so many seconds."""
        waiting = [asyncio.ensure_future(worker.serving.wait()) for worker in self._workers.values()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=seconds)
            for each in late:
                each.cancel()

    async def close(self) -> None:
        await self._shared.close()
        await asyncio.gather(*(worker.end() for worker in self._workers.values()), *self._ending)
        self._workers.clear()

    def counters(self) -> dict[str, Any]:
        """Totals, and by cube under 'cubes'. `lost`: packets that the kernel dropped because a ring was full."""
        cubes = {
            name: {**counts, "lost": lost(self._root, name)}
            for worker in self._workers.values()
            for name, counts in worker.counters().items()
        }
        totals = {name: sum(each[name] for each in cubes.values()) for name in (*NAMES, "lost")}
        workers = {worker.name: {"pid": worker.pid, "restarts": worker.restarts} for worker in self._workers.values()}
        return {**totals, "unclaimed": self._shared.unclaimed, "cubes": cubes, "workers": workers}

def lost(root: str, cube: str) -> int:
    """Packets dropped because the cube's ring was full, by the kernel's counter; 0 if it cannot be read."""
    with suppress(OSError):
        found = Reader(Bpffs(root)).rows(pins.table(cube, "pcn_drops"))
        if found is not None:
            value = found[1].get(struct.pack("<I", _NO_SLOWPATH), b"")
            return int.from_bytes(fold_cpus(found[0], value), "little") if value else 0
    return 0
