"""Slow paths in worker processes: what an agent plans, another cube's flood, and a worker's death do to packets."""
from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reconciler import pins
from tests.lib import packets
from tests.lib.agent_process import Bench, Stream
from tests.lib.lab import Lab
from tests.lib.services import Tree, rx
from tests.services.router.lab import RouterLab

ROUTED = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: r1
    service-name: router
    ports: [{name: a, peer: v1, ip: 10.0.1.254/24}, {name: b, peer: v2, ip: 10.0.2.254/24}]
"""
TWO_ECHOES = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.0.3/24, h4: 10.0.0.4/24}
cubes:
  - {name: c1, service-name: up, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
  - {name: c2, service-name: up, ports: [{name: p1, peer: v3}, {name: p2, peer: v4}]}
"""
ONE_ECHO = "\n".join(TWO_ECHOES.splitlines()[:4]).replace(", h3: 10.0.0.3/24, h4: 10.0.0.4/24", "")
UP = rx("return pcn_pkt_controller(ctx, md, 1);")
ECHO = """
class SlowPath:
    def __init__(self, cube):
        self.cube = cube
    def packet_in(self, packet, md, reason):
        self.cube.send_packet_out(packet, 'p2' if md.port == 'p1' else 'p1', 'EGRESS')
"""
FIREWALLS, RULES = 12, 3000
TRIES = 30


@pytest.fixture
def routed(tmp_path, request):
    """A router below an agent; h2 has as many addresses more as the test's parameter says."""
    more = "".join(f", 10.0.2.{100 + number}/24" for number in range(getattr(request, "param", 0)))
    with RouterLab(ROUTED.replace("[10.0.2.1/24]", f"[10.0.2.1/24{more}]")) as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        yield bench


class Echoes:
    """Cubes of a made-up service `up`, below an agent."""

    def __init__(self, lab: Lab, directory: Path, implementation: str) -> None:
        self.lab, self.tree, self.bench = lab, Tree(directory / "services"), Bench(lab, directory)
        self.tree.add("up", [UP], implementation=implementation)
        lab.options.services = self.tree.load()
        self.bench.save()

    def agent(self, *options):
        return self.bench.agent("--services", str(self.tree.directory), *options)


@pytest.fixture
def echoes(tmp_path):
    """Gives a function that makes `Echoes`, applied."""
    opened = []

    def make(scenario=ONE_ECHO, implementation=ECHO):
        lab = Lab(scenario)
        lab.__enter__()
        opened.append(lab)
        found = Echoes(lab, tmp_path, implementation)
        lab.apply()
        return found

    yield make
    for lab in opened:
        lab.__exit__(None, None, None)


def worker_of(agent, name):
    return agent.status()["slow_path"]["workers"][name]["pid"]


def ended(pid, seconds=2.0):
    deadline = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    return not os.path.exists(f"/proc/{pid}")


def first_packet(lab):
    """Milliseconds that a packet to a neighbour that the router does not know takes there and back; None if it was lost."""
    lab.flush("r1", "neighbours")
    began = time.perf_counter()
    answered = packets.ping(lab.space("h1"), "10.0.2.1", 1, timeout=5.0) == 1
    found = (time.perf_counter() - began) * 1000 if answered else None
    time.sleep(0.04)  # a source may ask for 31 neighbours a second
    return found


