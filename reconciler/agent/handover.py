"""Handlers of the documents socket (agent/sources): submitted and deleted topologies, and the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.agent.consent import problem_of
from reconciler.agent.controller import OBSERVE, Controller
from reconciler.agent.files import Files
from reconciler.agent.sources import Edits, Given, Work, edits_of, given_of, wait_of
from reconciler.engine.edit import edit
from reconciler.errors import EditRefused
from reconciler.rpc.contract import RpcError

APPLIED, REFUSED, FAILED, WAITING, GONE = "applied", "refused", "failed", "waiting", "gone"
_PAUSE = 0.03  # seconds between two polls while a client waits for a port, or another writer has the lock


@dataclass(frozen=True, slots=True)
class Handover:
    """`job` runs a function on the job thread, the only one to touch `files` and `healer`; `read` takes the new desired set;
    `fresh_poll`, called with the netdevs that may have moved, returns after a poll that began after the call; `ended` returns
    after the current one."""

    files: Files
    healer: Controller
    job: Callable[[Callable[[], object]], Awaitable[object]]
    read: Callable[[], None]
    fresh_poll: Callable[[Collection[str]], Awaitable[None]]
    ended: Callable[[], Awaitable[None]]

    def functions(self) -> dict[str, Work]:
        """Handlers by method and path."""
        puts = {"PUT /topology": self._put, "PATCH /topology": self._patch, "DELETE /topology": self._delete}
        return {**puts, "GET /topologies": self._list, "POST /look": self._poll}

    async def _put(self, said: Any) -> dict[str, Any]:
        given = given_of(said)
        await self.job(lambda: self._take(given))
        return await self._outcome(given.wait, lambda: self._state(given.path))

    async def _patch(self, said: Any) -> dict[str, Any]:
        edits = edits_of(said)
        await self.job(lambda: self._change(edits))
        return await self._outcome(edits.wait, lambda: self._state(edits.path))

    async def _delete(self, said: Any) -> dict[str, Any]:
        given = given_of(said, deletes=True)
        await self.job(lambda: self._take_back(given))
        return await self._outcome(given.wait, lambda: self._gone(given))

    async def _list(self, _: Any) -> dict[str, Any]:
        return {"topologies": [self._state(path) for path in sorted(self.files.given)]}

    async def _poll(self, said: Any) -> dict[str, Any]:
        """`ports`: answered once each of these ("cube:port") is connected to the netdev present now, or after `wait` seconds;
        `waiting` has the others. Without ports: after one poll."""
        ports = said.get("ports", []) if isinstance(said, dict) else []
        wanted = {port for port in ports if isinstance(port, str)}
        deadline = time.monotonic() + wait_of(said)
        if not wanted:
            await self.fresh_poll(())
            return {"healthy": not self.healer.problem, "waiting": self._waiting()}
        await self.ended()  # if the kernel's notification of a netdev was quicker, it is connected by then
        while lacking := self._lacking(wanted):
            await self.fresh_poll(lacking.values())
            if time.monotonic() > deadline or not self._lacking(wanted):
                break
            await asyncio.sleep(_PAUSE)
        lacking = self._lacking(wanted)
        others = [each for each in self._waiting() if each["port"] not in lacking]
        mine = [{"port": port, "netdev": netdev} for port, netdev in lacking.items()]
        return {"healthy": not self.healer.problem, "waiting": [*others, *mine]}

    def _lacking(self, ports: Collection[str]) -> dict[str, str]:
        """The netdevs that these ports are not connected to, by port."""
        return {port: netdev for port in ports if (netdev := self.healer.lacks(port))}

    def _take(self, given: Given) -> None:
        assert given.document is not None
        self.files.give(given.path, given.document, given.revision)
        self.read()

    def _change(self, edits: Edits) -> None:
        """Apply edits to a document. Raises RpcError; then nothing is changed."""
        known, since = self.files.given.get(edits.path), self.files.revisions.get(edits.path)
        if known is None or since != edits.since:
            raise RpcError(f'the agent has no version "{edits.since}" of this topology')
        document: Mapping[str, Any] = known.data
        try:
            for path, change in edits.changes:
                document = edit(document, path, change, self.healer.options.services).document
        except EditRefused as refused:
            raise RpcError(str(refused)) from None
        self.files.give(edits.path, document, edits.revision, is_shared=True)
        self.read()

    def _take_back(self, given: Given) -> None:
        self.files.withdraw(given.path)
        self.healer.withdrawn |= {given.topology}
        self.read()

    async def _outcome(self, wait: float, state: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The state once it is no longer open, or after `wait` seconds."""
        deadline = time.monotonic() + wait
        while True:
            await self.fresh_poll(())
            found = state()
            if found["state"] != WAITING or time.monotonic() > deadline:
                return found
            await asyncio.sleep(_PAUSE)

    def _state(self, path: str) -> dict[str, Any]:
        source, _, topology = path.partition(":")
        file, healer = self.files.files.get(path), self.healer
        said = {"source": source, "topology": topology, "revision": self.files.revisions.get(path, "")}
        if file is not None and file.problem:
            return {**said, "state": REFUSED, "problem": file.problem, "waiting": []}
        if healer.problem:
            return {**said, "state": FAILED, "problem": healer.problem, "waiting": []}
        if topology in healer.trials.failed:
            return {**said, "state": REFUSED, "problem": healer.trials.words(topology), "waiting": []}
        if topology in healer.trials.running:
            return {**said, "state": WAITING, "problem": "it is on trial", "waiting": []}
        if healer.mode == OBSERVE or healer.good.digest != healer.wanted.digest:
            why = problem_of(healer.resets) if healer.resets else healer.busy_with
            return {**said, "state": WAITING, "problem": why, "waiting": []}
        return {**said, "state": APPLIED, "problem": "", "waiting": self._waiting()}

    def _gone(self, given: Given) -> dict[str, Any]:
        said = {"source": given.source, "topology": given.topology, "revision": ""}
        if self.healer.problem:
            return {**said, "state": FAILED, "problem": self.healer.problem}
        is_there = given.topology in self.healer.withdrawn
        return {**said, "state": WAITING if is_there else GONE, "problem": self.healer.busy_with if is_there else ""}

    def _waiting(self) -> list[dict[str, str]]:
        return [{"port": f"{cube}:{port}", "netdev": netdev} for cube, port, netdev in self.healer.waiting]
