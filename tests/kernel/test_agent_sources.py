"""Topologies that other processes hand to the agent: in force, refused, healed, taken back, and said anew after a restart."""
from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
import subprocess
from dataclasses import replace

import pytest

from reconciler import pins
from reconciler.agent.client import DocumentsClient
from reconciler.engine.apply import Options, apply, plan_for
from reconciler.engine.session import Reconciler
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.kernel import hooks, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.rpc.contract import RpcError
from tests.lib.agent_process import OWNED, Bench
from tests.lib.lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]


@pytest.fixture
def bench(tmp_path):
    with Lab(OWNED) as lab:
        yield Bench(lab, tmp_path)


def document(bench: Bench, ageing: int = 120) -> dict:
    found = copy.deepcopy(bench.lab.document().data)
    found["spec"]["cubes"][0]["fdb"] = {"aging-time": ageing}
    return found


def ask(bench: Bench, *calls):
    """The answers to calls, each a function of a client, one after the other on one connection."""

    async def work():
        client = DocumentsClient(bench.lab.root)
        try:
            return [await call(client) for call in calls]
        finally:
            client.close()

    return asyncio.run(work())


def put(data, revision="1", source="test"):
    return lambda client: client.put(source, data, revision=revision, wait=15.0)


def test_a_topology_that_is_handed_in_is_in_force_when_the_answer_comes(bench):
    with bench.agent() as agent:
        first, second, listed = ask(bench, put(document(bench)), put(document(bench, 333), "2"), lambda c: c.topologies())
        assert (first["state"], first["revision"], first["problem"]) == ("applied", "1", "")
        assert bench.lab.ok("h1", "10.0.0.2")
        assert (second["state"], second["revision"]) == ("applied", "2")
        assert bench.lab.live_cube("br1")["fdb"]["aging-time"] == 333
        assert [each["topology"] for each in listed] == [second["topology"]]
        said = agent.status()
        assert said["healthy"]
        assert said["files"][0]["path"].startswith("test:")


def test_edits_are_in_force_when_the_answer_comes_and_only_of_the_version_that_the_agent_has(bench):
    def patch(since, revision, *edits):
        async def call(client):
            try:
                said = await client.patch("test", name, edits, since=since, revision=revision, wait=15.0)
            except RpcError as error:
                return error.status, str(error)
            return said["state"], said["revision"]

        return call

    def ageing(seconds):
        return {"path": ["br1", "fdb", "aging-time"], "operation": "replace", "value": seconds}

    with bench.agent():
        name = document(bench)["metadata"]["name"]
        none, _, first, stale, bad, listed = ask(
            bench, patch("1", "2", ageing(200)), put(document(bench)), patch("1", "2", ageing(200)), patch("1", "3", ageing(300)),
            patch("2", "3", ageing(400), {"path": ["br1", "fdbb"], "operation": "delete"}), lambda c: c.topologies())  # fmt: skip
        assert first == ("applied", "2")
        assert (none[0], stale[0], bad[0]) == (400, 400, 400)
        assert '"1"' in stale[1]
        assert "fdbb" in bad[1]
        assert listed[0]["revision"] == "2"
        assert bench.lab.live_cube("br1")["fdb"]["aging-time"] == 200


def test_what_is_wrong_is_refused_with_words_and_the_last_good_version_stays(bench):
    with bench.agent():
        wrong = document(bench, 400)
        wrong["spec"]["cubes"][0]["fdbb"] = {}
        good, bad, mended = ask(bench, put(document(bench)), put(wrong, "2"), put(document(bench, 500), "3"))
        assert good["state"] == "applied"
        assert bad["state"] == "refused"
        assert "fdbb" in bad["problem"]
        assert mended["state"] == "applied"
        assert bench.lab.live_cube("br1")["fdb"]["aging-time"] == 500


def test_two_sources_of_one_topology_are_an_error_that_names_both(bench):
    with bench.agent():
        first, second = ask(bench, put(document(bench)), put(document(bench, 7), source="other"))
        assert first["state"] == "applied"
        assert second["state"] == "refused"
        assert "test:" in second["problem"]
        assert "other:" in second["problem"]
        assert bench.lab.live_cube("br1")["fdb"]["aging-time"] == 120


def test_a_topology_that_is_taken_back_is_removed_and_others_stay(bench):
    with bench.agent() as agent:
        name = document(bench)["metadata"]["name"]
        applied, gone, again = ask(bench, put(document(bench)), lambda c: c.delete("test", name, wait=15.0), lambda c: c.topologies())
        assert applied["state"] == "applied"
        assert gone["state"] == "gone"
        assert again == []
        assert agent.status()["topologies"] == []


