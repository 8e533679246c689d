"""The verbs of CNI on the netdevs of pods. A pod's policies and port are the provider's: ADD awaits its `attach`."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.kubernetes.cni import netdevs
from providers.kubernetes.cni.contract import (
    BAD_VALUE,
    CHECK_FAILED,
    IO_FAILED,
    NO_SLOT,
    NOT_AVAILABLE,
    TRY_LATER,
    UNKNOWN_CONTAINER,
    VERSIONS,
    CniError,
    Given,
    Request,
    request_of,
    result,
    valid_attachments,
    versions,
)
from providers.kubernetes.cni.netdevs import Owner, pod_word
from providers.kubernetes.document import gateway_mac
from providers.kubernetes.settings import Family, Settings, netdev, slots_of, station
from reconciler.errors import KernelError

Families = Mapping[int, Family]


@dataclass(slots=True)
class Plugin:
    """`families` are the node's, empty before the API has them. `attach` (request, slot) returns once the pod's policies and port
    are in force, and raises CniError; `gone` is called after netdevs were deleted; `trouble` is the reason why no pod can be
    added now, '' if one can. `root` is the agent's in bpffs."""

    settings: Callable[[], Settings]
    root: str
    families: Callable[[], Families]
    attach: Callable[[Request, int], Awaitable[None]]
    gone: Callable[[], Awaitable[None]]
    trouble: Callable[[], str]
    _last: int | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def call(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, str]:
        """Run one call, by its environment and standard input; returns exit code and output."""
        version = VERSIONS[-1]
        try:
            request = request_of(environment, stdin)
            version = request.version if request.version in VERSIONS else version
            answer = await self._do(request)
        except CniError as error:
            return 1, json.dumps(error.json(version))
        except (KernelError, OSError) as error:
            return 1, json.dumps(CniError(IO_FAILED, str(error)).json(version))
        return 0, json.dumps(answer) if answer is not None else ""

    async def _do(self, request: Request) -> dict[str, Any] | None:
        match request.verb:
            case "VERSION":
                return versions(request.version)
            case "ADD":
                return await self._add(request)
            case "DEL":
                await self._delete(request)
            case "GC":
                await self._collect(request)
            case "CHECK":
                await asyncio.to_thread(self._check, request)
            case "STATUS":
                await self._status()
        return None

    # -- ADD ----------------------------------------------------------------------------------------------------------

    async def _add(self, request: Request) -> dict[str, Any]:
        if trouble := self.trouble():
            raise CniError(TRY_LATER, trouble)
        if not netdevs.is_namespace(request.netns):
            raise CniError(UNKNOWN_CONTAINER, f"there is no network namespace {request.netns}")
        async with self._one:
            slot, is_new = await asyncio.to_thread(self._take, request)
        try:
            await self.attach(request, slot)
            await asyncio.to_thread(self._set_up, request, slot)
        except BaseException:  # deleted by alias: the slot may be another pod's by now, if the pod was deleted meanwhile
            if is_new:  # else a running pod has it
                await asyncio.to_thread(delete, request.attachment)
            raise
        return result(self._given(request, slot), request)

    def _take(self, request: Request) -> tuple[int, bool]:
        """The slot of the pod's interface, or a free one, for which a veth is created; and whether it is new. A new veth has no
        address and no route in the pod, which so sends nothing before its policies are in force."""
        taken = netdevs.owned()
        owner = Owner(*request.attachment, pod_word(*request.pod, *request.attachment))
        for slot, known in taken.items():
            if known is not None and (known.container, known.ifname) == request.attachment:
                if netdevs.is_there(request.netns, request.ifname):
                    return slot, False
                netdevs.remove(netdev(slot))  # its namespace was deleted
        claimed = netdevs.claim(request.netns, request.ifname, owner)
        if claimed is not None:
            return claimed, True
        for slot in self._free(taken):
            own = station(self.families()), self.settings().mtu
            if netdevs.make(netdev(slot), request.netns, owner, *own, big_tcp=self.settings().big_tcp):
                self._last = slot
                netdevs.set_up(request.netns, request.ifname)
                return slot, True
        raise CniError(NO_SLOT, f"all {self._slots()} addresses for pods of this node are taken")

    def _set_up(self, request: Request, slot: int) -> None:
        addresses = self._given(request, slot).addresses
        netdevs.set_up(request.netns, request.ifname, addresses, gateway_mac(self.families()))

    def _slots(self) -> int:
        return min(slots_of(family, self.settings()) for family in self.families().values())

    def _free(self, taken: Mapping[int, Any]) -> list[int]:
        """Free slots, starting after the one that was allocated last, so that an address is reused as late as possible."""
        slots = self._slots()
        start = random.randrange(slots) if self._last is None else self._last + 1  # noqa: S311 - no secret
        return [slot % slots for slot in range(start, start + slots) if slot % slots not in taken]

    def _given(self, request: Request, slot: int) -> Given:
        families = self.families()
        addresses = tuple(
            (f"{family.slot(slot)}/{32 if version == 4 else 128}", str(family.gateway)) for version, family in families.items()
        )
        return Given(netdev(slot), station(families), request.ifname, request.netns, self.settings().mtu, addresses)

    # -- the others ---------------------------------------------------------------------------------------------------

    async def _delete(self, request: Request) -> None:
        async with self._one:  # an earlier ADD of the same pod has created its netdev by then, and fails without it
            pass
        await asyncio.to_thread(delete, request.attachment)
        await self.gone()

    async def _collect(self, request: Request) -> None:
        valid = valid_attachments(request.config)
        async with self._one:
            await asyncio.to_thread(collect, valid)
        await self.gone()

    def _check(self, request: Request) -> None:
        """Raises CniError for a difference from ADD's result."""
        if not self.families():  # so its addresses are unknown yet
            raise CniError(TRY_LATER, self.trouble())
        slot = next((slot for slot, owner in netdevs.owned().items() if owner and _is_of(owner, request)), None)
        if slot is None:
            raise CniError(CHECK_FAILED, f"container {request.container} has no netdev here for {request.ifname}")
        given = self._given(request, slot)
        addresses = [address for address, _ in given.addresses]
        if not netdevs.is_namespace(request.netns) or not netdevs.has(request.netns, request.ifname, addresses):
            raise CniError(CHECK_FAILED, f"{request.ifname} in the pod is not up with {', '.join(addresses)}")
        said = (request.config.get("prevResult") or {}).get("ips") or ()
        if said and {each.get("address") for each in said} != set(addresses):
            raise CniError(BAD_VALUE, f"the pod has {', '.join(addresses)}, and prevResult says otherwise")
        if not os.path.isdir(f"{self.root}/links/{netdev(slot)}"):
            raise CniError(CHECK_FAILED, f"{netdev(slot)} is not attached")

    async def _status(self) -> None:
        if trouble := self.trouble():
            raise CniError(NOT_AVAILABLE, trouble)
        taken = await asyncio.to_thread(netdevs.owned)
        if not self._free(taken):
            raise CniError(NOT_AVAILABLE, f"all {self._slots()} addresses for pods of this node are taken")


