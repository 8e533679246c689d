"""The residue check must be able to fail: each thing that a test can leave is left here, and found."""
from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.kernel import bpf, maps, netns, programs, rtnl
from tests import residue
from tests.world import World, ping, sweep

pytestmark = pytest.mark.kernel

EXIT = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)


@pytest.fixture
def before():
    return residue.snapshot()


def left(before: residue.Snapshot, *roots: str) -> dict[str, list[str]]:
    with pytest.raises(AssertionError, match="left behind"):
        residue.assert_no_residue(before, *roots, wait=0.1)
    return residue.new_since(before, *roots)


def test_nothing_done_is_nothing_left(before):
    residue.assert_no_residue(before, wait=0)


def test_a_world_leaves_nothing(before):
    with World() as world:
        h1, h2 = world.host("h1", "10.0.0.1/24"), world.host("h2", "10.0.0.2/24")
        assert h1.port != h2.port
        found = left(before)
        assert {h1.netns, h2.netns} <= set(found["namespaces"]) & set(found["mounts"])
        assert {h1.port, f"{h1.netns} eth0"} <= set(found["netdevs"])
    residue.assert_no_residue(before)


def test_a_netdev_that_is_left_is_named(before):
    with World() as world:
        world.wire(world.name("a"), world.name("b"))
        assert {world.name("a"), world.name("b")} <= set(left(before)["netdevs"])


def test_a_plain_file_where_a_namespace_was_to_be_is_found(before):
    with World() as world:
        world.namespace("a")  # so that /run/netns is there
        path = netns.RUN_DIR / world.name("b")
        path.touch()
        assert path.name not in netns.names()
        assert path.name in left(before)["namespaces"]
        path.unlink()
    residue.assert_no_residue(before)


def test_maps_programs_and_links_that_are_left_are_named_by_their_ids(before):
    with World() as world:
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


@pytest.mark.parametrize("name", ["pcn-residue", "strange"])
def test_pins_that_are_left_are_found_under_pcn_and_under_a_root_that_is_given(before, name):
    with World() as world:
        root = Path(residue.BPFFS, f"{name}-{world.prefix}")
        table = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1))
        identity = str(maps.info(table).identity)
        try:
            (root / "cubes").mkdir(parents=True)
            bpf.pin(table, str(root / "cubes" / "t"))
            os.close(table)
            found = left(before, str(root))
        finally:
            shutil.rmtree(root)
        assert {str(root), str(root / "cubes"), str(root / "cubes" / "t")} <= set(found["pins"])
        assert identity in found["maps"], "the pin holds the map"
    residue.assert_no_residue(before, str(root))


def test_a_process_that_is_left_is_named(before):
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert left(before)["children"] == [f"{process.pid} sleep 60"]
    finally:
        process.kill()
        process.wait()
    residue.assert_no_residue(before)


def test_what_another_run_makes_is_not_ours_and_goes_when_its_maker_is_dead(before):
    code = ("import sys, time\nfrom reconciler.kernel import maps\nfrom tests.world import World\nworld = World()\n"
            "host = world.host('h1', '10.0.0.1/24')\ntable = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1))\n"
            "print(host.netns, host.port, flush=True)\ntime.sleep(60)")  # fmt: skip
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    with other:
        space, port = other.stdout.readline().split()
        seen = {entry for entries in residue.new_since(before).values() for entry in entries}
        assert not [entry for entry in seen if space in entry or port in entry], "made by another run"
        assert [entry for entry in seen if entry.startswith(f"{other.pid} ")], "but it is our child"
        assert space not in sweep(), "its maker lives"
        other.kill()
    assert {space, port} <= set(residue.new_since(before)["netdevs"]) | set(residue.new_since(before)["namespaces"])
    assert set(sweep()) >= {space}
    residue.assert_no_residue(before)


def test_the_command_lists_what_there_is():
    with World() as world:
        space = world.namespace("a")
        shown = subprocess.run([sys.executable, "-m", "tests.residue"], capture_output=True, text=True, check=True).stdout
    assert f"  {space}\n" in shown
    assert "eth0\n" not in shown.replace(" eth0\n", "")
    assert not netns.exists(space)


def test_ping_counts_answers():
    with World() as world:
        h1 = world.host("h1", "10.0.0.1/24")
        assert ping(h1.netns, "10.0.0.1", 3) == 3
        assert ping(h1.netns, "10.0.0.7", 1, timeout=0.1) == 0
        assert ping(h1.netns, "192.0.2.1", 1, timeout=0.1) == 0
