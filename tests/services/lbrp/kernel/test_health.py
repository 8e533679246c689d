"""Health checks with real servers, an agent and its worker: who dies loses its flows, the others keep theirs, and no packet waits."""
from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.lib.agent_process import Bench
from tests.lib.servers import Server
from tests.services.lbrp.kernel.test_flows import some_flows
from tests.services.lbrp.lab import LbLab

pytestmark = pytest.mark.kernel

SCENARIO = """
hosts:
  h1: 192.0.2.1/24
  h2: 192.0.2.254/24
  h3: {addresses: [10.0.0.11/24, 10.0.0.12/24, 10.0.0.13/24, "2001:db8:3::b/64", "2001:db8:3::c/64", "2001:db8:3::d/64"],
       here: {addresses: [10.0.0.254/24, "2001:db8:3::fe/64"]}}
cubes:
  - name: lb
    service-name: lbrp
    ports:
      - {name: front, peer: v1, type: FRONTEND}
      - {name: back, peer: v2, type: BACKEND}
"""
BACKENDS = (11, 12, 13)
FLOWS = some_flows(300)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def within(seconds, condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


def shown(lab):
    return {entry["ip"]: entry for entry in lab.live_cube("lb", state=True).get("health", ())}


def unhealthy(lab):
    return {address for address, entry in shown(lab).items() if not entry["healthy"]}


class Scene:
    """Three servers behind one service, and the agent that looks after it."""

    def __init__(self, tmp_path, *, family=4, hook="TC", says=b"", **said):
        self.lab = LbLab(hook=hook, family=family, text=SCENARIO)
        self.said, self.says, self.path = said, says, tmp_path

    def __enter__(self):
        lab = self.lab.__enter__()
        lab.add(*((host, 8080) for host in BACKENDS), **{"health-check": {"interval": 1, "timeout": 1, "fall": 2, "rise": 2, **self.said}})
        lab.apply()
        self.servers = {host: self.serve(host) for host in BACKENDS}
        self.bench = Bench(lab, self.path)
        self.bench.save()
        return self

    def serve(self, host):
        return Server(self.lab.space("h3"), self.lab.backend(host), 8080, self.says)

    def __exit__(self, *error):
        for server in self.servers.values():
            server.__exit__()
        self.lab.__exit__(*error)


def worker(agent):
    return agent.status()["slow_path"]["workers"]["service lbrp"]


@pytest.mark.serial
@pytest.mark.parametrize(("family", "hook"), [(4, "TC"), (6, "XDP_DRV")])
def test_who_dies_loses_its_flows_in_time_and_gets_its_share_back_and_no_other_flow_moves(tmp_path, family, hook):
    with Scene(tmp_path, family=family, hook=hook) as scene, scene.bench.agent():
        lab, dead = scene.lab, scene.lab.backend(12)
        before = lab.choices(FLOWS)
        assert set(before) == {lab.backend(host) for host in BACKENDS}
        within(5, lambda: len(shown(lab)) == 3)
        scene.servers[12].close()
        took = within(10, lambda: dead not in lab.choices(FLOWS))
        assert took < 1 * 2 + 1, took
        after = lab.choices(FLOWS)
        assert [one for one, then in zip(after, before, strict=True) if then != dead] == [then for then in before if then != dead]
        entry = shown(lab)[dead]
        assert (entry["healthy"], entry["last-error"], entry["since"] <= 2) == (False, "REFUSED", True)
        assert lab.drift() == []
        assert not lab.apply().plan.steps
        scene.servers[12] = scene.serve(12)
        within(10, lambda: not unhealthy(lab))
        within(3, lambda: dead in lab.choices(some_flows(50)))
        assert [one for one, then in zip(lab.choices(FLOWS), after, strict=True) if one != then] == []  # known flows stay
        fresh = [(client, port) for client, port in some_flows(3000) if (client, port) not in FLOWS]
        assert abs(lab.choices(fresh).count(dead) / len(fresh) - 1 / 3) < 0.05
        assert shown(lab)[dead]["last-error"] == "REFUSED"


def test_what_is_written_is_shown_as_it_is_and_applied_again_changes_nothing():
    with LbLab(text=SCENARIO) as lab:
        lab.add((11, 8080), **{"health-check": {"type": "HTTP", "path": "/up", "interval": 7}})
        lab.add((12, 8080), vip=2, **{"health-check": {}})
        lab.apply()
        shown = {entry["vip"]: entry.get("health-check") for entry in lab.live_cube("lb")["service"]}
        assert shown[lab.vip(1)] is not None
        assert {**shown[lab.vip(1)], "type": "HTTP", "path": "/up", "interval": 7} == shown[lab.vip(1)]
        assert shown[lab.vip(2)] is not None
        lab.spec["cubes"] = lab.live()["cubes"]
        assert not lab.apply().plan.steps


@pytest.mark.serial
def test_http_that_hangs_or_answers_otherwise_is_left_out_and_what_is_asked_is_a_get(tmp_path):
    with Scene(tmp_path, says=OK, type="HTTP", path="/up?x=1", fall=1) as scene, scene.bench.agent():
        lab = scene.lab
        within(5, lambda: all(server.heard for server in scene.servers.values()))
        assert scene.servers[11].heard == b"GET /up?x=1 HTTP/1.1\r\nHost: 10.0.0.11:8080\r\nUser-Agent: pcn\r\nConnection: close\r\n\r\n"
        scene.servers[11].says, scene.servers[12].says = b"HTTP/1.1 503 Busy\r\n\r\n", None
        within(6, lambda: unhealthy(lab) == {"10.0.0.11", "10.0.0.12"})
        found = shown(lab)
        assert (found["10.0.0.11"]["last-error"], found["10.0.0.11"]["last-status"]) == ("STATUS", 503)
        assert found["10.0.0.12"]["last-error"] == "TIMEOUT"
        assert "last-status" not in found["10.0.0.12"]
        within(3, lambda: set(lab.choices(FLOWS)) == {"10.0.0.13"})
        scene.servers[13].says = b"220 mail\r\n"
        within(6, lambda: unhealthy(lab) == {lab.backend(host) for host in BACKENDS})
        within(3, lambda: lab.request(sport=random.randrange(1024, 65536))["TCP"].flags == "RA")  # as without a backend: refused


class Flapping(Server):
    """Right and wrong by turns; `asked` counts."""

    asked = 0

    @property
    def says(self):
        self.asked += 1
        return OK if self.asked % 4 < 2 else b"HTTP/1.1 500 No\r\n\r\n"  # it is looked at twice for each question

    @says.setter
    def says(self, _):
        pass


@pytest.mark.serial
def test_a_backend_that_flaps_keeps_its_flows_as_long_as_it_does_not_fail_often_enough_in_a_row(tmp_path):
    with Scene(tmp_path, says=OK, type="HTTP") as scene:
        lab, flaps = scene.lab, scene.lab.backend(12)
        scene.servers[12].close()
        scene.servers[12] = Flapping(lab.space("h3"), flaps, 8080)
        with scene.bench.agent():
            before = lab.choices(FLOWS)
            within(20, lambda: scene.servers[12].asked >= 12)
            found = shown(lab)[flaps]
            assert (found["healthy"], found["last-error"], found["last-status"]) == (True, "STATUS", 500)
            assert lab.choices(FLOWS) == before
            assert not [entry for entry in shown(lab).values() if not entry["healthy"]]


@pytest.mark.serial
def test_what_is_known_outlives_the_worker_and_the_agent_and_the_next_worker_goes_on_from_it(tmp_path):
    with Scene(tmp_path) as scene:
        lab, dead = scene.lab, scene.lab.backend(13)
        scene.servers[13].close()
        with scene.bench.agent() as agent:
            within(10, lambda: dead not in lab.choices(FLOWS))
            since = shown(lab)[dead]["since"]
            pid = worker(agent)["pid"]
            os.kill(pid, signal.SIGKILL)
            agent.until(lambda said: said["slow_path"]["workers"]["service lbrp"]["pid"] not in (0, pid))
            began = time.monotonic()
            while time.monotonic() - began < 1.5:
                assert unhealthy(lab) == {dead}
                assert dead not in lab.choices(FLOWS[:20])
            assert shown(lab)[dead]["since"] > since
            agent.kill()
        assert dead not in lab.choices(some_flows(50))
        assert lab.drift() == []
        scene.servers[13] = scene.serve(13)
        with scene.bench.agent():
            within(10, lambda: not unhealthy(lab))
            within(3, lambda: dead in lab.choices(some_flows(50)))


@pytest.mark.serial
def test_a_check_that_is_taken_away_takes_what_it_said_along_and_a_cube_without_one_has_no_worker(tmp_path):
    with Scene(tmp_path) as scene, scene.bench.agent() as agent:
        lab, dead = scene.lab, scene.lab.backend(11)
        scene.servers[11].close()
        within(10, lambda: dead not in lab.choices(FLOWS))
        assert lab.reader().names("cubes/lb").count("slowpath") == 0
        check = lab.cube("lb")["service"][0].pop("health-check")
        scene.bench.save()
        within(5, lambda: dead in lab.choices(some_flows(50)))
        agent.until(lambda said: "service lbrp" not in said["slow_path"]["workers"])
        assert shown(lab) == {}
        lab.cube("lb")["service"][0]["health-check"] = check
        scene.bench.save()
        within(10, lambda: unhealthy(lab) == {dead})
