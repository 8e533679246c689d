"""Writes are edits of one topology: nothing is lost, nothing half done, and what others own is left alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.api import routes
from reconciler.api.request import Request
from reconciler.api.saved import SavedTopology
from reconciler.api.store import Store
from reconciler.engine.apply import Options, drift
from reconciler.errors import KernelError
from reconciler.kernel import linkwrite
from reconciler.present.show import show
from tests.lib.agent_process import AgentProcess
from tests.lib.api_process import ApiProcess, as_go_sends
from tests.lib.commands import pcn

OTHERS = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: others}
spec:
  cubes:
    - name: hw
      service-name: helloworld
      action: DROP
"""


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")
    pcn("delete", "others")


def cubes(api: ApiProcess) -> dict:
    assert drift(Options(root=api.root)) == []
    return {cube["name"]: cube for document in show(Options(root=api.root)) for cube in document["spec"].get("cubes", ())}


def test_fifty_clients_at_once_lose_nothing(api):
    api.ok("POST", "/firewall/fw/", "{}")
    answers: list[dict] = []

    def client(number: int) -> None:
        for turn in range(4):
            answers.append(api.ok("POST", "/fw/chain/INGRESS/append/", {"src": f"10.{number}.{turn}.0/24"}).json)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["id"] for answer in answers) == list(range(200))
    rules = cubes(api)["fw"]["chain"][0]["rule"]
    assert {rule["src"] for rule in rules} == {f"10.{number}.{turn}.0/24" for number in range(50) for turn in range(4)}
    assert pcn("apply", "--check", str(api.file), code=0)


def test_a_revision_guards_against_changes_that_were_not_seen(api):
    api.ok("POST", "/helloworld/hw/", "{}")
    seen = api.ok("GET", "/hw/").headers["etag"]
    assert api("PATCH", "/hw/action/", '"FORWARD"', If_Match=seen).status == 204
    stale = api("PATCH", "/hw/action/", '"DROP"', If_Match=seen)
    assert stale.status == 412
    assert cubes(api)["hw"]["action"] == "FORWARD"
    assert api("PATCH", "/hw/action/", '"DROP"', If_Match=api.ok("GET", "/hw/").headers["etag"]).status == 204


def test_what_is_refused_or_cannot_be_kept_changes_neither_the_file_nor_the_kernel(api):
    api.ok("POST", "/simplebridge/br1/", {"ports": [{"name": "p1"}]})
    before = api.file.read_bytes(), cubes(api)
    assert api("PATCH", "/br1/ports/p1/peer/", '"br1:p1"').status == 400
    assert (api.file.read_bytes(), cubes(api)) == before
    api.file.unlink()
    api.file.mkdir()
    reply = api("PATCH", "/br1/fdb/aging-time/", "60")
    assert (reply.status, reply.error["error-tag"]) == (409, "operation-failed")
    assert cubes(api) == before[1]
    api.file.rmdir()
    assert api("PATCH", "/br1/fdb/aging-time/", "60").status == 204


def test_an_apply_that_fails_at_a_step_is_undone_and_so_is_the_file(own_root, tmp_path, monkeypatch):
    """In this process, so that a step can be made to fail: after it, kernel and file are what they were."""
    store = Store(Options(root=own_root), "rest", SavedTopology(str(tmp_path / "rest.yaml")))

    def ask(method: str, path: str, body: Any = None) -> int:
        return routes.answer(Request(method, tuple(path.split("/")), {}, json.dumps(body).encode()), store).status

    try:
        assert ask("POST", "helloworld/hw", {}) == 201
        before = (tmp_path / "rest.yaml").read_bytes(), show(Options(root=own_root))

        def fail(number: int, step: Any) -> None:
            if number == 2:
                raise KernelError("do this step", 5)

        store.options.before = fail
        assert ask("POST", "simplebridge/br1", {"ports": [{"name": "p1"}]}) == 409
        assert ((tmp_path / "rest.yaml").read_bytes(), show(Options(root=own_root))) == before
        assert drift(Options(root=own_root)) == []
        store.options.before = None
        assert ask("POST", "simplebridge/br1", {"ports": [{"name": "p1"}]}) == 201
    finally:
        pcn("delete", "rest")


