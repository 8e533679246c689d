"""From the datapath to Python and back: what a cube's half is given, and where what it sends comes out."""
from __future__ import annotations

import logging
import select
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml

from reconciler.kernel import linkwrite, rtnl
from reconciler.service.registry import HERE, Services
from tests.lib import packets
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx
from tests.lib.slowpaths import SlowPaths

TWO_HOSTS = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: up, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
UP = rx("u32 said[3] = {7, 8, 9}; return pcn_pkt_controller_with_metadata(ctx, md, 5, said);")
HALF = """
class SlowPath:
    seen = []
    def __init__(self, cube):
        self.cube = cube
    def packet_in(self, packet, md, reason):
        SlowPath.seen.append((packet, md, reason))
        %s
"""
ACROSS = "self.cube.send_packet_out(packet, 'p2' if md.port == 'p1' else 'p1', 'EGRESS')"


@contextmanager
def lab_of(tmp_path, scenario=TWO_HOSTS, hook="TC", services=(("up", [UP]),), implementation=ACROSS, **about):
    """A lab with made-up services, and its slow paths served."""
    tree = Tree(tmp_path / "services")
    for name, texts in services:
        tree.add(name, texts, implementation=HALF % implementation if "class" not in implementation else implementation, **about)
    with Lab(scenario, hook=hook) as lab:
        lab.options.services = tree.load()
        lab.tree = tree
        lab.apply()
        slow = SlowPaths(lab.root, lab.options.services)
        slow.refresh()
        try:
            yield lab, slow
        finally:
            slow.close()


def serve(slow, seconds=1.0, until=lambda: False):
    """Be the agent's loop for a while."""
    deadline = time.monotonic() + seconds
    while not until() and (left := deadline - time.monotonic()) > 0:
        if select.select([slow], [], [], min(left, 0.05))[0]:
            slow.drain()
        slow.tick()


def half_of(lab):
    return lab.options.services.get("up").slow_path


def frame(lab, source="h1", target="h2", payload=b"x" * 60, kind=b"\x88\xb5"):
    mac = bytes.fromhex(lab.mac(source).replace(":", "")), bytes.fromhex(lab.mac(target).replace(":", ""))
    return mac[1] + mac[0] + kind + payload


@pytest.mark.parametrize("hook", HOOKS)
def test_a_packet_reaches_its_cubes_half_with_reason_and_metadata_and_leaves_by_the_port_that_it_says(tmp_path, hook):
    with lab_of(tmp_path, hook=hook) as (lab, slow), lab.sniff("h2") as there:
        sent = frame(lab)
        lab.send("h1", sent)
        serve(slow, until=lambda: half_of(lab).seen)
        packet, md, reason = half_of(lab).seen[0]
        assert (packet, reason, md.metadata, md.port, md.direction, md.length) == (sent, 5, (7, 8, 9), "p1", "ingress", len(sent))
        assert there.next() == sent
        counts = slow.counters()
        assert (counts["received"], counts["handled"], counts["injected"], counts["lost"]) == (1, 1, 1, 0)


@pytest.mark.parametrize("hook", HOOKS)
def test_ingress_is_as_if_the_packet_had_arrived_at_that_port(tmp_path, hook):
    """The second time round its first byte is another one, and the program sends it on to the port after."""
    program = rx("""
  u8 first;
  if (pcn_load_bytes(ctx, 14, &first, 1) < 0)
    return RX_DROP;
  return first == 'x' ? pcn_pkt_controller(ctx, md, 1) : pcn_pkt_redirect(ctx, md, md->in_port ^ 1);""")
    implementation = "self.cube.send_packet_out(packet[:14] + b'y' + packet[15:], md.port, self.cube.INGRESS)"
    with lab_of(tmp_path, hook=hook, services=[("up", [program])], implementation=implementation) as (lab, slow), lab.sniff("h2") as there:
        sent = frame(lab)
        lab.send("h1", sent)
        serve(slow, until=lambda: slow.counters()["injected"])
        assert there.next() == sent[:14] + b"y" + sent[15:]


@pytest.mark.parametrize("hook", HOOKS)
def test_two_hosts_talk_through_python(tmp_path, hook):
    with lab_of(tmp_path, hook=hook) as (lab, slow), served(slow):
        assert lab.ok("h1", "10.0.0.2", count=5)
        assert packets.udp_exchange(lab.space("h1"), lab.space("h2"), "10.0.0.2", 5000).reply == b"question"
        assert packets.tcp_exchange(lab.space("h1"), lab.space("h2"), "10.0.0.2", 5001).reply == b"question"


@pytest.mark.parametrize("hook", HOOKS)
def test_tags_survive_the_slow_path(tmp_path, hook):
    with lab_of(tmp_path, hook=hook) as (lab, slow), lab.sniff("h2") as there:
        plain = frame(lab)
        sent = plain[:12] + b"\x81\x00\x00\x07" + plain[12:]
        lab.send("h1", sent)
        serve(slow, until=lambda: half_of(lab).seen)
        assert half_of(lab).seen[0][0] == sent
        assert there.next() == sent


