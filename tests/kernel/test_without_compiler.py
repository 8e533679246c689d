"""What only reads or removes, on a machine that has lost its compiler and its cache."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from tests.lib.commands import Net, live, pcn, with_fault

BARE = """
import os, sys
os.environ["PCN_CACHE"], os.environ["PATH"] = {cache!r}, ""
sys.modules["bcc"] = sys.modules["reconciler.compiler.driver"] = None  # neither can be imported
from reconciler.compiler import toolchain
toolchain.library = lambda: None
"""
MORE = """\
    - name: {0}-fw
      service-name: firewall
      chain: [{{name: INGRESS, default: DROP, rule: [{{id: 1, action: ACCEPT, l4proto: UDP, dport: 53}}]}}]
"""


def bare(cache: Path, *arguments: str, code: int = 0) -> str:
    result = with_fault(BARE.format(cache=str(cache)), *arguments)
    assert result.returncode == code, f"{arguments}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    assert "cannot" not in result.stderr
    return result.stdout


@pytest.fixture(params=["absent", "a file", "another's", "empty"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "no-cache"
    if request.param == "a file":
        path.touch()
    elif request.param != "absent":
        path.mkdir()
    if request.param == "another's":
        os.chown(path, 65534, 65534)
    return path


def test_everything_is_shown_compared_and_removed(net: Net, cache: Path, own_root: str) -> None:
    pcn("apply", str(net.write(more=MORE.format(net.prefix))), code=0)
    shown, drawn = live(net), pcn("graph", code=0).stdout
    assert bare(cache, "show") == shown
    assert bare(cache, "graph") == drawn
    bare(cache, "drift")
    assert json.loads(bare(cache, "gc", "--plan", "-o", "json"))["steps"] == []
    with Bpffs(own_root).opened(f"cubes/{net.prefix}-hw/tables/action_map") as fd:
        maps.update(fd, bytes(4), b"\1\0\0\0")
    assert "action" in bare(cache, "drift", code=3)
    bare(cache, "gc")
    bare(cache, "delete", net.name)
    assert not Path(own_root).exists()


def test_one_topology_is_deleted_while_another_stays(net: Net, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {net.prefix}-o}}\nspec:\n"
                     f"  cubes: [{{name: {net.prefix}-b, service-name: simplebridge, ports: [{{name: p}}]}}]\n")  # fmt: skip
    pcn("apply", str(net.file), str(other), code=0)
    bare(tmp_path / "none", "delete", f"{net.prefix}-o")
    pcn("drift", code=0)
    assert f"{net.prefix}-o" not in live(net)


def test_what_is_kept_follows_what_is_applied(net: Net, own_root: str) -> None:
    pcn("apply", str(net.write(more=MORE.format(net.prefix))), code=0)
    kept = sorted(os.listdir(f"{own_root}/built"))
    assert [name.rpartition(":")[0] for name in kept] == ["firewall:TC", "helloworld:TC"]
    pcn("apply", str(net.write()), code=0)
    assert sorted(os.listdir(f"{own_root}/built")) == kept[1:]


def test_a_root_that_keeps_nothing_is_read_as_ever_and_keeps_it_after_the_next_apply(net: Net, own_root: str, tmp_path: Path) -> None:
    """That of an older version."""
    pcn("apply", str(net.file), code=0)
    shown, kept = live(net), os.listdir(f"{own_root}/built")
    for name in kept:
        os.unlink(f"{own_root}/built/{name}")
    assert live(net) == shown
    assert "Nothing to do" in pcn("apply", str(net.file), code=0).stdout
    assert os.listdir(f"{own_root}/built") == kept
