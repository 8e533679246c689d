"""One node's provider: watches, the document derived from them, and the conditions that ADD of a pod awaits.

    API server ──watch──▶ objects ┐
    CNI plugin ──attached pods───▶ node_document ──▶ agent ──▶ kernel
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from providers.kubernetes import host
from providers.kubernetes.api import Api, ApiError
from providers.kubernetes.changes import Edit, changes
from providers.kubernetes.cni import netdevs
from providers.kubernetes.cni.contract import TRY_LATER, CniError, Request
from providers.kubernetes.document import Kept, NodeDocument, node_document
from providers.kubernetes.refused import names_of
from providers.kubernetes.settings import SOURCE, Family, Settings, family_of, netdev
from providers.kubernetes.state import Attached, Name, State, node_addresses, pod_ranges, pods_of, ranges_in_use
from providers.kubernetes.watch import Objects, follow, name_of, slim
from reconciler.agent.client import DocumentsClient
from reconciler.agent.gc_policy import GcPolicy
from reconciler.rpc.contract import RpcError

log = logging.getLogger("pcn.k8s")
FOLD = 0.02  # seconds in which events are coalesced into one document; the first of a burst is not delayed
POD_PATIENCE, IN_FORCE_PATIENCE, FIRST_AGAIN, AGAIN = 1.0, 55.0, 0.1, 2.0
BAD_REQUEST = 400
CHECK_EVERY = 5.0  # seconds between checks that the agent still has the document
KINDS = {
    "nodes": "/api/v1/nodes", "namespaces": "/api/v1/namespaces", "pods": "/api/v1/pods", "services": "/api/v1/services",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}  # fmt: skip
OPTIONAL_KINDS = {
    "admin_policies": "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies",
    "baseline_policies": "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
}
SLICES = ("/apis/discovery.k8s.io/v1/endpointslices", "/apis/discovery.k8s.io/v1beta1/endpointslices")


@dataclass(slots=True)
class Provider:
    """`in_force` is called with each document that the agent has put in force, from the first one on."""

    settings: Settings
    node: str
    api: Api
    agent: DocumentsClient
    in_force: Callable[[NodeDocument], None] = lambda _: None
    objects: dict[str, Objects] = field(default_factory=lambda: {kind: Objects() for kind in (*KINDS, "slices", *OPTIONAL_KINDS)})
    attached: dict[Name, Attached] = field(default_factory=dict)
    problem: str = "the API server has not answered yet"
    last_problem: tuple[float, str] | None = None  # seconds since 1970, and message
    landed_at: float = 0.0  # when the agent last put a document in force, in seconds since 1970; 0: never
    _dirty: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: int = 0  # changes so far
    _done: int = 0  # of these, how many are in force
    _landed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _last: NodeDocument | None = None
    _attached: Mapping[Name, Attached] = field(default_factory=dict)  # the copy of `attached` that the last state has
    _kept: Kept = field(default_factory=Kept)
    _tidier: GcPolicy = field(default_factory=GcPolicy)
    _ranges: tuple[str, ...] = ()  # the pod ranges in use
    _held: str = ""  # the revision of the last document at the agent; '': uncertain

    # -- state --------------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        self._asked += 1
        self._dirty.set()

    def is_synced(self) -> bool:
        """Whether every kind was listed once: before that no object counts as deleted."""
        return all(each.is_synced for each in self.objects.values())

    def state(self) -> State:
        if self._attached != self.attached:
            self._attached = dict(self.attached)
        kinds: dict[str, Any] = {kind: each.all() for kind, each in self.objects.items()}
        return State(**kinds, attached=self._attached, ranges=self._ranges)

    def families(self) -> Mapping[int, Family]:
        """The node's families by IP version, from its pod ranges; none before the API has valid ones."""
        ranges = self._ranges or self._said()
        with suppress(ValueError):
            return {family.version: family for family in (family_of(each, self.settings) for each in ranges)}
        return {}

    def _said(self) -> tuple[str, ...]:
        return pod_ranges(self.objects["nodes"].by_name.get(("", self.node), {}))

    def pending(self) -> list[str]:
        """What is outstanding until the whole state is in force."""
        lacking = [kind for kind, each in self.objects.items() if not each.is_synced]
        if lacking:
            return [f"the first list of {', '.join(lacking)}"]
        return [f"{self._asked - self._done} changes"] if self._asked > self._done else []

    def names(self) -> dict[str, str]:
        """The owner of each address, as `names_of`."""
        nodes = ((name, node_addresses(node)) for (_, name), node in self.objects["nodes"].by_name.items())
        found = names_of(nodes, ((pod.name, pod.addresses) for pod in pods_of(self.state(), self.node)))
        own = (str(each) for family in self.families().values() for each in (family.node, family.up.host))
        return dict.fromkeys(own, f"node {self.node}") | found

    def trouble(self) -> str:
        """Why no pod can be added now; '' if one can."""
        return self.problem if self._last is None else ""

    # -- the document ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs for ever: watches, and delivers a document for their changes."""
        async with asyncio.TaskGroup() as tasks:
            for kind, path in KINDS.items():
                tasks.create_task(follow(self.api, path, self.objects[kind], self.changed))
            for kind, path in OPTIONAL_KINDS.items():
                tasks.create_task(follow(self.api, path, self.objects[kind], self.changed, optional=True))
            tasks.create_task(self._follow_slices())
            tasks.create_task(self._deliver())
            tasks.create_task(self._keep())

    async def _follow_slices(self) -> None:
        """Watches EndpointSlices, in the newest version that is served."""
        while True:
            for path in SLICES:
                try:
                    await self.api.get(f"{path}?limit=1")
                except (ApiError, TimeoutError) as error:
                    log.debug("%s: %s", path, error)
                    continue
                await follow(self.api, path, self.objects["slices"], self.changed)
            await asyncio.sleep(AGAIN)

    async def _deliver(self) -> None:
        pause = FIRST_AGAIN
        self._tidier.begin()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if not self.is_synced():
                continue
            if await self._put():
                pause = FIRST_AGAIN
                self._tidier.busy()
                if not self._dirty.is_set():
                    self._tidier.quiet()
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN)
                self._dirty.set()
            await asyncio.sleep(FOLD)

    async def _put(self) -> bool:
        """Submit the current document; False if it has to be retried."""
        if not self.attached and self._last is None:
            self._adopt()
        asked = self._asked
        addresses = [address for each in self.attached.values() for address in each.addresses]
        self._ranges = ranges_in_use(self._said(), self._ranges, addresses)
        try:
            made = node_document(self.state(), self.node, self.settings, self._kept)
            edits = changes(self._last.topology, made.topology) if self._held and self._last is not None else None
            if edits == []:
                return await self._is_in_force(made, asked)  # most new pods are in no policy and no service yet
            said = await self._hand_in(made, edits, str(asked))
        except (ValueError, RpcError) as error:
            return self._failed(str(error))
        except (KeyError, TypeError, AttributeError) as error:  # an object of an unexpected shape
            log.exception("an object is of a shape that is not known")
            return self._failed(f"an object is of a shape that is not known: {type(error).__name__}: {error}")
        if said["state"] != "applied":
            return self._failed(f"{said['state']}: {said['problem']}")
        if self.problem:
            log.info("in force: %d pods, %d services, %d policies", len(self.attached),
                     len(self.objects["services"].by_name), len(self.objects["policies"].by_name))  # fmt: skip
        self.problem, self._held, self.landed_at = "", str(asked), time.time()
        return await self._is_in_force(made, asked)

    async def _hand_in(self, made: NodeDocument, edits: Sequence[Edit] | None, revision: str) -> Mapping[str, Any]:
        """The edits, or the whole document if there are none or the agent lacks their base version."""
        since, self._held = self._held, ""
        if edits is not None:
            try:
                topology, wait = self.settings.topology, IN_FORCE_PATIENCE
                return await self.agent.patch(SOURCE, topology, edits, since=since, revision=revision, wait=wait)
            except RpcError as error:
                if error.status != BAD_REQUEST:
                    raise
                log.info("handing in the whole document: %s", error)
        return await self.agent.put(SOURCE, made.topology, revision=revision, wait=IN_FORCE_PATIENCE)

    async def _is_in_force(self, made: NodeDocument, asked: int) -> bool:
        """Wake those that wait for the changes up to `asked`."""
        for note in made.notes if self._last is None or made.notes != self._last.notes else ():
            log.warning("%s", note)
        self._last = made
        self.in_force(made)
        async with self._landed:
            self._done = asked
            self._landed.notify_all()
        return True

    def _failed(self, problem: str) -> bool:
        self.last_problem = time.time(), problem
        if problem != self.problem:
            log.error("not in force: %s", problem)
        self.problem = problem
        return False

    async def _keep(self) -> None:
        """Periodically drop deleted pods, follow the MTU, and resubmit the document to a restarted agent, which has none."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self.gone()
            self._follow_mtu()
            with suppress(RpcError):
                found = await self.agent.topologies()
                if self._last is not None and not any(each["topology"] == self.settings.topology for each in found):
                    log.info("the agent has begun anew: handing in the document again")
                    self._held = ""
                    self._dirty.set()

    def _follow_mtu(self) -> None:
        """New pods get the uplink's MTU, present ones keep theirs."""
        mtu = host.mtu_for(self.settings)
        if mtu != self.settings.mtu:
            log.info("the MTU of %s is another one: pods that come have %d bytes", self.settings.uplink, mtu)
            self.settings = replace(self.settings, mtu=mtu)
            self.changed()

    # -- pods -----------------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """The pods with a netdev here, whichever process created it, in the ranges that the kernel has."""
        self._ranges = host.ranges_in_use({str(each.up.gateway) for each in self.families().values()})
        families = self.families()
        pods = {netdevs.pod_word(*name, "", ""): name for name in self.objects["pods"].by_name}
        for slot, owner in netdevs.owned().items():
            if owner is None:
                continue
            namespace, _, name = owner.pod.partition("/")
            known = pods.get(owner.pod) or _long_name(self.objects["pods"].by_name, namespace, name) or (namespace, name)
            self.attached[known] = Attached(slot, tuple(str(family.slot(slot)) for family in families.values()))

    async def attach(self, request: Request, slot: int) -> None:
        """Returns once the pod's policies are in force and its port is connected. Raises CniError."""
        await self._know(request)
        addresses = tuple(str(family.slot(slot)) for family in self.families().values())
        before = self.attached.get(request.pod)
        self.attached[request.pod] = Attached(slot, addresses)
        try:
            self.changed()
            port = f"pods:s{slot}"
            _, said = await asyncio.gather(self._until(self._asked), self.agent.look([port], wait=5.0))
        except RpcError as error:
            lacking = f"is not in force: {error}"
        else:
            lacking = "was not connected" if any(each["port"] == port for each in said["waiting"]) else ""
        if lacking:
            if before is None or before.slot != slot:  # else it is a running pod, which was added again
                self._forget(request.pod, slot)
            raise CniError(TRY_LATER, f"{netdev(slot)} {lacking}")

    async def _know(self, request: Request) -> None:
        """Ensure that the pod's object, by which policies select it, is present: from the watch, or else by a GET."""
        pods = self.objects["pods"].by_name
        deadline = asyncio.get_running_loop().time() + POD_PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            if self._is_known(pods.get(request.pod), request):
                return
            await asyncio.sleep(0.02)
        namespace, name = request.pod
        try:
            found = await self.api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        except (ApiError, TimeoutError) as error:
            if not self.settings.best_effort or (isinstance(error, ApiError) and error.status):
                raise CniError(TRY_LATER, f"the API server does not tell of pod {namespace}/{name}: {error}") from None
            log.warning("pod %s/%s begins without its labels, as the API server is away: %s", namespace, name, error)
            found = {"metadata": {"namespace": namespace, "name": name}, "spec": {"nodeName": self.node}}
        pods[name_of(found)] = slim(found)

    @staticmethod
    def _is_known(pod: Any, request: Request) -> bool:
        return pod is not None and (not request.uid or pod.get("metadata", {}).get("uid") in (None, request.uid))

    async def _until(self, asked: int) -> None:
        """Wait until the changes up to `asked` are in force. Raises RpcError at the deadline."""
        try:
            async with asyncio.timeout(IN_FORCE_PATIENCE), self._landed:
                await self._landed.wait_for(lambda: self._done >= asked)
        except TimeoutError:
            raise RpcError(self.problem or "it takes too long") from None

    def _forget(self, name: Name, slot: int) -> None:
        known = self.attached.get(name)
        if known is not None and known.slot == slot:
            del self.attached[name]
            self.changed()

    async def gone(self) -> None:
        """Drop the pods whose netdev was deleted (by DEL, or with their namespace) or belongs to another pod. A pod with a new
        sandbox has a new slot already, and keeps it."""
        owned = await asyncio.to_thread(netdevs.owned)
        for name, attached in list(self.attached.items()):
            owner = owned.get(attached.slot)
            if owner is None or owner.pod != netdevs.pod_word(*name, owner.container, owner.ifname):
                self._forget(name, attached.slot)


def _long_name(names: Mapping[Name, Any], namespace: str, word: str) -> Name | None:
    """The pod that an alias identifies by a digest; None if it has no digest, or there is no such pod."""
    if not word.startswith("#"):
        return None
    found, wanted = (name for name in names if name[0] == namespace), f"{namespace}/{word}"
    return next((name for name in found if netdevs.pod_word(*name, "x" * 200, "") == wanted), None)
