"""Names where people type them: of topologies and of cubes, to show, stats, graph and delete; and readers that leave."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.lib.commands import BIN, Net, pcn


@pytest.fixture
def cube(net: Net) -> str:
    pcn("apply", str(net.file), code=0)
    return f"{net.prefix}-hw"


def test_show_takes_the_name_of_a_cube_and_prints_its_part(net: Net, cube: str) -> None:
    whole = yaml.safe_load(pcn("show", net.name, code=0).stdout)
    assert yaml.safe_load(pcn("show", cube, code=0).stdout) == {"cubes": whole["spec"]["cubes"]}
    assert json.loads(pcn("show", "-o", "json", cube, code=0).stdout) == [{"cubes": whole["spec"]["cubes"]}]
    assert "name either topologies or cubes" in pcn("show", cube, net.name, code=64).stderr
    assert f'did you mean "{cube}"?' in pcn("show", f"{cube}x", code=64).stderr


def test_stats_and_graph_take_the_name_of_a_topology(net: Net, cube: str) -> None:
    assert pcn("stats", net.name, code=0).stdout.startswith(f"{cube}  helloworld")
    assert pcn("stats", net.name, code=0).stdout.count("helloworld") == 1
    assert cube in pcn("graph", net.name, code=0).stdout
    assert pcn("graph", cube, code=0).stdout == pcn("graph", net.name, code=0).stdout
    assert f'did you mean "{net.name}"?' in pcn("graph", f"{net.name}x", code=64).stderr
    assert f'did you mean "{cube}"?' in pcn("stats", f"{cube}x", code=64).stderr


def test_delete_takes_the_name_of_a_topology(net: Net, cube: str) -> None:
    assert cube in pcn("show", cube, code=0).stdout
    pcn("delete", net.name, code=0)
    assert pcn("show", code=0).stdout == ""


def test_what_is_not_applied_is_said_not_to_be(net: Net, cube: str, tmp_path: Path) -> None:
    other = Path(shutil.copy(net.file, tmp_path / "other.yaml"))
    other.write_text(other.read_text().replace(net.name, "never-applied").replace(f"{net.prefix}-", f"{net.prefix}x"))
    assert pcn("apply", "--delete", str(other), code=0).stdout == f"Nothing to delete: it is not applied; what is: {net.name}.\n"
    assert cube in pcn("show", cube, code=0).stdout


def test_a_wrong_place_for_the_live_graph_is_said_to_be_one_and_nothing_is_to_be_mounted_over_it(net: Net, tmp_path: Path) -> None:
    for verb in (["show"], ["drift"], ["plan", str(net.file)], ["apply", str(net.file)]):
        said = pcn(*verb, "--bpffs", str(tmp_path / "pcn"), code=69).stderr
        assert "is not on a bpf filesystem; say one that is, such as --bpffs /sys/fs/bpf/pcn" in said
        assert "mount -t" not in said


@pytest.mark.parametrize("command", ["stats -w | head -n 2", "log -f | head -n 0", "log -f 2>&1 | head -n 1"])
def test_what_follows_ends_soon_after_its_reader(cube: str, command: str) -> None:
    assert cube
    began = time.monotonic()
    shell = f'"{BIN / "pcn"}" {command}'
    subprocess.run(["sh", "-c", shell], check=True, timeout=60, capture_output=True)
    # Its own end is waited for, too: nothing of it is left to be found by the fixture.
    assert time.monotonic() - began < 50
