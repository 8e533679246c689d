"""The plugin's verbs against each other, over netdevs that are a dictionary."""
from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from providers.kubernetes.cni import netdevs
from providers.kubernetes.cni.contract import TRY_LATER, CniError
from providers.kubernetes.cni.netdevs import Owner
from providers.kubernetes.cni.plugin import Plugin
from providers.kubernetes.settings import Settings, family_of, slot_of

SETTINGS = Settings(slots=1)


@pytest.fixture
def there(monkeypatch) -> dict[str, Owner]:
    """The netdevs that are there, and whose."""
    found: dict[str, Owner] = {}

    def make(name: str, _target: str, owner: Owner, *_: Any, **__: Any) -> bool:
        return found.setdefault(name, owner) is owner

    monkeypatch.setattr(netdevs, "owned", lambda: {slot_of(name): owner for name, owner in found.items()})
    monkeypatch.setattr(netdevs, "make", make)
    monkeypatch.setattr(netdevs, "remove", lambda name: found.pop(name, None) is not None)
    monkeypatch.setattr(netdevs, "claim", lambda *_: None)
    monkeypatch.setattr(netdevs, "is_namespace", lambda _: True)
    monkeypatch.setattr(netdevs, "set_up", lambda *_: None)
    return found


def call(plugin: Plugin, verb: str, container: str) -> Any:
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": f"/run/netns/{container}",
                   "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}"}  # fmt: skip
    return plugin.call(environment, json.dumps({"cniVersion": "1.0.0", "name": "pcn"}).encode())


def test_an_add_that_fails_after_its_pod_was_deleted_leaves_the_next_pods_netdev_alone(there):
    async def work() -> None:
        deleted = asyncio.Event()

        async def attach(request: Any, _: int) -> None:
            if request.container == "a":
                await deleted.wait()
                raise CniError(TRY_LATER, "pod0 was not connected")

        async def gone() -> None:
            pass

        families = {4: family_of("10.244.1.0/24", SETTINGS)}
        plugin = Plugin(lambda: SETTINGS, "/nowhere", lambda: families, attach, gone, str)
        adding = asyncio.create_task(call(plugin, "ADD", "a"))
        await asyncio.sleep(0)
        assert plugin._one.locked()
        assert (await call(plugin, "DEL", "a"))[0] == 0, "it waits for the ADD that came first to have its netdev"
        assert there == {}
        code, _ = await call(plugin, "ADD", "b")
        assert code == 0
        deleted.set()
        code, said = await adding
        assert (code, json.loads(said)["code"]) == (1, TRY_LATER)
        assert [owner.container for owner in there.values()] == ["b"]

    asyncio.run(work())


def test_a_check_before_the_nodes_addresses_are_known_is_to_be_tried_later(there):
    async def attach(*_: Any) -> None:
        pass

    async def gone() -> None:
        pass

    async def work() -> None:
        families: dict[int, Any] = {4: family_of("10.244.1.0/24", SETTINGS)}
        plugin = Plugin(lambda: SETTINGS, "/nowhere", lambda: families, attach, gone, lambda: "" if families else "no range yet")
        assert (await call(plugin, "ADD", "a"))[0] == 0
        families.clear()
        code, said = await call(plugin, "CHECK", "a")
        assert (code, json.loads(said)["code"], json.loads(said)["msg"]) == (1, TRY_LATER, "no range yet")

    asyncio.run(work())


def test_an_add_that_is_said_again_and_fails_leaves_the_running_pod_its_netdev(there, monkeypatch):
    monkeypatch.setattr(netdevs, "is_there", lambda *_: True)
    is_away = False

    async def attach(*_: Any) -> None:
        if is_away:
            raise CniError(TRY_LATER, "the agent is away")

    async def gone() -> None:
        pass

    async def work() -> None:
        nonlocal is_away
        families = {4: family_of("10.244.1.0/24", Settings(slots=2))}
        plugin = Plugin(lambda: Settings(slots=2), "/nowhere", lambda: families, attach, gone, str)
        assert (await call(plugin, "ADD", "a"))[0] == 0
        is_away = True
        assert (await call(plugin, "ADD", "a"))[0] == 1
        assert (await call(plugin, "ADD", "b"))[0] == 1
        assert [owner.container for owner in there.values()] == ["a"], "b's, which was new, is gone"

    asyncio.run(work())
