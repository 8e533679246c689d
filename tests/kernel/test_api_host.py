"""pcn --host URL: the same words and exit codes as on the host itself."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.api_process import ApiProcess, as_go_sends
from tests.lib.commands import BIN

BRIDGE = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: far}
spec:
  cubes:
    - {name: br1, service-name: simplebridge}
"""


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    with ApiProcess(own_root, tmp_path, listen=f"unix:{tmp_path}/api.sock") as process:
        yield process


@pytest.fixture
def near(api: ApiProcess):
    """Runs pcn as usual, and over the API; both must print and end alike."""

    def run(*words: str, stdin: str = "", twice: bool = True) -> subprocess.CompletedProcess[str]:
        far = _pcn(api, "--host", api.place, *words, stdin=stdin)
        if twice:
            here = _pcn(api, *words, stdin=stdin)
            assert (far.returncode, far.stdout, far.stderr) == (here.returncode, here.stdout, here.stderr)
        return far

    return run


def _pcn(api: ApiProcess, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PCN_BPFFS": api.root}
    command = [str(BIN / "pcn"), *words]
    return subprocess.run(command, input=stdin, env=environment, cwd=api.home, capture_output=True, text=True, timeout=100, check=False)


def test_verbs_say_and_do_the_same_from_afar(api, near, tmp_path):
    (tmp_path / "far.yaml").write_text(BRIDGE)
    assert near("plan", "far.yaml").returncode == 2
    assert near("apply", "far.yaml", twice=False).returncode == 0
    assert near("apply", "--check", "far.yaml").returncode == 0
    assert near("apply", "-", stdin=BRIDGE).returncode == 0
    assert "service-name: simplebridge" in near("show").stdout
    assert near("show", "-o", "json", "br1").returncode == 0
    assert near("drift").returncode == 0
    assert near("graph").returncode == 0
    assert near("graph", "far.yaml", "-o", "dot").returncode == 0
    assert near("plan", "--from", "far.yaml", "-", stdin=BRIDGE).returncode == 0
    assert near("delete", "far", twice=False).returncode == 0
    assert near("show").stderr == "nothing is applied\n"


def test_what_is_wrong_is_said_with_the_names_of_here(near, tmp_path):
    (tmp_path / "bad.yaml").write_text(BRIDGE.replace("simplebridge", "simplebrigde"))
    wrong = near("apply", "bad.yaml")
    assert wrong.returncode == 65
    assert "bad.yaml:6:" in wrong.stderr
    assert near("apply", "missing.yaml").returncode == 64
    assert near("delete", "nothing").returncode == 64
    assert near("apply").returncode == 64
    assert near("show", "--nonsense", twice=False).returncode == 64


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--host"], 64, "--host"),
        (["--host", "ftp://x", "show"], 64, "unix:PATH"),
        (["--host", "https://localhost:1", "show"], 64, "--cert"),
        (["--host", "unix:/nowhere", "show"], 1, "unix:/nowhere"),
        (["--host", "unix:/nowhere", "compile"], 64, "compile"),
        (["--host", "unix:/nowhere", "show", "--bpffs", "/sys/fs/bpf"], 64, "--bpffs is a directory of this host"),
        (["--host=unix:/nowhere", "apply", "/no/such/file"], 64, "/no/such/file"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_asked(api, words, code, said):
    found = _pcn(api, *words)
    assert (found.returncode, said in found.stderr) == (code, True), found.stderr


@pytest.mark.parametrize(
    "order",
    [
        {"verb": "compile"},
        {"verb": "show", "words": ["--bpffs=/tmp"]},
        {"verb": "show", "words": ["--services", "/tmp"]},
        {"verb": "apply", "words": ["x"], "files": {"x": ["text"]}},
        {"verb": "apply", "words": "x"},
        [],
    ],
)
def test_the_server_runs_nothing_else(api, order):
    reply = api.raw(as_go_sends("POST", "/pcn/v1/run", order, "localhost"))
    assert (reply.status, reply.error["error-tag"]) == (400, "invalid-value")


def test_no_file_of_the_server_is_read(api):
    order = {"verb": "apply", "words": ["/etc/passwd"]}
    with api.connect() as sock:
        sock.sendall(as_go_sends("POST", "/pcn/v1/run", order, "localhost"))
        text = ""
        while '{"exit": 64}' not in text:
            part = sock.recv(1 << 16).decode()
            assert part, text
            text += part
    assert "the text of /etc/passwd did not come" in text
    assert "root:" not in text


def test_an_apply_ends_by_itself_when_nobody_listens(api, near):
    order = {"verb": "apply", "words": ["-"], "files": {"-": [["<stdin>", BRIDGE]]}}
    with api.connect() as sock:
        sock.sendall(as_go_sends("POST", "/pcn/v1/run", order, "localhost"))
    deadline = time.monotonic() + 60
    while json.loads(_pcn(api, "show", "-o", "json").stdout or "[]") == []:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert near("apply", "--check", "-", stdin=BRIDGE).returncode == 0
    assert near("delete", "far", twice=False).returncode == 0
