"""Services that need a newer kernel than this: said at the cube's line before anything is done, and by the doctor."""
from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from tests.lib import residue
from tests.lib.commands import pcn
from tests.lib.services import Tree, rx

TOPOLOGY = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: late}
spec:
  cubes:
    - name: c1
      service-name: oldish
    - name: c2
      service-name: tomorrow
"""


@pytest.fixture
def services(tmp_path: Path) -> str:
    tree = Tree(tmp_path / "services")
    for name, least in (("oldish", "6.1"), ("tomorrow", "99.1")):
        tree.add(name, [rx("return RX_DROP;")])
        schema = tree.directory / f"{name}.schema.json"
        content = json.loads(schema.read_text())
        content["x-pcn-service"]["min-kernel"] = least
        schema.write_text(json.dumps(content))
    (tree.directory / "tomorrow_ingress_0.c").write_text("this does not compile, and nobody tries\n")
    return str(tree.directory)


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_cube_that_this_kernel_is_too_old_for_is_refused_at_its_line(services: str, tmp_path: Path, verb: str) -> None:
    file, before = tmp_path / "late.yaml", residue.snapshot()
    file.write_text(TOPOLOGY)
    result = pcn(verb, "--services", services, str(file), code=69)
    assert result.stderr == f"error: {file}:8:7: tomorrow needs Linux 99.1, this is {platform.release()}\n"
    residue.assert_no_residue(before)


def test_what_needs_no_kernel_asks_for_none(services: str, tmp_path: Path) -> None:
    file = tmp_path / "late.yaml"
    file.write_text(TOPOLOGY)
    pcn("validate", "--services", services, str(file), code=0)


def test_the_doctor_says_which_cubes_this_kernel_cannot_run_and_why(services: str) -> None:
    result = pcn("doctor", "--services", services, "-o", "json", code=0)
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["service tomorrow"] == {
        "name": "service tomorrow", "status": "limited", "found": f"tomorrow needs Linux 99.1, this is {platform.release()}",
        "blocks": "cubes of service tomorrow", "mend": "a newer kernel"}
    assert "service oldish" not in checks
