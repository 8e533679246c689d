"""Spanning trees while a flood goes up to slow paths: of another cube, and of BPDUs at a port of a bridge itself. With an agent and its workers."""
from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks import programs
from benchmarks.bed import inject
from cubes.bridge.bpdu import RST, Bpdu, Times, Vector, frame
from reconciler.errors import LockBusy
from reconciler.kernel import netns, offload, rtnl
from tests.lib.agent_process import Bench
from tests.lib.lab import Lab, port_of
from tests.lib.services import Tree, rx
from tests.services.bridge.kernel.test_stp import triangle
from tests.services.bridge.stp_lab import blocked, states, until

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]
log = logging.getLogger(__name__)

HANDED_UP = rx("return pcn_pkt_controller(ctx, md, 1);")
LISTENER = """
class SlowPath:
    def __init__(self, cube):
        pass
    def packet_in(self, packet, md, reason):
        pass
"""
RATE, BURST = 100_000, 2_000
LIMITED = "11"
OF_A_HOST = frame(Bpdu(RST, Vector(0xF000 << 48 | 0x99, 0, 0xF000 << 48 | 0x99, 1), Times(0, 20, 2, 15), flags=0x3C),
                  bytes.fromhex("020000000099"), 1, tagged=False)  # fmt: skip
ANY = b"\xff" * 6 + bytes.fromhex("0200000000994242") + bytes(46)


@contextmanager
def flooded(lab: Lab, host: str, sent: bytes) -> Iterator[Callable[[], float]]:
    """This frame from a host, 100,000 times a second or as often as the machine can; gives how often so far."""
    offload.put(port_of(host), "gro", True)  # without it a veth takes nothing from XDP
    with netns.inside(lab.space(host)):
        program = programs.generator(sent, out=rtnl.links()["eth0"].index)
    stop, count, began = threading.Event(), [0], time.monotonic()

    def send() -> None:
        with netns.inside(lab.space(host)):
            while not stop.is_set():
                inject(program, sent, BURST)
                count[0] += BURST
                stop.wait(max(0.0, began + count[0] / RATE - time.monotonic()))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield lambda: count[0] / (time.monotonic() - began)
    finally:
        stop.set()
        thread.join()
        os.close(program)


def now(lab: Lab) -> dict[str, str]:
    """What ports do, as soon as the agent lets somebody look: on a busy machine its edits take a while."""
    while True:
        with suppress(LockBusy):
            return states(lab)


def check_trees(lab: Lab, bench: Bench, rate: Callable[[], float], flooded: str) -> None:
    """They stay as they are for longer than three hellos, and go round a link that is lost."""
    deadline = time.monotonic() + 8

    def shut() -> set[str]:
        return {port for port, state in now(lab).items() if state not in ("forwarding", "disabled")} - {flooded}

    while time.monotonic() < deadline:
        assert shut() == {"br3:22"}
        time.sleep(0.2)
    ports = {cube: lab.cube(cube)["ports"] for cube in ("br1", "br3")}
    for cube, gone in (("br1", "32"), ("br3", "31")):
        lab.cube(cube)["ports"] = [port for port in ports[cube] if port["name"] != gone]
    bench.save()
    took = until(lambda: now(lab).get("br3:22"), "forwarding", 30)
    for cube, all_of_it in ports.items():
        lab.cube(cube)["ports"] = all_of_it
    bench.save()
    again = until(shut, {"br3:22"}, 30)
    log.info("%s: %.0f a second: gone round in %.2f s, back in %.2f s; drops %s", flooded, rate(), took, again,
             {name: lab.drops(name) for name in ("br1", "br2", "br3")})  # fmt: skip


def test_trees_stand_and_mend_beside_a_hundred_thousand_packets_a_second_for_another_slow_path(tmp_path: Path) -> None:
    with triangle("TC") as lab:
        tree = Tree(tmp_path / "services")
        tree.add("up", [HANDED_UP], implementation=LISTENER)
        lab.options.services = tree.load()
        lab.hosts["h4"] = "10.0.0.4/24"
        lab.spec["cubes"].append({"name": "c1", "service-name": "up", "ports": [{"name": "p1", "peer": "v4"}]})
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        with bench.agent("--services", str(tree.directory)) as agent:
            until(lambda: blocked(lab), {"br3:22"}, 30)
            before = agent.status()["slow_path"]["cubes"]["c1"]
            with flooded(lab, "h4", ANY) as rate:
                check_trees(lab, bench, rate, "c1:p1")
            after = agent.status()["slow_path"]["cubes"]["c1"]
            assert sum(after[name] - before[name] for name in ("received", "lost")) > 50_000
            assert all("NO_SLOWPATH" not in lab.drops(name) for name in ("br1", "br2", "br3"))


def test_trees_stand_and_mend_while_a_host_sends_a_hundred_thousand_bpdus_a_second(tmp_path: Path) -> None:
    """Of these a thousand a second go up: what the bridge's own ring and worker have to do with others' is left to them."""
    with triangle("TC") as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        with bench.agent():
            until(lambda: blocked(lab), {"br3:22"}, 30)
            with flooded(lab, "h2", OF_A_HOST) as rate:
                until(lambda: "br2:h2" in blocked(lab), True, 15)  # no edge any more, and disputed
                check_trees(lab, bench, rate, "br2:h2")
            assert lab.drops("br2")[LIMITED] > 50_000