def test_a_topology_that_was_deleted_is_gone_for_the_api_too(api):
    api.ok("POST", "/helloworld/hw/", "{}")
    pcn("delete", "rest", code=0)
    assert api("PATCH", "/hw/action/", '"DROP"').status == 404
    assert api("POST", "/helloworld/hw/", "{}").status == 201


def test_a_command_in_between_is_edited_on_and_not_undone(api, tmp_path):
    api.ok("POST", "/helloworld/hw/", "{}")
    text = api.file.read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(text + "    - {name: hw2, service-name: helloworld, action: FORWARD}\n")
    pcn("apply", str(mine), code=0)
    api.ok("POST", "/helloworld/hw3/", "{}")
    assert cubes(api).keys() == {"hw", "hw2", "hw3"}
    assert "hw2" in api.file.read_text()


def test_the_file_is_roots_and_is_applied_when_it_starts(api):
    api.ok("POST", "/helloworld/hw/", {"action": "FORWARD"})
    assert (api.file.stat().st_mode & 0o777, api.file.stat().st_uid) == (0o600, 0)
    api.__exit__()
    pcn("delete", "rest", code=0)
    api.start()
    assert cubes(api)["hw"]["action"] == "FORWARD"


def test_what_a_watched_file_says_is_read_only_and_the_answer_names_file_and_line(api, tmp_path):
    watched = tmp_path / "watched"
    watched.mkdir()
    file = watched / "others.yaml"
    file.write_text(OTHERS)
    with AgentProcess(api.root, tmp_path / "agent.log", str(watched)) as agent:
        agent.until(lambda said: "others" in said["topologies"], 30)
        for method, path, body in (("PATCH", "/hw/action/", '"FORWARD"'), ("DELETE", "/hw/", None), ("PUT", "/helloworld/hw/", "{}")):
            reply = api(method, path, body)
            assert (reply.status, reply.error["error-tag"]) == (409, "resource-denied")
            assert f"{file}:6" in reply.error["error-message"]
        assert api("POST", "/helloworld/hw/", "{}").status == 409
        assert api.get("/hw/")["action"] == "DROP", "reading is free"
        api.ok("POST", "/helloworld/hw9/", "{}")
        time.sleep(1.5)
        assert cubes(api).keys() == {"hw", "hw9"}, "the agent leaves the API's topology as it is"


def test_a_topology_that_a_watched_file_says_too_is_refused_with_both_places(api, tmp_path):
    api.ok("POST", "/helloworld/hw/", "{}")
    watched = tmp_path / "watched"
    watched.mkdir()
    with AgentProcess(api.root, tmp_path / "agent.log", str(watched)) as agent:
        (watched / "rest.yaml").write_text(api.file.read_text())
        agent.until(lambda said: len(said["files"]) == 1, 30)
        reply = api("PATCH", "/hw/action/", '"FORWARD"')
        assert (reply.status, reply.error["error-tag"]) == (409, "resource-denied")
        assert f"{watched}/rest.yaml:5" in reply.error["error-message"]
        assert str(api.file) in reply.error["error-message"]
        assert api.get("/hw/")["action"] == "DROP"
        (watched / "rest.yaml").unlink()
        agent.until(lambda said: not said["files"], 30)
        assert api("PATCH", "/hw/action/", '"FORWARD"').status == 204


def test_another_writers_topology_is_read_only_too(api, tmp_path):
    file = tmp_path / "others.yaml"
    file.write_text(OTHERS)
    pcn("apply", str(file), code=0)
    assert "pcn delete others" in api("DELETE", "/hw/").error["error-message"]


def test_a_client_that_leaves_in_the_middle_does_not_matter(api):
    body = json.dumps([{"name": f"c{number}", "service-name": "helloworld"} for number in range(60)])
    with api.connect() as sock:
        sock.sendall(as_go_sends("POST", "/polycube/v1/cubes/", body, f"localhost:{api.port}"))
        time.sleep(0.05)
    deadline = time.monotonic() + 60
    while len(api.get("/cubes/").get("helloworld", ())) < 60:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(cubes(api)) == 60


