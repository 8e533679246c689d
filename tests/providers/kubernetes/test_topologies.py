"""The resource Topology: delivered, told of, and taken back."""
from __future__ import annotations

import asyncio
from typing import Any

from providers.kubernetes.topologies import NODES, Topologies, status
from reconciler.rpc.contract import RpcError


class Agent:
    """Answers as an agent; `says` is by the topology's name."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []

    async def put(self, _: str, document: Any, **__: Any) -> dict[str, Any]:
        name = document["metadata"]["name"]
        self.calls.append(("put", name))
        if self.says.get(name) == "away":
            raise RpcError("away")
        return {"state": self.says.get(name, "applied"), "problem": "words" if name in self.says else ""}

    async def delete(self, _: str, name: str, **__: Any) -> dict[str, Any]:
        self.calls.append(("delete", name))
        return {"state": "gone"}


class Api:
    def __init__(self) -> None:
        self.patched: list[tuple[str, Any]] = []

    async def patch(self, path: str, said: Any) -> None:
        self.patched.append((path, said))


def topology(name: str, generation: int = 1, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "generation": generation, "labels": labels}, "spec": {"cubes": []}}


def delivered(found: Topologies, rounds: int = 1) -> None:
    async def work() -> None:
        task = asyncio.create_task(found._deliver())
        for _ in range(rounds):
            found._dirty.set()
            await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(work())


def of_node(agent: Agent, api: Api, *items: dict[str, Any]) -> Topologies:
    found = Topologies(api, agent, "n1", lambda: ["n1", "n2"], "kubernetes-node")  # type: ignore[arg-type]
    found.objects.by_name = {("", each["metadata"]["name"]): each for each in items}
    return found


def test_each_is_handed_to_the_agent_once_and_its_status_written():
    agent, api = Agent(), Api()
    delivered(of_node(agent, api, topology("web"), topology("other", **{NODES: "n2"})), rounds=3)
    assert agent.calls == [("put", "web")]
    path, said = api.patched[0]
    assert path.endswith("/topologies/web/status")
    assert said["status"]["nodes"]["n1"] == {"state": "applied", "problem": "", "observedGeneration": 1}
    assert said["status"]["conditions"][0]["status"] == "False", "n2 has not said anything yet"


def test_one_that_is_refused_says_why_and_one_of_the_nodes_own_name_is():
    agent, api = Agent(), Api()
    agent.says["bad"] = "refused"
    delivered(of_node(agent, api, topology("bad"), topology("kubernetes-node")))
    assert agent.calls == [("put", "bad")]
    assert {path.split("/")[-2]: said["status"]["nodes"]["n1"]["state"] for path, said in api.patched} == {
        "bad": "refused", "kubernetes-node": "refused"}  # fmt: skip


def test_one_that_is_deleted_is_taken_back():
    agent, api = Agent(), Api()
    found = of_node(agent, api, topology("web"))
    delivered(found)
    found.objects.by_name = {}
    found._dirty = asyncio.Event()
    delivered(found)
    assert agent.calls == [("put", "web"), ("delete", "web")]


def test_it_is_ready_when_the_last_node_has_this_generation():
    first = status({}, "n1", (2, "applied", ""), ["n1", "n2"])
    assert first["conditions"][0]["status"] == "False"
    old = status(first, "n2", (1, "applied", ""), ["n1", "n2"])
    assert old["conditions"][0]["status"] == "False"
    last = status(first, "n2", (2, "applied", ""), ["n1", "n2"])
    assert last["conditions"][0]["status"] == "True"
    assert status(last, "n2", (2, "applied", ""), ["n1", "n2"]) == last, "written once"
    assert status(last, "n1", (2, "applied", ""), ["n1"])["nodes"].keys() == {"n1"}, "a node that went is forgotten"
