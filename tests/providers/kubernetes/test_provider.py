"""What the provider forgets and keeps, without a kernel."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from providers.kubernetes.cni import netdevs
from providers.kubernetes.cni.netdevs import Owner, pod_word
from providers.kubernetes.provider import Provider
from providers.kubernetes.settings import Settings
from providers.kubernetes.state import Attached
from providers.kubernetes.watch import Objects
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
    found.objects["slices"].is_synced = True
    assert found.is_synced()


class Agent:
    """Takes documents."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def put(self, _: str, document: Any, **__: Any) -> dict[str, Any]:
        self.taken.append(document)
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
    found._is_held = False
    asyncio.run(put(2))
    assert len(agent.taken) == 3


@pytest.mark.parametrize("revision", ["1", "2"])
def test_what_did_not_change_is_the_object_of_before(revision):
    known = Objects()
    item = {"metadata": {"name": "a", "resourceVersion": "1"}}
    known.replace({("", "a"): item}, "5")
    known.replace({("", "a"): {"metadata": {"name": "a", "resourceVersion": revision}}}, "6")
    assert (known.by_name["", "a"] is item) == (revision == "1")