def test_killed_at_any_moment_the_kernel_holds_the_old_or_the_new(api):
    api.ok("POST", "/firewall/fw/", {"chain": [{"name": "INGRESS", "rule": [{"id": n, "src": f"10.0.{n >> 8}.{n & 255}"} for n in range(1000)]}]})
    for wait in (0.0, 0.02, 0.05, 0.1):
        count = len(cubes(api)["fw"]["chain"][0]["rule"])
        with api.connect() as sock:
            sock.sendall(as_go_sends("POST", "/polycube/v1/fw/chain/INGRESS/append/", {"dport": 1, "l4proto": "TCP"}, f"localhost:{api.port}"))
            time.sleep(wait)
            api.process.kill()
            api.process.wait()
        api.start()
        assert len(cubes(api)["fw"]["chain"][0]["rule"]) in (count, count + 1)
        assert pcn("apply", "--check", str(api.file), code=0)


def firewall_file(file: Path, name: str, count: int) -> None:
    rules = "".join(f"            - {{id: {number}, src: 10.{number >> 8}.{number & 255}.1, action: DROP}}\n" for number in range(count))
    head = OTHERS.replace("name: others", f"name: {name}").replace("hw\n", f"{name}-fw\n").replace("helloworld\n      action: DROP\n", "firewall\n")
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{head}      chain:\n        - name: INGRESS\n          rule:\n{rules}")
    fresh.rename(file)


def count_of(api: ApiProcess, name: str) -> int:
    found = {cube["name"]: cube for document in show(Options(root=api.root)) for cube in document["spec"].get("cubes", ())}
    return len(found[name]["chain"][0]["rule"])


def test_an_agent_that_is_killed_amid_writes_of_both_harms_neither(api, tmp_path):
    """Whichever of the two holds the lock when the agent dies: each cube is as it was or as it was asked to be, and the API's own
    as it has answered."""
    api.ok("POST", "/firewall/fw/", {"chain": [{"name": "INGRESS", "rule": [{"id": number, "src": f"10.9.{number}.1"} for number in range(200)]}]})
    watched = tmp_path / "watched"
    watched.mkdir()
    firewall_file(watched / "others.yaml", "others", 100)
    known, sizes = 200, [100]
    for turn, wait in enumerate((0.05, 0.2, 0.4)):
        with AgentProcess(api.root, tmp_path / "agent.log", str(watched)) as agent:
            agent.until(lambda said: said["healthy"] and "others" in said["topologies"], 60)
            sizes.append(1000 * (turn + 1))
            firewall_file(watched / "others.yaml", "others", sizes[-1])
            killer = threading.Timer(wait, agent.kill)
            killer.start()
            for number in range(3):
                assert api("POST", "/fw/chain/INGRESS/append/", {"src": f"10.8.{turn}.{number}"}).json == {"id": known}
                known += 1
            killer.join()
            agent.process.wait(10)
        assert count_of(api, "fw") == known
        assert count_of(api, "others-fw") in sizes[-2:]
        assert drift(Options(root=api.root)) == []
    assert pcn("apply", "--check", str(api.file), code=0)


def test_commands_of_others_and_writes_wait_for_one_another(api, tmp_path):
    """Both all the time, each of a topology of its own: nobody is refused, and nothing is lost."""
    file = tmp_path / "others.yaml"
    api.ok("POST", "/firewall/fw/", "{}")
    done: list[int] = []

    def command() -> None:
        for count in (50, 100, 150):
            firewall_file(file, "others", count)
            pcn("apply", str(file), code=0)
            done.append(count)

    applying = threading.Thread(target=command)
    applying.start()
    appended = 0
    while applying.is_alive() or appended < 3:
        assert api("POST", "/fw/chain/INGRESS/append/", {"src": f"10.7.{appended >> 8}.{appended & 255}"}).status == 201
        appended += 1
    applying.join()
    assert done == [50, 100, 150]
    assert (count_of(api, "fw"), count_of(api, "others-fw")) == (appended, 150)
    assert drift(Options(root=api.root)) == []
