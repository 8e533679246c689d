"""The loop, the words to systemd, and the sockets: each alone."""
from __future__ import annotations

import configparser
import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from reconciler.agent.log_format import _ForJournal, _ForPeople
from reconciler.agent.loop import Loop
from reconciler.agent.notify import Notifier
from reconciler.agent.retry import Retries
from reconciler.agent.server import Server, http, metrics_listener
from reconciler.agent.singleton import Singleton, socket_path
from reconciler.errors import LockBusy, UsageError

UNIT = Path(__file__).resolve().parents[2] / "packaging" / "systemd" / "pcn-agent.service"


def test_timers_run_in_order_and_a_later_one_of_the_same_name_replaces():
    loop, seen = Loop(), []
    loop.after("b", 0.02, lambda: seen.append("b"))
    loop.after("a", 0.01, lambda: seen.append("a"))
    loop.after("c", 0.0, lambda: seen.append("never"))
    loop.after("c", 0.03, lambda: (seen.append("c"), loop.stop()))
    loop.sooner("a", 5.0, lambda: seen.append("late"))
    loop.run()
    loop.close()
    assert seen == ["a", "b", "c"]


def test_a_callback_that_fails_is_logged_and_the_loop_goes_on(caplog):
    loop, seen = Loop(), []
    reading, writing = os.pipe()
    loop.readable(reading, lambda: (os.read(reading, 1), 1 / 0))
    loop.after("end", 0.05, lambda: (seen.append("end"), loop.stop()))
    os.write(writing, b"!")
    loop.run()
    loop.forget(reading)
    loop.forget(reading)
    loop.close()
    os.close(reading)
    os.close(writing)
    assert seen == ["end"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_of_readiness_and_of_each_new_status_once(monkeypatch, tmp_path, abstract):
    address = f"@pcn-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if abstract else address)
        listener.settimeout(1)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        notifier = Notifier()
        assert notifier.period == 10
        notifier.status("in sync")
        notifier.status("in sync")
        notifier.ready()
        notifier.alive()
        notifier.stopping()
        assert [listener.recv(100) for _ in range(4)] == [b"STATUS=in sync", b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_systemd_nothing_is_said(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready()
    assert notifier.period == 0
    assert not notifier.listened_to


def test_the_unit_waits_for_readiness_restarts_always_and_has_a_watchdog():
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["Restart"] == "always"
    assert int(unit["Service"]["WatchdogSec"]) > 0
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    private = {"ProtectSystem", "PrivateTmp", "ProtectHome", "PrivateMounts", "PrivateDevices", "ReadOnlyPaths"}
    assert not private & unit["Service"].keys()  # a mount namespace would hide the network namespaces that it makes


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/pcn-agent", "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert "pcn-agent" not in checked.stderr


def test_a_root_has_one_agent_and_a_dead_one_makes_way(monkeypatch, tmp_path):
    monkeypatch.setattr("reconciler.kernel.rundir.RUN", tmp_path)
    first = Singleton("/sys/fs/bpf/pcn")
    with pytest.raises(LockBusy, match=str(os.getpid())):
        Singleton("/sys/fs/bpf/pcn")
    other = Singleton("/sys/fs/bpf/pcn-2")
    first.release()
    Singleton("/sys/fs/bpf/pcn").release()
    other.release()
    assert list(tmp_path.iterdir()) == []
    assert socket_path("/a-b/c") != socket_path("/a/b-c")


def test_a_server_answers_many_while_one_says_nothing():
    loop = Loop()
    listener = metrics_listener("127.0.0.1:0")
    server = Server(loop, listener, lambda request: http(request, lambda: b"x" * 3_000_000, "text/plain"), b"\r\n\r\n")
    address = listener.getsockname()
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        silent = socket.create_connection(address)
        for _ in range(3):
            with socket.create_connection(address, timeout=5) as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\n")
                time.sleep(0.01)
                client.sendall(b"Host: x\r\n\r\n")
                with client.makefile("rb") as stream:
                    answer = stream.read()
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert answer.count(b"x") >= 3_000_000
        silent.close()
    finally:
        loop.after("end", 0, loop.stop)
        socket.create_connection(address).close()
        thread.join()
        server.close()
        loop.close()


@pytest.mark.parametrize(("request_", "status"), [(b"GET /metrics HTTP/1.0\r\n\r\n", b"200"), (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", b"200"),
                                                  (b"POST /metrics HTTP/1.0\r\n\r\n", b"405"), (b"GET /etc HTTP/1.0\r\n\r\n", b"404"),
                                                  (b"\r\n\r\n", b"405")])  # fmt: skip
def test_there_is_one_page(request_, status):
    assert http(request_, lambda: b"page", "text/plain").split()[1] == status


@pytest.mark.parametrize("where", ["0.0.0.0:1", "[::]:1", ":80", "127.0.0.1", "10.0.0.1:9477", "127.0.0.1:x"])
def test_metrics_are_for_this_host_only(where):
    with pytest.raises(UsageError, match="loopback"):
        metrics_listener(where)


def test_records_of_many_lines_stay_together():
    record = logging.LogRecord("pcn", logging.ERROR, "", 0, "one\n%s", ("two",), None)
    assert _ForJournal().format(record) == "<3>one\n<3>    two"
    assert _ForPeople("", "%H").format(record).endswith(" error: one\n    two")


def test_the_same_failure_is_tried_later_and_later_and_another_one_soon():
    retries = Retries()
    delays = [retries.failed("a", "no", 100.0, heal=False)[1] for _ in range(40)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays == sorted(delays)
    assert delays[-1] == 60
    assert retries.is_backing_off("a", 159.0)
    assert not retries.is_backing_off("b", 100.0)
    assert retries.failed("a", "something else", 100.0, heal=False) == (1, 0.1)
    assert max(retries.failed("c", "no", 100.0, heal=True)[1] for _ in range(40)) == 5
    retries.reset()
    assert not retries.is_backing_off("c", 100.0)
    retries.passed("a")
    retries.passed("c")
    assert retries.seconds_to_next(100.0) == 0
    assert retries.problem == ""


def test_a_server_answers_though_more_say_nothing_than_it_has_room_for():
    """Each of them could be an ordinary user; who asks is answered, and they make way, the oldest first."""
    loop = Loop()
    listener = metrics_listener("127.0.0.1:0")
    server = Server(loop, listener, lambda request: http(request, lambda: b"here\n", "text/plain"), b"\r\n\r\n")
    address = listener.getsockname()
    thread = threading.Thread(target=loop.run)
    thread.start()
    silent = [socket.create_connection(address) for _ in range(40)]
    try:
        for _ in range(3):
            began = time.monotonic()
            with socket.create_connection(address, timeout=5) as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                assert client.recv(4096).endswith(b"here\n")
            assert time.monotonic() - began < 3  # the silent ones have 5
        silent[0].settimeout(5)
        assert silent[0].recv(1) == b""
    finally:
        for each in silent:
            each.close()
        loop.stop()
        socket.create_connection(address).close()
        thread.join()
        server.close()
        loop.close()
