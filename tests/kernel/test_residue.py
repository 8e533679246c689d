"""The residue check must be able to fail: each thing that a test can leave is left here, and found."""
from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.kernel import bpf, maps, netns, programs, rtnl
from tests.lib import residue
from tests.lib.netns_topology import NetnsTopology, ping
from tests.lib.object_ledger import ObjectLedger

pytestmark = pytest.mark.kernel

EXIT = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)


@pytest.fixture
def before():
    return residue.snapshot()


def left(before: residue.Snapshot) -> dict[str, list[str]]:
    with pytest.raises(AssertionError, match="left behind"):
        residue.assert_no_residue(before, wait=0.1, wait_for_others=0.1)
    return residue.new_since(before)


def test_nothing_done_is_nothing_left(before):
    residue.assert_no_residue(before, wait=0)


def test_a_world_leaves_nothing(before):
    with NetnsTopology() as world:
        h1, h2 = world.host("h1", "10.0.0.1/24"), world.host("h2", "10.0.0.2/24")
        assert h1.port != h2.port
        found = left(before)
        assert {h1.netns, h2.netns} <= set(found["namespaces"]) & set(found["mounts"])
        assert {h1.port, f"{h1.netns} eth0"} <= set(found["netdevs"])
    residue.assert_no_residue(before)


def test_a_netdev_that_is_left_is_named(before):
    with NetnsTopology() as world:
        world.wire(world.name("a"), world.name("b"))
        assert {world.name("a"), world.name("b")} <= set(left(before)["netdevs"])


def test_a_plain_file_where_a_namespace_was_to_be_is_found(before):
    with NetnsTopology() as world:
        world.namespace("a")  # so that /run/netns is there
        path = netns.RUN_DIR / world.name("b")
        path.touch()
        assert path.name not in netns.names()
        assert path.name in left(before)["namespaces"]
        path.unlink()
    residue.assert_no_residue(before)


def test_maps_programs_and_links_that_are_left_are_named_by_their_ids(before):
    with NetnsTopology() as world:
        world.wire(world.name("a"), world.name("b"))
        program = programs.load(EXIT, bpf.XDP, "left")
        table = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1))
        link = bpf.link_create(program, rtnl.links()[world.name("a")].index, bpf.ATTACH_XDP)
        found = left(before)
        assert str(programs.identity(program)) in found["programs"]
        assert str(maps.info(table).identity) in found["maps"]
        assert str(bpf.link_info(link).identity) in found["links"]
        for fd in (link, table, program):
            os.close(fd)
    residue.assert_no_residue(before)


def test_pins_that_are_left_are_found_whatever_their_name(before):
    with NetnsTopology() as world:
        root = Path(residue.BPFFS, f"strange-{world.prefix}")
        table = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1))
        identity = str(maps.info(table).identity)
        try:
            (root / "cubes").mkdir(parents=True)
            bpf.pin(table, str(root / "cubes" / "t"))
            os.close(table)
            found = left(before)
        finally:
            shutil.rmtree(root)
        assert {str(root), str(root / "cubes"), str(root / "cubes" / "t")} <= set(found["pins"])
        assert identity in found["maps"], "the pin holds the map"
    residue.assert_no_residue(before)


def test_a_process_that_is_left_is_named(before):
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert left(before)["children"] == [f"{process.pid} sleep 60"]
    finally:
        process.kill()
        process.wait()
    residue.assert_no_residue(before)


# What another run does: it secludes itself, makes a host, pins a map, attaches a program that nothing else holds, and waits.
OTHER = """
import struct, sys
from reconciler.kernel import bpf, maps, netns, programs, rtnl
from tests.lib.sandbox import enter_sandbox
from tests.lib.netns_topology import NetnsTopology
enter_sandbox()
host = NetnsTopology().host("h1", "10.0.0.1/24")
table, program = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1)), programs.load(bytes.fromhex(sys.argv[1]), bpf.XDP, "other")
link = bpf.link_create(program, rtnl.links()[host.port].index, bpf.ATTACH_XDP)
for number, fd in enumerate((table, program, link)):
    bpf.pin(fd, f"/sys/fs/bpf/pin{number}")
print(maps.info(table).identity, programs.identity(program), bpf.link_info(link).identity, host.netns, flush=True)
bpf.os.closerange(table, link + 1)
sys.stdin.read()
"""


def another_run() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OTHER, EXIT.hex()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_another_run_makes_is_neither_seen_nor_ours_and_goes_when_it_is_killed(before):
    with another_run() as other:
        *identities, space = other.stdout.readline().split()
        assert all(int(identity) in ids() for identity, ids in zip(identities, BPF_IDS, strict=True)), "ids are the whole machine's"
        found = residue.new_since(before)  # of the whole machine's there may be what tests beside this one are making
        assert {kind: found[kind] for kind in found if kind in residue.OWN} == {"children": [f"{other.pid} {' '.join(other.args)}".strip()]}
        assert not {*identities} & {*found.get("maps", ()), *found.get("programs", ()), *found.get("links", ())}
        assert not netns.exists(space)
        other.kill()
    residue.assert_no_residue(before)
    deadline = time.monotonic() + 5
    while any(int(identity) in ids() for identity, ids in zip(identities, BPF_IDS, strict=True)):
        assert time.monotonic() < deadline, "the kernel has not cleaned up after it"
        time.sleep(0.02)


def test_an_object_that_a_test_left_is_found_later_with_the_name_of_the_test(before):
    ledger = ObjectLedger()
    ledger.note(before, "a test that leaves nothing")
    table = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1))
    identity = maps.info(table).identity
    try:
        ledger.note(before, "the one that leaves a map")
        ledger.note(before, "the next one")
        ledger.check(older_than=60)
        with pytest.raises(AssertionError, match=f"left behind: .*maps {identity} by the one that leaves a map"):
            ObjectLedger(dict(ledger.noted)).check(older_than=0)
        with pytest.raises(AssertionError, match=f"maps {identity} by the one that leaves a map"):
            ObjectLedger(dict(ledger.noted)).settle(wait=0.1)
    finally:
        os.close(table)
    ledger.settle(wait=10)


def test_what_another_run_holds_is_not_called_left(before):
    with another_run() as other:
        *identities, _ = map(str, other.stdout.readline().split())
        ledger = ObjectLedger()
        ledger.note(before, "a test")
        assert {int(identity) for identity in identities} <= {identity for _, identity in ledger.noted}
        ledger.settle(wait=10)
        other.kill()


BPF_IDS = [lambda kind=kind: set(bpf.ids(kind)) for kind in (bpf.MAP_NEXT_ID, bpf.PROG_NEXT_ID, bpf.LINK_NEXT_ID)]


def test_a_run_of_tests_sees_no_netdev_but_its_own():
    assert list(rtnl.links()) == ["lo"]
    assert rtnl.links()["lo"].up


def test_the_command_lists_what_there_is():
    with NetnsTopology() as world:
        space = world.namespace("a")
        shown = subprocess.run([sys.executable, "-m", "tests.lib.residue"], capture_output=True, text=True, check=True).stdout
    assert f"  {space}\n" in shown
    assert not netns.exists(space)


def test_ping_counts_answers():
    with NetnsTopology() as world:
        h1 = world.host("h1", "10.0.0.1/24")
        assert ping(h1.netns, "10.0.0.1", 3) == 3
        assert ping(h1.netns, "10.0.0.7", 1, timeout=0.1) == 0
        assert ping(h1.netns, "192.0.2.1", 1, timeout=0.1) == 0