def _is_of(owner: Owner, request: Request) -> bool:
    return (owner.container, owner.ifname) == request.attachment


def delete(attachment: tuple[str, str]) -> None:
    """Remove a pod's netdev, if there is one. Needs no agent and no namespace."""
    for slot, owner in netdevs.owned().items():
        if owner is not None and (owner.container, owner.ifname) == attachment:
            netdevs.remove(netdev(slot))


def collect(valid: set[tuple[str, str]]) -> None:
    """Remove all netdevs of pods but those of the attachments `valid`."""
    for slot, owner in netdevs.owned().items():
        if owner is None or (owner.container, owner.ifname) not in valid:
            netdevs.remove(netdev(slot))


async def standalone(environment: Mapping[str, str], stdin: bytes, root: str) -> tuple[int, str]:
    """One call without a provider: DEL, GC and VERSION succeed; ADD and CHECK, which needs the addresses, fail with TRY_LATER."""

    def nothing() -> str:
        return "the Kubernetes provider of this node does not answer"

    async def attach(_: Request, __: int) -> None:
        raise CniError(TRY_LATER, nothing())

    async def gone() -> None:
        """The next provider detects it."""

    plugin = Plugin(Settings, root, dict, attach, gone, nothing)
    if environment.get("CNI_COMMAND") == "CHECK":
        return 1, json.dumps(CniError(TRY_LATER, nothing()).json(VERSIONS[-1]))
    return await plugin.call(environment, stdin)
