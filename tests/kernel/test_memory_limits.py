"""Tables that would not fit are refused before anything is written, and how much they take is known before they are there."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.graph.memory_estimate import table_bytes
from reconciler.kernel import maps, memory_limits
from tests.lib.lab import Lab

MIB = 1 << 20
BRIDGE = """
cubes:
  - {name: br, service-name: simplebridge, ports: [{name: p1, peer: v1}]}
"""
SPECS = [
    (1, 16, 40, 100_000, 0), (1, 24, 96, 50_000, 1), (2, 4, 40, 20_000, 0), (3, 4, 4, 4096, 0), (5, 8, 16, 20_000, 0), (5, 8, 16, 20_000, 1),
    (6, 4, 24, 20_000, 0), (9, 40, 16, 65_536, 0), (10, 8, 16, 10_000, 0), (27, 0, 0, 1 << 20, 0),
]  # fmt: skip


def memlock(fd: int) -> int:
    """What the kernel says that a table takes."""
    return next(int(line.split()[1]) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines() if line.startswith("memlock:"))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_an_empty_table_takes_what_was_said(spec):
    fd = maps.create(maps.MapSpec(*spec))
    try:
        assert table_bytes(spec, 0, maps.cpus()) == pytest.approx(memlock(fd), rel=0.05, abs=16_384)
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", [1, 5, 11])
def test_rows_that_are_allocated_as_they_come_count(kind):
    spec = (kind, 8, 16, 50_000, 1)
    fd = maps.create(maps.MapSpec(*spec))
    try:
        rows = {(32).to_bytes(4, "little") + number.to_bytes(4, "big"): bytes(16) for number in range(5_000)}
        wide = {key: value * maps.cpus() for key, value in rows.items()} if kind == 5 else rows
        maps.update_many(fd, maps.MapSpec(*spec), wide)
        said = memlock(fd)
    finally:
        os.close(fd)
    assert 0.95 * said <= table_bytes(spec, len(rows), maps.cpus()) <= 2.2 * said


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 60 MiB below our own, for both versions of the interface."""
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.split(":")[1] in ("memory", ""))
    _, controller, path = line.split(":", 2)
    mount = Path("/sys/fs/cgroup") / controller
    group = mount / path.lstrip("/") / f"pcn-test-{uuid.uuid4().hex[:8]}"
    if not group.parent.exists():  # a container may name a cgroup that it cannot see
        group = mount / group.name
    group.mkdir()
    limit = group / ("memory.limit_in_bytes" if controller else "memory.max")
    if not limit.exists():
        group.rmdir()
        pytest.skip("this machine gives tests no memory cgroup")
    limit.write_text(str(60 * MIB))
    yield group
    group.rmdir()


ASK = """
import sys
from pathlib import Path
(Path(sys.argv[1]) / "cgroup.procs").write_text("0")
from reconciler.kernel.memory_limits import available
if len(sys.argv) == 2:
    found = available()
    print(found.bytes, found.by)
    sys.exit(0)
from reconciler.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
TOPOLOGY = """
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: big}
spec:
  links: [{name: c1big0, kind: bridge}]
  cubes:
    - {name: one, service-name: firewall}
    - {name: two, service-name: firewall}
    - {name: three, service-name: firewall}
    - {name: four, service-name: firewall}
  attachments: [{netdev: c1big0, tcubes: [one, two, three, four]}]
"""


def inside(group: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", ASK, str(group), *words], capture_output=True, text=True, check=False)


def test_a_cgroup_sets_the_bound(small_cgroup):
    found = inside(small_cgroup)
    size, by = found.stdout.split(" ", 1)
    assert 10 * MIB < int(size) <= 60 * MIB, found.stderr
    assert by.strip().endswith(str(small_cgroup))
    assert memory_limits.available().bytes > 60 * MIB


def test_a_topology_that_does_not_fit_is_refused_before_anything_is_written(small_cgroup, tmp_path, own_root):
    from reconciler.cli.main import main
    from reconciler.kernel import netns, rtnl

    file = tmp_path / "big.yaml"
    file.write_text(TOPOLOGY)
    assert main(["compile", "-q", str(file)]) == 0  # which needs more memory than the cgroup has
    with netns.throwaway():
        for verb in ("plan", "apply"):
            found = inside(small_cgroup, verb, str(file))
            assert found.returncode == 1, found.stderr
            assert "tables would take" in found.stderr
            assert f"memory cgroup {small_cgroup} has" in found.stderr
            assert "nothing was changed" in found.stderr
            line = 1 + TOPOLOGY[: TOPOLOGY.index("service-name: firewall")].count("\n")
            assert re.search(rf"/table/connections, {re.escape(str(file))}:{line}:\d+$", found.stderr, re.MULTILINE)
        assert "c1big0" not in rtnl.links()
    assert not Path(own_root).exists()


def test_a_plan_says_how_much_large_tables_take():
    with Lab(BRIDGE) as lab:
        assert not any("memory" in note for note in lab.plan().plan.notes)
        lab.cube("br")["fdb"] = {"max-stations": 1_000_000}
        (said,) = (note for note in lab.plan().plan.notes if "memory" in note)
        found = re.fullmatch(r"the tables of br take ([0-9.]+) MiB more of the kernel's memory", said)
        assert found is not None
        assert 70 < float(found[1]) < 130