def firewalls():
    """A topology whose plan takes an agent long."""
    rules = [{"id": n, "src": f"10.{n // 250}.{n % 250}.0/24", "dst": f"172.16.{n % 250}.{n // 250}/32", "action": "DROP"} for n in range(RULES)]
    cubes = [{"name": f"fw{n}", "service-name": "firewall", "chain": [{"name": "INGRESS", "default": "ACCEPT", "rule": rules}]}
             for n in range(FIREWALLS)]  # fmt: skip
    return json.dumps({"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "walls"}, "spec": {"cubes": cubes}})


# -- a plan -------------------------------------------------------------------------------------------------------------


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_first_packet_waits_for_no_plan_nor_does_the_status(routed):
    """12 firewalls of 3,000 rules; against the same router while the agent is idle and something else keeps a CPU as busy."""
    with routed.agent("--prune") as agent:
        packets.ping(routed.lab.space("h1"), "10.0.2.1", 2)
        hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            idle = [first_packet(routed.lab) for _ in range(3 * TRIES)]
        finally:
            hog.kill()
            hog.wait()
        walls = routed.directory / "walls.yaml"
        walls.write_text(firewalls())
        busy, answers, said = [], [], agent.status()
        while "walls" not in said["topologies"]:
            assert not said["problems"], said["problems"]
            busy.append(first_packet(routed.lab))
            began = time.perf_counter()
            said = agent.status()
            answers.append((time.perf_counter() - began) * 1000)
        walls.unlink()
        agent.until(lambda said: said["topologies"] == ["lab"], 60)
    say(f"idle: {summed(idle)}; while it plans: {summed(busy)}; status: {summed(answers)}")
    assert None not in busy
    assert len(busy) > TRIES
    assert statistics.median(busy) < max(5.0, 5 * statistics.median(idle))
    assert sorted(busy)[len(busy) * 95 // 100] < max(50.0, 5 * max(idle))  # the rest waits for a CPU, on a busy machine
    assert statistics.median(answers) < 1000


def say(figures):
    """What was measured, for whoever runs this with -s."""
    sys.stdout.write(figures + "\n")


def summed(times):
    known = sorted(each for each in times if each is not None)
    p95 = known[len(known) * 95 // 100]
    return f"{len(times)}, {times.count(None)} lost, median {statistics.median(known):.1f} ms, p95 {p95:.1f}, most {known[-1]:.1f}"


# -- a flood ------------------------------------------------------------------------------------------------------------


def frame(lab, source, target, number=0):
    macs = [bytes.fromhex(lab.mac(host).replace(":", "")) for host in (target, source)]
    return b"".join(macs) + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(46)


SLOW_ECHO = ECHO + """
        if self.cube.name == 'c1':
            end = __import__('time').monotonic() + 0.001
            while __import__('time').monotonic() < end:
                pass
"""


@pytest.mark.serial
@pytest.mark.parametrize("implementation", [ECHO, SLOW_ECHO], ids=["10,000 packets a second", "more than its half can take"])
def test_a_flood_at_one_cube_delays_no_other(echoes, implementation):
    made = echoes(TWO_ECHOES, implementation)
    with made.agent() as agent:
        assert len(agent.status()["slow_path"]["workers"]) == 1
        idle = [across(made.lab, n) for n in range(TRIES)]
        before = agent.status()["slow_path"]["cubes"]["c1"]
        began, stop = time.monotonic(), threading.Event()
        flood = threading.Thread(target=send_at, args=(made.lab, 10_000, stop))
        flood.start()
        try:
            time.sleep(0.3)
            flooded = [across(made.lab, TRIES + n) for n in range(TRIES)]
        finally:
            stop.set()
            flood.join()
        after, took = agent.status()["slow_path"]["cubes"]["c1"], time.monotonic() - began
    rate = sum(after[name] - before[name] for name in ("received", "lost")) / took
    say(f"idle: {summed(idle)}; beside {rate:.0f} packets a second: {summed(flooded)}")
    assert rate > 1000
    assert None not in flooded
    assert statistics.median(flooded) < max(5.0 if implementation is ECHO else 50.0, 5 * statistics.median(idle))


def across(lab, number):
    """Milliseconds from h3 by c2's slow path to h4; None if it was lost."""
    sent = frame(lab, "h3", "h4", number)
    with lab.sniff("h4") as there:
        began = time.perf_counter()
        lab.send("h3", sent)
        found = there.next(1.0, lambda got: got[:18] == sent[:18])
        return (time.perf_counter() - began) * 1000 if found else None


def send_at(lab, rate, stop):
    """Frames from h1 into c1, at this rate as far as the machine goes along."""
    burst = [frame(lab, "h1", "h2")] * 50
    due = time.monotonic()
    while not stop.is_set():
        lab.send("h1", *burst)
        due = max(due + len(burst) / rate, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))


# -- a death ------------------------------------------------------------------------------------------------------------


def kill_often(bench, agent, times):
    """Seconds until the slow path is back, each time."""
    lab, found = bench.lab, []
    for number in range(times):
        time.sleep(random.uniform(0.7, 1.7))
        pid = worker_of(agent, "service router")
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        while not packets.ping(lab.space("h1"), f"10.0.2.{100 + number}", 1, timeout=0.1):
            assert time.monotonic() < killed + 20, agent.text()
        found.append(time.monotonic() - killed)
        assert ended(pid)
    return found


def start_of_a_worker():
    """Seconds that Python takes to import what a worker imports, now, on this machine."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import reconciler.slowpath.worker, cubes.router"], check=True)
    return time.monotonic() - began


def outlives_kills(bench, times):
    with bench.agent() as agent:
        assert packets.ping(bench.lab.space("h1"), "10.0.2.1", 3) == 3
        with Stream(bench.lab.space("h1"), bench.lab.space("h2"), "10.0.2.1") as stream:
            back = kill_often(bench, agent, times)
            stream.close()
        said = agent.status()
        say(f"back after: median {statistics.median(back):.2f} s, most {max(back):.2f}; {len(stream.arrived)} packets, {stream.lost()} lost")
        assert stream.lost() == 0
        assert len(stream.arrived) > 100
        assert said["slow_path"]["workers"]["service router"]["restarts"] == times
        assert said["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
        assert agent.text().count("killed by signal 9") == times
        bound = max(1.0, 5 * start_of_a_worker())
        assert statistics.quantiles(back, n=20)[-1] < bound
        assert max(back) < 5 * bound, "even one that met a busy moment of the machine"


@pytest.mark.serial
@pytest.mark.parametrize("routed", [10], indirect=True)
def test_a_worker_killed_at_any_moment_costs_fast_paths_nothing_and_is_back_within_a_second(routed):
    outlives_kills(routed, 10)


@pytest.mark.serial
@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("routed", [100], indirect=True)
def test_a_worker_killed_at_a_hundred_moments(routed):
    outlives_kills(routed, 100)


def test_what_a_worker_had_not_answered_when_it_died_is_counted_and_no_more(routed):
    with routed.agent() as agent:
        packets.ping(routed.lab.space("h1"), "10.0.2.1", 2)
        packets.ping(routed.lab.space("h1"), "10.0.2.77", 3, interval=0.01, timeout=0.1)  # nobody has that address
        agent.until(lambda said: said["slow_path"]["held"] == 3)
        before = agent.status()["slow_path"]
        os.kill(worker_of(agent, "service router"), signal.SIGKILL)
        agent.until(lambda said: said["slow_path"]["workers"]["service router"]["restarts"] == 1)
        after = agent.status()["slow_path"]
        assert (after["abandoned"], after["held"]) == (before["abandoned"] + 3, 0)
        assert after["received"] >= before["received"]
        assert "3 packets that it had not answered are lost" in agent.text()
        agent.until(lambda said: said["slow_path"]["workers"]["service router"]["pid"] > 0)


def test_a_worker_dies_with_its_agent_and_the_next_agent_starts_another(routed):
    with routed.agent() as agent:
        first = worker_of(agent, "service router")
        agent.kill()
        assert ended(first)
        with routed.agent() as again:
            assert worker_of(again, "service router") not in (0, first)
            assert packets.ping(routed.lab.space("h1"), "10.0.2.1", 3) == 3
            second = worker_of(again, "service router")
        assert ended(second)


def test_a_half_that_cannot_be_made_or_ends_its_process_is_said_and_stops_nobody_else(echoes):
    implementation = ECHO.replace("packet_in(self, packet, md, reason):", "packet_in(self, packet, md, reason):\n        if packet[14] == 9: __import__('os')._exit(3)")
    made = echoes(TWO_ECHOES, implementation.replace("class SlowPath:", "class SlowPath:\n    worker = 'cube'"))
    with made.agent() as agent, made.lab.sniff("h4") as there:
        assert set(agent.status()["slow_path"]["workers"]) == {"cube c1", "cube c2"}
        other = worker_of(agent, "cube c2")
        poison = frame(made.lab, "h1", "h2")
        made.lab.send("h1", poison[:14] + b"\x09" + poison[15:])
        agent.until(lambda said: said["slow_path"]["workers"]["cube c1"]["restarts"] == 1)
        assert "the worker of cube c1 ended (exit 3), and 1 packets that it had not answered are lost" in agent.text()
        sent = frame(made.lab, "h3", "h4", 7)
        made.lab.send("h3", sent)
        assert there.next(5.0) == sent
        assert worker_of(agent, "cube c2") == other
        agent.until(lambda said: said["slow_path"]["workers"]["cube c1"]["pid"] > 0)
        with made.lab.sniff("h2") as here:  # the packet that it died over is not met again
            made.lab.send("h1", frame(made.lab, "h1", "h2", 8))
            assert here.next(5.0)[17] == 8
        assert agent.status()["slow_path"]["workers"]["cube c1"]["restarts"] == 1


# -- what a worker may do, and what it says -----------------------------------------------------------------------------

TRIES_ALL = """
import os, socket
class SlowPath:
    def __init__(self, cube):
        self.cube, self.found = cube, {}
    def packet_in(self, packet, md, reason):
        for name, do in {
            'write': lambda: open('/tmp/written-by-a-worker', 'w'),
            'read': lambda: open('/etc/shadow').read(),
            'signal': lambda: os.kill(os.getppid(), 0),
            'raise a limit': lambda: os.nice(-1),
            'execute': lambda: os.execv('/bin/true', ['true']),
            'mount': lambda: os.chroot('/'),
        }.items():
            try:
                do()
                self.found[name] = 'done'
            except OSError as error:
                self.found[name] = error.strerror
        self.cube.notify('tried', self.found)
"""


def test_a_worker_has_the_privilege_to_send_packets_and_no_other(echoes):
    made = echoes(implementation=TRIES_ALL)
    with made.agent() as agent:
        said = Path(f"/proc/{worker_of(agent, 'service up')}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
        assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {1 << 13}
        assert (fields["NoNewPrivs"], int(fields["CapInh"], 16), int(fields["CapAmb"], 16)) == ("1", 0, 0)
        made.lab.send("h1", frame(made.lab, "h1", "h2"))
        agent.until(lambda said: "c1" in said["slow_path"]["published"])
        tried = agent.status()["slow_path"]["published"]["c1"]["tried"]
    assert "done" not in tried.values(), tried
    assert not os.path.exists("/tmp/written-by-a-worker")


def test_what_a_half_logs_obeys_the_loglevel_and_is_in_pcn_log_once(echoes):
    implementation = """
class SlowPath:
    def __init__(self, cube):
        self.cube = cube
    def packet_in(self, packet, md, reason):
        for level in ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL"):
            self.cube.log(level, f"{md.port} at {level}")
"""
    made = echoes(implementation=implementation)

    def lines():
        command = [sys.executable, "-c", "import sys; from reconciler.cli.main import main; sys.exit(main())", "log", "-o", "json",
                   "--bpffs", made.lab.root, "--services", str(made.tree.directory)]  # fmt: skip
        out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        return [json.loads(line) for line in out.splitlines()]

    with made.agent() as agent:
        for level, expected in (("INFO", ["INFO", "WARN", "ERR", "CRITICAL"]), ("ERR", ["ERR", "CRITICAL"]), ("OFF", [])):
            made.lab.cube("c1")["loglevel"] = level
            made.bench.save()
            agent.until(lambda said, level=level: made.lab.live_cube("c1").get("loglevel", "INFO") == level and not said["pending"])
            before = agent.status()["slow_path"]["handled"]
            agent.poll()
            time.sleep(0.5)
            made.lab.send("h1", frame(made.lab, "h1", "h2"))
            agent.until(lambda said, before=before: said["slow_path"]["handled"] == before + 1)
            time.sleep(0.2)
            found = lines()
            assert [(line["cube"], line["level"], line["text"]) for line in found] == [("c1", each, f"p1 at {each}") for each in expected]
            assert lines() == []
        assert agent.text().count("c1: p1 at CRITICAL") == 2  # and in the agent's own


# -- programs of older versions -----------------------------------------------------------------------------------------


def test_the_ring_of_programs_of_an_older_version_is_emptied_until_they_are_gone_and_no_packet_is_lost(tmp_path, monkeypatch):
    """Everything goes by the slow path. An agent that changes nothing serves the old ring; one that applies replaces the programs."""
    with Lab(ONE_ECHO) as lab:
        with monkeypatch.context() as old:
            old.delitem(pins.PER_CUBE, "pcn_slowpath")
            old.setitem(pins.SHARED, "pcn_slowpath", "slowpath")
            made = Echoes(lab, tmp_path, ECHO)
            lab.apply()
        assert "slowpath" in lab.reader().names("shared")
        made.tree.add("up", [UP.replace("md, 1)", "md, 2)")], implementation=ECHO)
        lab.options.services = made.tree.load()
        with made.agent("--observe") as agent:
            assert lab.ok("h1", "10.0.0.2", count=5)
            assert agent.status()["slow_path"]["cubes"]["c1"]["handled"] > 0
            assert "slowpath" not in lab.reader().names("cubes/c1")
            stream = made.bench.stream(100).__enter__()
        with made.agent() as agent:
            agent.until(lambda said: said["healthy"] and said["done"]["program_loads"] > 0, 10)
            time.sleep(1.5)
            assert "slowpath" in lab.reader().names("cubes/c1")
            assert "slowpath" not in lab.reader().names("shared")
            stream.close()
            assert stream.lost() == 0, (agent.status()["slow_path"], stream.losses(), stream.sent[-1], agent.text())
            assert len(stream.arrived) > 100
            assert agent.status()["slow_path"]["unclaimed"] == 0