def test_a_packet_of_any_size_is_handed_up_and_a_longer_one_cut_off(tmp_path):
    scenario = TWO_HOSTS.replace("10.0.0.1/24,", "{addresses: [10.0.0.1/24], mtu: 12000, here: {mtu: 12000}},")
    with lab_of(tmp_path, scenario, implementation="pass") as (lab, slow):
        sizes = (60, 255, 256, 257, 1514, 2048, 2049, 9216, 9217, 11000)
        for size in sizes:
            lab.send("h1", frame(lab, payload=bytes(i % 251 for i in range(size - 14))))
        serve(slow, until=lambda: len(half_of(lab).seen) == len(sizes))
        seen = half_of(lab).seen
        assert [md.length for _, md, _ in seen] == list(sizes)
        assert [len(packet) for packet, _, _ in seen] == [min(size, 9216) for size in sizes]
        assert all(packet[14:] == bytes(i % 251 for i in range(len(packet) - 14)) for packet, _, _ in seen)


def test_a_half_that_raises_is_logged_and_counted_and_stops_nobody_else(tmp_path, caplog):
    scenario = TWO_HOSTS + "  - {name: c2, service-name: bad, ports: [{name: q1, peer: v3}]}\n"
    scenario = scenario.replace("hosts: {", "hosts: {h3: 10.0.0.3/24, ")
    tree = Tree(tmp_path / "services")
    tree.add("bad", [UP], implementation=HALF % "raise ValueError('of its own making')")
    with lab_of(tmp_path, scenario) as (lab, slow), lab.sniff("h2") as there, caplog.at_level(logging.ERROR):
        sent = frame(lab)
        for _ in range(3):
            lab.send("h3", frame(lab, "h3"))
            lab.send("h1", sent)
        serve(slow, until=lambda: slow.counters()["received"] == 6)
        cubes = slow.counters()["cubes"]
        assert (cubes["c1"]["handled"], cubes["c2"]["handled"], cubes["c2"]["raised"]) == (3, 0, 3)
        assert there.all() == [sent] * 3
        assert caplog.text.count("cube c2: its slow path failed in packet_in") == 1  # not once a packet
        assert "of its own making" in caplog.text


def test_packets_wait_for_an_agent_that_is_away_and_what_finds_no_room_is_counted(tmp_path):
    with lab_of(tmp_path, implementation="pass") as (lab, slow):
        room = (256 << 10) // (8 + 48 + 2048)
        burst = frame(lab, payload=bytes(1400))
        lab.send("h1", *[burst] * (room + 100))
        assert lab.drops("c1") == {"NO_SLOWPATH": 100}
        serve(slow, 5, until=lambda: slow.counters()["received"] == room)
        counts = slow.counters()
        assert (counts["received"], counts["handled"], counts["lost"], counts["waiting"]) == (room, room, 100, 0)


def test_what_waited_too_long_is_not_handled_but_counted(tmp_path, monkeypatch):
    with lab_of(tmp_path) as (lab, slow):
        monkeypatch.setattr("reconciler.slowpath.dispatch.MAX_AGE", 0.05)
        lab.send("h1", frame(lab))
        time.sleep(0.1)
        serve(slow, until=lambda: slow.counters()["received"])
        assert (slow.counters()["stale"], half_of(lab).seen) == (1, [])


@pytest.mark.parametrize("hook", HOOKS)
def test_several_packets_in_one_call(tmp_path, hook):
    implementation = "self.cube.send_packet_out([packet[:14] + bytes([i]) * 50 for i in range(20)], 'p2', 'EGRESS')"
    with lab_of(tmp_path, hook=hook, implementation=implementation) as (lab, slow), lab.sniff("h2") as there:
        sent = frame(lab)
        lab.send("h1", sent)
        serve(slow, until=lambda: slow.counters()["injected"])
        assert there.all() == [sent[:14] + bytes([i]) * 50 for i in range(20)]


@pytest.mark.parametrize("hook", HOOKS)
def test_egress_goes_through_the_cubes_next_door(tmp_path, hook):
    scenario = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: up, ports: [{name: p1, peer: v1}, {name: p2, peer: "f1:a"}]}
  - {name: f1, service-name: helloworld, action: FORWARD, ports: [{name: a, peer: "c1:p2"}, {name: b, peer: v2}]}
"""
    with lab_of(tmp_path, scenario, hook=hook) as (lab, slow), lab.sniff("h2") as there:
        sent = frame(lab)
        lab.send("h1", sent)
        serve(slow, until=lambda: slow.counters()["injected"])
        assert there.next() == sent


@pytest.mark.parametrize("hook", HOOKS)
def test_a_transparent_cubes_packets_go_on_past_it(tmp_path, hook):
    """Inwards to the port it sits on, and outwards to the wire; neither comes to its own programs again."""
    scenario = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: f1, service-name: helloworld, action: FORWARD, ports: [{name: a, peer: v1, tcubes: [t1]}, {name: b, peer: v2}]}
  - {name: t1, service-name: up}
"""
    tree = Tree(tmp_path / "services")
    implementation = HALF % "self.cube.send_packet_out(packet, '', md.direction.upper())"
    tree.add("up", [UP], [UP], kind="transparent", implementation=implementation)
    with Lab(scenario, hook=hook) as lab:
        lab.options.services = tree.load()
        lab.apply()
        slow = SlowPaths(lab.root, lab.options.services)
        try:
            slow.refresh()
            with lab.sniff("h2") as there, lab.sniff("h1") as back:
                out, into = frame(lab), frame(lab, "h2", "h1")
                lab.send("h1", out)
                serve(slow, until=lambda: slow.counters()["injected"] == 1)
                assert there.next() == out
                lab.send("h2", into)
                serve(slow, until=lambda: slow.counters()["injected"] == 2)
                assert back.next() == into
                assert [md.direction for _, md, _ in half_of(lab).seen] == ["ingress", "egress"]
        finally:
            slow.close()


