"""The doctor tries what an apply would need, says what it met in sentences, and leaves the machine as it was."""
from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from reconciler.kernel import bpf, programs
from tests.lib import residue
from tests.lib.commands import BIN, pcn
from tests.lib.services import Tree, rx

WASTEFUL = "volatile char b[700];\n  for (int i = 0; i < 700; i++)\n    b[i] = i;\n  return b[7];"
LOADS_NOT = "u32 *data = (void *)(long)ctx->data;\n  return data[ctx->ifindex & 63] ? RX_DROP : RX_OK;"


def checks(*arguments: str, code: int) -> dict[str, dict[str, str]]:
    found = json.loads(pcn("doctor", "-o", "json", *arguments, code=code).stdout)["checks"]
    return {check["name"]: check for check in found}


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("PCN_CACHE", str(tmp_path / "cache"))
    tree = Tree(tmp_path / "services")
    tree.add("fine", [rx("return RX_DROP;")])
    tree.add("refused", [rx("return RX_DROP;"), rx(LOADS_NOT)])
    tree.add("broken", [rx("return nothing;")])
    return tree


def compiled(services: Tree, *more: str, code: int) -> str:
    """What is said when a cube of each is compiled."""
    cubes = "".join(f"    - {{name: {name}, service-name: {name}}}\n" for name in ("fine", "refused", "broken", *more))
    topology = f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: t}}\nspec:\n  cubes:\n{cubes}"
    return pcn("compile", "--services", str(services.directory), "-", stdin=topology, code=code).stderr


def test_a_source_that_does_not_compile_keeps_no_other_from_being_kept(services: Tree, tmp_path: Path) -> None:
    services.add("wasteful", [rx(WASTEFUL), rx("return RX_DROP;"), rx("return RX_OK;"), rx("return ctx->ifindex == 1 ? RX_OK : RX_DROP;")])
    for _ in range(2):  # the second time nothing but what failed is tried
        said = compiled(services, "wasteful", code=1)
        assert f"{services.directory}/broken_ingress_0.c:" in said
        assert f"{services.directory}/wasteful_ingress_0.c" in said, "LLVM gives up on that one, and ends with its process"
        assert f"what does compile is in {tmp_path / 'cache'}" in said
    assert len(list((tmp_path / "cache").glob("*.json"))) == 6


def test_the_doctor_says_how_much_is_compiled(services: Tree) -> None:
    def compiled_now() -> tuple[int, int]:
        words = checks("--services", str(services.directory), code=0)["compiler"]["found"].partition("; ")[2].split()
        return int(words[0]), int(words[2])

    none, every = compiled_now()
    compiled(services, code=1)
    assert (none, compiled_now()) == (0, (3, every))


def test_every_compiled_program_is_loaded_and_a_refusal_is_said_in_a_sentence(services: Tree) -> None:
    compiled(services, code=1)
    before = residue.snapshot()
    found = checks("--load", "--services", str(services.directory), code=69)
    residue.assert_no_residue(before)
    assert found["load fine"]["status"] == "limited", "its program for XDP is not compiled"
    result = pcn("doctor", "--load", "--services", str(services.directory), code=69).stdout.splitlines()
    assert any(line.startswith("ok       load fine                  1 program of bcc-") for line in result)
    assert any(line.startswith("ok       load refused               1 program of bcc-") for line in result)
    assert [line for line in result if line.startswith("missing")] == [line for line in result if "the verifier refused it: " in line]
    (at,) = [number for number, line in enumerate(result) if line.startswith("missing  load refused ")]
    assert "load program refused_ingress_1 (refused_ingress_1.c)" in result[at]
    assert "refused_ingress_1.c:" in result[at + 1]
    assert any("keeps from working: cubes of service refused" in line for line in result[at:])
    assert any(line.startswith("limited  load broken") and "broken_ingress_0.c (TC, ingress)" in line for line in result)


def test_loading_needs_root_and_says_so() -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(BIN / "pcn"), "doctor", "--load"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, "needs root to load programs" in result.stderr) == (77, True)


def test_what_the_verifier_walks_through_is_told() -> None:
    exit_with_0 = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    assert programs.verify(exit_with_0, bpf.SCHED_CLS, "two") == 2
