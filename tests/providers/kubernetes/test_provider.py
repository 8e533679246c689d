"""What the provider forgets and keeps, without a kernel."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from providers.kubernetes.api import ApiError
from providers.kubernetes.cni import netdevs
from providers.kubernetes.cni.contract import CniError, Request
from providers.kubernetes.cni.netdevs import Owner, pod_word
from providers.kubernetes.provider import Provider
from providers.kubernetes.settings import Settings
from providers.kubernetes.state import Attached, pods_of
from providers.kubernetes.watch import Objects
from reconciler.rpc.contract import RpcError
from tests.providers.kubernetes import objects

LONG = "p" * 200


def provider() -> Provider:
    return Provider(Settings(), "n1", None, None)  # type: ignore[arg-type]


def test_a_pod_with_a_new_sandbox_keeps_its_new_slot_when_the_old_one_goes(monkeypatch):
    found = provider()
    found.attached = {("default", "a"): Attached(2, ("10.244.1.10",)), ("default", "b"): Attached(3, ("10.244.1.11",)),
                      ("default", LONG): Attached(4, ("10.244.1.12",))}  # fmt: skip
    owners = {2: Owner("new", "eth0", "default/a"), 3: Owner("other", "eth0", "default/c"),
              4: Owner("x" * 64, "eth0", pod_word("default", LONG, "x" * 64, "eth0"))}  # fmt: skip
    monkeypatch.setattr(netdevs, "owned", lambda: owners)
    asyncio.run(found.gone())
    assert found.attached.keys() == {("default", "a"), ("default", LONG)}


def test_pods_are_adopted_from_their_netdevs_whatever_the_length_of_their_names(monkeypatch):
    found = provider()
    found.objects["nodes"].by_name["", "n1"] = objects.node("n1", ("10.244.1.0/24",))
    found.objects["pods"].by_name["default", LONG] = objects.pod(LONG, "n1")
    owners = {0: Owner("c", "eth0", "default/a"), 4: Owner("x" * 64, "eth0", pod_word("default", LONG, "x" * 64, "eth0")), 5: None}
    monkeypatch.setattr(netdevs, "owned", lambda: owners)
    found._adopt()
    assert {name: each.addresses for name, each in found.attached.items()} == {
        ("default", "a"): ("10.244.1.8",), ("default", LONG): ("10.244.1.12",)}  # fmt: skip


def test_nothing_is_in_force_before_each_kind_was_listed():
    found = provider()
    for kind in list(found.objects)[:-1]:
        found.objects[kind].is_synced = True
    assert not found.is_synced()
    assert "not answered" in found.trouble()
    found.objects[list(found.objects)[-1]].is_synced = True
    assert found.is_synced()


class Agent:
    """Takes documents."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.edits: list[Any] = []
        self.forgets = False

    async def put(self, _: str, document: Any, **__: Any) -> dict[str, Any]:
        self.taken.append(document)
        return {"state": "applied", "problem": ""}

    async def patch(self, _: str, topology: str, edits: Any, *, since: str, revision: str, **__: Any) -> dict[str, Any]:
        if self.forgets:
            raise RpcError("it has another version", 400)
        self.edits.append((topology, edits, since, revision))
        return {"state": "applied", "problem": ""}


def test_a_document_that_says_the_same_is_not_handed_in_again_unless_the_agent_began_anew(monkeypatch):
    monkeypatch.setattr(netdevs, "owned", dict)
    agent = Agent()
    found = Provider(Settings(slots=4), "n1", None, agent)  # type: ignore[arg-type]
    found.objects["nodes"].by_name["", "n1"] = objects.node("n1", ("10.244.1.0/24",), "172.30.0.11")

    async def put(times: int) -> None:
        for _ in range(times):
            found.changed()
            assert await found._put()
            assert found._done == found._asked

    asyncio.run(put(1))
    found.objects["pods"].by_name["default", "a"] = objects.pod("a", "n1")
    found.attached["default", "a"] = Attached(0, ("10.244.1.8",))
    asyncio.run(put(2))
    assert len(agent.taken) == 1
    found.objects["policies"].by_name["default", "deny"] = objects.policy("deny")
    asyncio.run(put(2))
    assert len(agent.taken) == 2
    found._held = ""
    asyncio.run(put(2))
    assert len(agent.taken) == 3


def test_a_pod_range_that_changes_is_used_once_no_pod_has_an_address_of_the_old_one(monkeypatch, caplog):
    monkeypatch.setattr(netdevs, "owned", dict)
    agent = Agent()
    found = Provider(Settings(slots=4), "n1", None, agent)  # type: ignore[arg-type]

    def put(pods: str) -> str:
        """The gateway's address among the pods."""
        found.objects["nodes"].by_name["", "n1"] = objects.node("n1", (pods,), "172.30.0.11")
        found.objects["nodes"].by_name["", "n2"] = objects.node("n2", ("10.244.1.0/24",), "172.30.0.12")  # it may be another's by now
        found.changed()
        assert asyncio.run(found._put())
        assert found._last is not None
        assert "10.244.1.0/24" not in dict(found._last.routes) or not found.attached
        gateway = next(cube for cube in found._last.topology["spec"]["cubes"] if cube["name"] == "gateway")
        return str(gateway["ports"][0]["ip"])

    assert put("10.244.1.0/24") == "10.244.1.1/24"
    found.attached["default", "a"] = Attached(0, ("10.244.1.8",))
    assert put("10.244.9.0/24") == "10.244.1.1/24"
    assert found._last is not None
    assert ["10.244.9.0/24 pod range now" in note for note in found._last.notes] == [True]
    assert "10.244.1.0/24 stays in use" in caplog.text
    assert str(found.families()[4].slot(1)) == "10.244.1.9", "a pod that comes has an address that works"
    del found.attached["default", "a"]
    assert put("10.244.9.0/24") == "10.244.9.1/24"
    assert found._last.notes == ()