def test_the_way_back_is_there_only_while_a_cube_needs_it_and_is_healed_like_anything_else(tmp_path):
    with lab_of(tmp_path) as (lab, slow):
        hidden = {name for name in rtnl.links() if name.startswith("pcn")}
        assert len(hidden) == 2
        assert lab.plan().plan.steps == ()
        linkwrite.delete_link(next(iter(hidden)))
        assert lab.drift()
        lab.apply()
        assert not lab.drift()
        slow.refresh()
        with lab.sniff("h2") as there:
            sent = frame(lab)
            lab.send("h1", sent)
            serve(slow, until=lambda: slow.counters()["injected"])
            assert there.next() == sent
        lab.spec["cubes"] = []
        lab.apply()
        slow.refresh()
        assert not [name for name in rtnl.links() if name.startswith("pcn")]
        assert "slowpath" not in lab.reader().names("shared")


def test_a_restarted_agent_goes_on_where_the_last_one_ended(tmp_path):
    with lab_of(tmp_path, implementation="pass") as (lab, slow):
        lab.send("h1", frame(lab))
        serve(slow, until=lambda: half_of(lab).seen)
        slow.close()
        lab.send("h1", frame(lab, payload=b"second" * 20))
        again = SlowPaths(lab.root, lab.options.services)
        again.refresh()
        serve(again, until=lambda: len(half_of(lab).seen) == 2)
        again.close()
        assert half_of(lab).seen[1][0][14:20] == b"second"
        assert lab.plan().plan.steps == ()


def test_a_half_is_told_of_changes_and_reads_and_writes_its_tables(tmp_path):
    program = rx("""
  u32 zero = 0, *port = way.lookup(&zero);
  return port ? pcn_pkt_redirect(ctx, md, *port) : RX_DROP;""", 'BPF_TABLE("hash", u32, u32, way, 4);')
    implementation = """
class SlowPath:
    told = []
    def __init__(self, cube):
        self.cube = cube
        cube.table("way").set(bytes(4), cube.ports["p2"].to_bytes(4, "little"))
    def packet_in(self, packet, md, reason):
        pass
    def changed(self):
        self.told.append(dict(self.cube.ports))
"""
    with lab_of(tmp_path, services=[("up", [program])], implementation=implementation) as (lab, slow), lab.sniff("h2") as there:
        sent = frame(lab)
        lab.send("h1", sent)
        assert there.next() == sent
        lab.cube("c1")["ports"].append({"name": "p3"})
        lab.apply()
        slow.refresh()
        assert half_of(lab).told == [{"p1": 0, "p2": 1, "p3": 2}]
        assert slow.counters()["received"] == 0


@contextmanager
def served(slow):
    """Be the agent's loop in a thread while the block runs."""
    stop = threading.Event()
    loop = threading.Thread(target=lambda: [serve(slow, 0.02) for _ in iter(stop.is_set, True)])
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join()


def test_the_sample_service_admits_two_of_three_and_tells_the_host_who_came():
    home = Path(HERE, "examples", "services")
    cubes = yaml.safe_load((home / "doorman" / "topology.yaml").read_text().replace("guest", "v").replace("vs:", "guests:"))["spec"]["cubes"]
    with Lab(yaml.safe_dump({"hosts": {f"h{n}": f"10.0.0.{n}/24" for n in (1, 2, 3)}, "cubes": cubes})) as lab:
        lab.options.services = Services([home])
        lab.apply()
        assert not lab.drift()
        with closing(SlowPaths(lab.root, lab.options.services)) as slow:
            slow.refresh()
            with served(slow):
                assert lab.ok("h1", "10.0.0.2")
                assert lab.fails("h3", "10.0.0.2")
            assert slow.counters()["cubes"]["door"]["raised"] == 0
        assert lab.ok("h1", "10.0.0.2")  # nobody serves the slow path now, and none is needed
        macs = [lab.mac(host) for host in ("h1", "h2", "h3")]
        visits = lab.reader().rows("public/doorman_visits")[1]
        assert {key[:6].hex(":") for key in visits} == set(macs[:2])
        listed = lab.reader().rows("cubes/door/tables/doorman:list")[1]
        assert {key[:6].hex(":"): value[0] for key, value in listed.items()} == dict(zip(macs, (1, 1, 2), strict=True))
        assert lab.live_cube("door")["guests"] == 2
