"""An apply on trial: kept if somebody says so in time, else taken back."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

from reconciler.engine import watchdog
from reconciler.kernel import netns
from tests.lib.commands import BIN, SCHEMA, Net, counts, live, pcn, wait_until, with_fault

# -- on trial ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def on_trial(net: Net, seconds: float, *more: str) -> Iterator[subprocess.Popen[str]]:
    """An apply on trial, once it is applied."""
    command = [str(BIN / "pcn"), "apply", "--try", str(seconds), str(net.file), *more]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "On trial" in process.stderr.readline()
        yield process


def test_a_trial_that_nobody_confirms_is_rolled_back(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    result = pcn("apply", "--try", "0.5", str(net.file), code=1)
    assert "Applied: 0 program loads, 1 map write" in result.stdout
    assert "not confirmed" in result.stderr
    assert live(net) == before
    pcn("drift", code=0)


def test_a_trial_of_a_new_topology_leaves_nothing(net: Net, own_root: str) -> None:
    found = document_of_trial(pcn("apply", "--try", "0.5", "-o", "json", str(net.file), code=1))
    assert counts(found) == (0, 0, 0)
    assert not os.path.exists(own_root)
    assert not set(net.hosts) & set(netns.names())


def document_of_trial(result: subprocess.CompletedProcess[str]) -> dict:
    found = json.loads(result.stdout)
    assert [error.message for error in SCHEMA.iter_errors(found)] == []
    return found


def test_a_trial_is_kept_if_it_is_confirmed_and_nobody_else_may_change_anything_meanwhile(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    with on_trial(net, 30) as process:
        for arguments in (
            ["apply", str(net.file)],
            ["delete", net.name],
            ["gc"],
            ["action", f"{net.prefix}-hw", "x"],
            ["apply", "--try", "9", str(net.file)],
        ):
            assert "on trial" in pcn(*arguments, code=75).stderr
        pcn("apply", "--confirm", code=0)
        assert process.wait(timeout=10) == 0
    assert "action" not in live(net)  # DROP is the default
    assert "no apply on trial" in pcn("apply", "--confirm", code=1).stderr


def test_a_trial_outlives_its_command_and_is_rolled_back_without_it(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    with on_trial(net, 2) as process:
        process.kill()
    assert live(net) != before
    wait_until(lambda: live(net) == before)
    wait_until(lambda: pcn("apply", "--confirm").returncode == 1)


def test_a_command_that_dies_before_it_is_done_is_rolled_back_at_once(net: Net, own_root: str) -> None:
    fault = """
import os, signal
import reconciler.live.execute as e
old = e.Executor.do
def do(self, operation):
    if operation.kind == "attach_hook": os.kill(os.getpid(), signal.SIGKILL)
    old(self, operation)
e.Executor.do = do
"""
    assert with_fault(fault, "apply", "--try", "300", str(net.file)).returncode == -signal.SIGKILL
    wait_until(lambda: not os.path.exists(own_root))
    assert not set(net.hosts) & set(netns.names())


def test_ctrl_c_ends_a_trial_at_once(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    with on_trial(net, 300) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 1
    assert live(net) == before


def test_what_the_command_says_at_one_go_is_heard_word_by_word() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"{}\napplied\nback\n")
        heard = bytearray()
        assert [watchdog._line(theirs, heard) for _ in range(2)] == ["{}", "applied"]
        assert watchdog._wait(theirs, heard, [], time.monotonic() + 60) == (False, None)


def test_a_trial_that_could_not_be_taken_back_without_loss_is_refused_before_anything_is_done(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.file.write_text(f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {net.name}}}\nspec: {{}}\n")
    result = pcn("apply", "--try", "9", str(net.file), code=1)
    assert f"cube/{net.prefix}-hw" in result.stderr
    assert f"namespace/{net.hosts[0]}" in result.stderr
    assert live(net) == before


def test_a_trial_with_nothing_to_do_is_over_at_once(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    assert "Nothing to do" in pcn("apply", "--try", "300", str(net.file), code=0).stdout


def test_enter_at_the_terminal_keeps_a_trial(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    ours, theirs = pty.openpty()
    command = [str(BIN / "pcn"), "apply", "--try", "60", str(net.file)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "press Enter" in process.stderr.readline()
        os.write(ours, b"\n")
        assert process.wait(timeout=20) == 0
    os.close(ours)
    os.close(theirs)
    assert "action" not in live(net)


def test_a_terminal_that_goes_away_does_not_stop_the_rollback(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    with on_trial(net, 1.5) as process:
        process.send_signal(signal.SIGHUP)
        process.wait(timeout=10)
    wait_until(lambda: live(net) == before)
    wait_until(lambda: pcn("apply", "--confirm").returncode == 1)
