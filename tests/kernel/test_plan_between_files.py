"""`pcn plan --from`: without a kernel it says what `pcn plan` says where the old file is applied. That one is its oracle."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.lib.commands import BIN, pcn

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "topologies").glob("*.yaml"))
EMPTY = "/dev/null"
OF_HOST = ("/table/local", "/table/own_addresses")  # rows made of the host's addresses


def planned(*arguments: str, code: int) -> list[tuple[str, str, str]]:
    """What would be done, as (address, action, disruption); what only this host knows is left out."""
    found = json.loads(pcn("plan", "-o", "json", *arguments, code=code).stdout)
    steps = sorted((step["address"], step["action"], step["disruption"]) for step in found["steps"])
    return [step for step in steps if not step[0].startswith("format/") and not step[0].endswith(OF_HOST)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_plans_what_a_kernel_that_holds_the_old_file_would_be_asked_to_do(example: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited.yaml"
    edited.write_text(example.read_text().replace("  cubes:", "  fuse: false\n  cubes:", 1))
    assert planned("--from", EMPTY, str(example), code=2) == planned(str(example), code=2)
    pcn("apply", str(example), code=0)
    try:
        assert planned("--from", str(example), str(example), code=0) == []
        assert planned("--from", str(example), str(edited), code=2) == planned(str(edited), code=2)
    finally:
        pcn("delete", str(example), code=0)


def test_it_needs_neither_root_nor_a_bpffs_and_is_comment_for_a_proposed_change(tmp_path: Path) -> None:
    example = next(path for path in EXAMPLES if path.stem == "simplebridge")
    old = tmp_path / "old.yaml"
    old.write_text(example.read_text())
    new = tmp_path / "new.yaml"
    new.write_text(example.read_text().replace("p1", "pA"))
    tmp_path.chmod(0o755)
    command = [str(BIN / "pcn"), "plan", "-o", "markdown", "--bpffs", str(tmp_path / "nothing"), "--from", str(old), str(new)]
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert result.returncode == 2, result.stderr
    first, *rest = result.stdout.splitlines()
    assert first.startswith("### pcn plan: ")
    assert "| `~` | `br1` |" in "\n".join(rest)
    assert "<details><summary>All changes</summary>" in rest
    assert not (tmp_path / "nothing").exists()


def test_files_that_do_not_go_together_are_refused_as_always(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec: {cube: []}\n")
    assert "bad.yaml:4:8" in pcn("plan", "--from", str(EXAMPLES[0]), str(bad), code=65).stderr
    pcn("plan", "--from", str(EXAMPLES[0]), code=64)