def test_after_a_restart_the_kernel_holds_it_and_the_source_says_it_again_without_a_change(bench):
    with bench.agent():
        ask(bench, put(document(bench)))
    with bench.agent() as agent:
        assert bench.lab.ok("h1", "10.0.0.2")
        listed, said = ask(bench, lambda c: c.topologies(), put(document(bench)))
        assert listed == []
        assert said["state"] == "applied"
        assert agent.status()["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}


def test_a_request_that_is_none_is_answered_and_does_no_harm(bench):
    with bench.agent() as agent:
        for source, data in (("Not A Name", document(bench)), ("test", {"metadata": {}}), ("test", {"metadata": {"name": "../x"}})):
            with pytest.raises(RpcError, match=r"source|name"):
                ask(bench, put(data, source=source))
        with pytest.raises(RpcError, match="there is no"):
            ask(bench, lambda c: c._call("GET", "nothing", None, 0.0))
        assert agent.status()["healthy"]


def test_a_look_tells_which_ports_wait_and_ends_when_a_netdev_is_there(bench):
    with bench.agent():
        data = document(bench)
        data["spec"]["cubes"][0]["ports"].append({"name": "p3", "peer": "nosuch0"})
        said, looked = ask(bench, put(data), lambda c: c.look(["br1:p3"], wait=0.2))
        assert said["state"] == "applied"
        assert {"port": "br1:p3", "netdev": "nosuch0"} in looked["waiting"]


def netdev(name: str) -> int:
    """A veth that is up; its index."""
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}x"], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return socket.if_nametoindex(name)


def test_netdevs_that_come_one_after_another_are_connected_when_a_look_for_their_ports_is_answered(bench):
    with bench.agent() as agent, contextlib.ExitStack() as stack:
        data, names = document(bench), [f"late{number}" for number in range(4)]
        data["spec"]["cubes"][0]["ports"] += [{"name": name, "peer": name} for name in names]
        assert ask(bench, put(data))[0]["state"] == "applied"
        for name in (*names, names[1]):  # the last one is made anew: the same name, and another netdev
            if name in if_names():
                subprocess.run(["ip", "link", "del", name], check=True)
            index = netdev(name)
            stack.callback(subprocess.run, ["ip", "link", "del", name], check=False, capture_output=True)
            (looked,) = ask(bench, lambda c, name=name: c.look([f"br1:{name}"], wait=5.0))
            assert f"br1:{name}" not in {each["port"] for each in looked["waiting"]}
            held = hooks.read(Bpffs(bench.lab.root), pins.hook(name, "tcx_ingress"), rtnl.links(), {index: name})
            assert held is not None
            assert held.ifindex == index
        agent.until(lambda said: said["healthy"] and not said["waiting"])
        assert bench.lab.ok("h1", "10.0.0.2")


def if_names() -> dict[str, int]:
    return {name: index for index, name in socket.if_nameindex()}


def test_netdevs_come_and_go_without_reading_everything(bench, monkeypatch):
    data = document(bench)
    data["spec"]["cubes"][0]["ports"] += [{"name": name, "peer": name} for name in ("late0", "late1")]
    documents, options, read = [replace(bench.lab.document(), data=data)], Options(root=bench.lab.root), []
    apply(documents, options)
    calm = UnchangedCheck(options, plan_for(documents, options))
    whole = Reconciler.live

    def live(self, **more):
        read.append(more.get("since"))
        return whole(self, **more)

    monkeypatch.setattr(Reconciler, "live", live)
    recent = calm.last()
    try:
        for what, name in (("add", "late0"), ("add", "late1"), ("del", "late0"), ("add", "late0"), ("anew", "late0"), ("del", "late1")):
            if what != "add":
                subprocess.run(["ip", "link", "del", name], check=True)
            if what != "del":
                netdev(name)
            done = apply(documents, replace(options, recent=recent, connecting=True))
            recent = done.verified
            assert recent is not None, (what, name)
            assert {netdev for *_, netdev in done.plan.pending} == {"late0", "late1"} - if_names().keys()
            assert None not in read, "only what was touched is read, to verify it"
            assert not plan_for(documents, Options(root=bench.lab.root)).plan.steps, (what, name)
            read.clear()
    finally:
        for name in ("late0", "late1"):
            subprocess.run(["ip", "link", "del", name], check=False)
