"""Not all of root: what CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON suffice for, and what is said where one is missing."""
from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite
from tests.lib.commands import BIN, Net, pcn

THREE = ("bpf", "net_admin", "perfmon")
DOCUMENT = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {{name: {0}-t}}
spec:
  links: [{{name: {0}v, kind: veth, peer: {{name: {0}w}}}}]
  cubes:
    - {{name: {0}-b, service-name: simplebridge, ports: [{{name: p1, peer: {0}v}}, {{name: p2, peer: {0}w}}]}}
    - {{name: {0}-f, service-name: firewall}}
  attachments: [{{netdev: {0}a, tcubes: [{0}-f]}}]
"""


def limited(capabilities: tuple[str, ...], *arguments: str, code: int) -> subprocess.CompletedProcess[str]:
    only = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    command = ["setpriv", f"--bounding-set={only}", "--inh-caps=-all", str(BIN / "pcn"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == code, f"{arguments}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture
def document(net: Net, tmp_path: Path) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text(DOCUMENT.format(net.prefix))
    subprocess.run(["ip", "link", "add", f"{net.prefix}a", "type", "veth", "peer", "name", f"{net.prefix}c"], check=True)
    pcn("compile", str(path), code=0)
    return path


def test_three_capabilities_do_all_but_namespaces(document: Path, net: Net) -> None:
    limited(THREE, "apply", str(document), code=0)
    for verb in ("show", "drift", "graph", "stats", "gc"):
        limited(THREE, verb, code=0)
    limited(THREE, "apply", "--try", "0.2", str(document), code=0)
    said = limited(THREE, "apply", str(net.file), code=77).stderr
    assert "network namespaces take CAP_SYS_ADMIN" in said
    limited(THREE, "delete", str(document), code=0)
    linkwrite.delete_link(f"{net.prefix}a")


def test_to_read_takes_less(document: Path, net: Net) -> None:
    pcn("apply", str(document), code=0)
    shown = pcn("show", code=0).stdout
    assert limited(("bpf", "net_admin"), "show", code=0).stdout == shown
    pcn("delete", str(document), code=0)
    linkwrite.delete_link(f"{net.prefix}a")


@pytest.mark.parametrize("missing", ["bpf", "net_admin"])
def test_to_read_takes_these_two(missing: str) -> None:
    """Without one of them, what is there would not be seen whole."""
    rest = tuple(name for name in THREE if name != missing)
    assert f"this process lacks CAP_{missing.upper()}\n" in limited(rest, "show", code=77).stderr


@pytest.mark.parametrize("missing", THREE)
def test_what_is_missing_is_named(missing: str, net: Net) -> None:
    rest = tuple(name for name in THREE if name != missing)
    assert limited(rest, "apply", str(net.file), code=77).stderr.endswith(f"this process lacks CAP_{missing.upper()}\n")


def test_the_lock_of_a_process_with_more_capabilities_is_waited_for(document: Path, net: Net, own_root: str) -> None:
    """By the root alone, as older versions take it; whose descriptors these are, the limited one may not read."""
    os.mkdir(own_root, 0o700)
    fd = os.open(own_root, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert f"process {os.getpid()}" in limited(THREE, "apply", "--lock-timeout", "0.5", str(document), code=75).stderr
    os.close(fd)
    os.rmdir(own_root)
    linkwrite.delete_link(f"{net.prefix}a")