def test_an_endpoint_that_is_another_one_is_an_edit_of_its_service_and_of_nothing_else(monkeypatch):
    monkeypatch.setattr(netdevs, "owned", dict)
    agent = Agent()
    found = Provider(Settings(slots=4), "n1", None, agent)  # type: ignore[arg-type]
    found.objects["nodes"].by_name["", "n1"] = objects.node("n1", ("10.244.1.0/24",), "172.30.0.11")

    def endpoints(number: int, *ips: str) -> None:
        said = [objects.endpoint(ip, "n2") for ip in ips]
        found.objects["slices"].by_name["default", f"s{number}"] = objects.slices(f"s{number}", 8080, *said)

    for number in range(100):
        found.objects["services"].by_name["default", f"s{number}"] = objects.service(f"s{number}", f"10.96.0.{number}", ports=[{"port": 80}])
        endpoints(number, "10.244.2.9")

    async def put() -> None:
        found.changed()
        assert await found._put()

    asyncio.run(put())
    before = found._last
    endpoints(7, "10.244.2.9", "10.244.2.10")
    asyncio.run(put())
    ((topology, edits, since, revision),) = agent.edits
    assert (topology, since, revision) == (found.settings.topology, "1", "2")
    assert [each["path"] for each in edits] == [[cube, "service", "10.96.0.7", "80", "TCP"] for cube in ("pods", "host")]
    assert {len(each["value"]["backend"]) for each in edits} == {2}
    was, now = (each.topology["spec"]["cubes"][0]["service"] for each in (before, found._last))
    assert sum(one is other for one, other in zip(was, now, strict=True)) == 99, "all others are the objects of before"
    agent.forgets = True
    del found.objects["services"].by_name["default", "s7"]
    asyncio.run(put())
    assert len(agent.taken) == 2, "the whole document, to an agent that has not the one that an edit is of"


@pytest.mark.parametrize("revision", ["1", "2"])
def test_what_did_not_change_is_the_object_of_before(revision):
    known = Objects()
    item = {"metadata": {"name": "a", "resourceVersion": "1"}}
    known.replace({("", "a"): item}, "5")
    known.replace({("", "a"): {"metadata": {"name": "a", "resourceVersion": revision}}}, "6")
    assert (known.by_name["", "a"] is item) == (revision == "1")


def test_a_running_pod_that_is_added_again_in_vain_stays_known(monkeypatch):
    found = provider()
    found.objects["nodes"].by_name["", "n1"] = objects.node("n1", ("10.244.1.0/24",))
    found.agent = AwayAgent()  # type: ignore[assignment]
    monkeypatch.setattr(Provider, "_until", lambda *_: asyncio.sleep(0))
    for name in "ab":
        found.objects["pods"].by_name["default", name] = objects.pod(name, "n1")
    found.attached["default", "a"] = Attached(0, ("10.244.1.8",))

    async def work() -> None:
        for slot, name in enumerate("ab"):
            with pytest.raises(CniError, match="not in force"):
                await found.attach(Request("ADD", "1.0.0", {}, name, "eth0", "/x", ("default", name)), slot)

    asyncio.run(work())
    assert found.attached.keys() == {("default", "a")}


class AwayApi:
    def __init__(self, status: int) -> None:
        self.status = status

    async def get(self, _: str) -> Any:
        raise ApiError(self.status, "it is away" if not self.status else "there is none")


@pytest.mark.parametrize(("best_effort", "status", "begins"), [(False, 0, False), (True, 0, True), (True, 404, False)])
def test_a_pod_that_nobody_has_told_of_begins_without_labels_if_that_is_meant_and_the_api_is_away(monkeypatch, best_effort, status, begins):
    monkeypatch.setattr("providers.kubernetes.provider.POD_PATIENCE", 0.05)
    found = Provider(Settings(best_effort=best_effort), "n1", AwayApi(status), None)  # type: ignore[arg-type]
    request = Request("ADD", "1.0.0", {}, "c", "eth0", "/x", ("default", "a"))
    if begins:
        asyncio.run(found._know(request))
        found.attached["default", "a"] = Attached(0, ("10.244.1.8",))
        (pod,) = pods_of(found.state(), "n1")
        assert (pod.name, pod.labels, pod.is_here) == (("default", "a"), {}, True)
        told = {"metadata": {**objects.pod("a", "n1", app="web")["metadata"], "resourceVersion": "7"}, "spec": {"nodeName": "n1"}}
        assert found.objects["pods"].take({"type": "ADDED", "object": told})
        assert next(pods_of(found.state(), "n1")).labels == {"app": "web"}
    else:
        with pytest.raises(CniError):
            asyncio.run(found._know(request))


class AwayAgent:
    async def look(self, *_: Any, **__: Any) -> Any:
        raise RpcError("it is away")
