"""The resource Topology: delivered, told of, and taken back."""
from __future__ import annotations

import asyncio
from typing import Any

from providers.kubernetes.conditions import status
from providers.kubernetes.topologies import NODES, REQUESTED, Topologies
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
    found = Topologies(api, agent, "n1", lambda: {"n1": {"site": "turin"}, "n2": {"site": "bari"}}, "kubernetes-node")  # type: ignore[arg-type]
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


NODE_NAMES = ("n1", "n2")


def said(known: dict[str, Any], node: str, generation: int, state: str, problem: str = "", *, now: int = 2, when: str = "t1") -> dict[str, Any]:
    return status(known, now, node, (generation, state, problem), NODE_NAMES, when)


def kstatus(found: dict[str, Any], generation: int) -> str:
    """As cli-utils' kstatus computes it of a custom resource (pkg/kstatus/status/generic.go)."""
    if found.get("observedGeneration") not in (None, generation):
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in found.get("conditions", ())}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready") == "True" else "InProgress"


def reason(found: dict[str, Any]) -> str:
    return next(each["reason"] for each in found["conditions"] if each["type"] == "Ready")


def test_it_is_current_when_the_last_node_has_this_generation_and_in_progress_until_then():
    first = said({}, "n1", 2, "applied")
    assert (kstatus(first, 2), reason(first)) == ("InProgress", "Pending")
    old = said(first, "n2", 1, "applied")
    assert kstatus(old, 2) == "InProgress"
    last = said(first, "n2", 2, "applied", when="t2")
    assert (kstatus(last, 2), reason(last)) == ("Current", "InSync")
    assert kstatus(last, 3) == "InProgress", "nobody has looked at the next generation yet"
    assert [each["type"] for each in last["conditions"]] == ["Ready"], "what is not so is not there"
    assert said(last, "n2", 2, "applied", when="t3") == last, "written once"
    assert last["conditions"][0]["lastTransitionTime"] == "t2"
    assert status(last, 2, "n1", (2, "applied", ""), ["n1"], "t4")["nodes"].keys() == {"n1"}, "a node that went is forgotten"


def test_it_has_failed_where_a_node_refuses_it_and_is_in_progress_again_with_the_next_generation():
    ready = said(said({}, "n1", 2, "applied"), "n2", 2, "applied")
    bad = said(ready, "n2", 3, "refused", "web.yaml:6:3: wrong", now=3)
    assert (kstatus(bad, 3), reason(bad)) == ("Failed", "Invalid")
    assert "n2: web.yaml:6:3: wrong" in bad["conditions"][0]["message"]
    mended = said(bad, "n1", 4, "applied", now=4)
    assert (kstatus(mended, 4), reason(mended)) == ("InProgress", "Pending")
    trying = said(mended, "n2", 4, "failed", "no memory", now=4)
    assert (kstatus(trying, 4), reason(trying)) == ("InProgress", "Failed")
    assert kstatus(said(trying, "n2", 4, "applied", now=4), 4) == "Current"
    assert kstatus(status({}, 1, "n1", None, (), "t"), 1) == "Failed", "it is for no node"


def test_hosts_choose_nodes_by_label_and_one_that_is_for_none_says_so():
    agent, api = Agent(), Api()
    for_turin, for_nobody = topology("turin"), topology("nobody")
    for_turin["spec"]["hosts"] = {"labels": {"site": "turin"}}
    for_nobody["spec"]["hosts"] = {"names": ["n7"]}
    bari = topology("bari")
    bari["spec"]["hosts"] = {"labels": {"site": "bari"}}
    delivered(of_node(agent, api, for_turin, bari, for_nobody))
    assert agent.calls == [("put", "turin")]
    reasons = {path.split("/")[-2]: reason(patched["status"]) for path, patched in api.patched}
    assert reasons == {"turin": "InSync", "nobody": "HostMismatch"}


def test_one_that_is_suspended_stays_as_it_is_and_one_that_is_asked_for_is_delivered_again():
    agent, api = Agent(), Api()
    web = topology("web")
    found = of_node(agent, api, web)
    delivered(found, rounds=2)
    web["metadata"]["annotations"] = {REQUESTED: "now"}
    found._dirty = asyncio.Event()
    delivered(found, rounds=2)
    assert agent.calls == [("put", "web")] * 2
    web["metadata"]["generation"], web["metadata"]["annotations"] = 2, {"pcn/suspend": "true"}
    found._dirty = asyncio.Event()
    delivered(found)
    assert agent.calls == [("put", "web")] * 2, "neither put nor taken back"
