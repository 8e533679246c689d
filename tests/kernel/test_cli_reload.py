"""pcn reload: another program in the place of one of a live cube's, until the next apply."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lib.commands import Net, document, pcn, ping

DROP = "static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) { return RX_DROP; }\n"


@pytest.fixture
def drop(tmp_path: Path) -> str:
    (tmp_path / "drop.c").write_text(DROP)
    return str(tmp_path / "drop.c")


def test_a_reloaded_program_runs_is_drift_and_the_next_apply_restores_the_service_s_own(net: Net, drop: str) -> None:
    cube, file = f"{net.prefix}-hw", str(net.file)
    pcn("apply", file, code=0)
    ping(net)
    done = document("reload", cube, "0", drop, code=0)
    assert [step["operation"] for step in done["steps"] if step["phase"] == "stage"]
    assert {step["result"] for step in done["steps"]} == {"done"}
    assert not answers(net)
    assert f"{cube}" in pcn("drift", code=3).stdout
    pcn("apply", file, code=0)
    ping(net)
    pcn("drift", code=0)


def answers(net: Net) -> bool:
    command = ["ip", "netns", "exec", net.hosts[0], "ping", "-c1", "-W1", "10.9.0.2"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_what_cannot_be_reloaded_is_said_and_nothing_is_changed(net: Net, drop: str, tmp_path: Path) -> None:
    cube = f"{net.prefix}-hw"
    pcn("apply", str(net.file), code=0)
    bad, binary = tmp_path / "bad.c", tmp_path / "binary.c"
    bad.write_text(DROP.replace("RX_DROP", "RX_NONSENSE"))
    binary.write_bytes(b"\xff\xfe")
    assert f"{bad}:1" in pcn("reload", cube, "0", str(bad), code=1).stderr
    for arguments, said in [
        ((cube, "0", str(tmp_path / "no.c")), "No such file"), ((cube, "0", str(tmp_path)), "directory"), ((cube, "0", str(binary)), "no UTF-8"),
        ((cube, "7", drop), "program 7"), ((cube, "-1", drop), "-1"), ((cube, "x", drop), "'x'"), (("nowhere", "0", drop), "'nowhere'"),
    ]:  # fmt: skip
        assert said in pcn("reload", *arguments, code=64).stderr, arguments
    ping(net)
    pcn("drift", code=0)
