"""The cubes' log as events: to those who asked for it and may, for as long as they listen, and each line once."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler import pins
from reconciler.agent.logs import RingLog
from reconciler.errors import LockBusy
from reconciler.kernel import linkwrite
from tests.lib.api_process import ApiProcess
from tests.lib.commands import pcn

BROADCAST = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(50)


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    with ApiProcess(own_root, tmp_path, "--others-read") as process:
        yield process
    pcn("delete", "rest")


@pytest.fixture
def talker(api: ApiProcess) -> Iterator[Callable[[], object]]:
    """A cube that says of each packet where it came in, and what sends one to it."""
    subprocess.run(["ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth1p"], check=True)
    for name in ("veth1", "veth1p"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    api.ok("POST", "/helloworld/hw/", {"loglevel": "TRACE", "ports": [{"name": "door", "peer": "veth1"}]})
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("veth1p", 0))
        yield lambda: sock.send(BROADCAST)
    subprocess.run(["ip", "link", "del", "veth1"], check=True)


@contextmanager
def listening(api: ApiProcess, place: str) -> Iterator[Callable[..., Any]]:
    """Gives a function that waits for an event of this name, whose data satisfies."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
    connection.request("GET", place, headers={"Host": "localhost"})
    answer = connection.getresponse()
    assert answer.status == 200

    def wait(event: str, satisfies: Callable[[Any], object] = bool) -> Any:
        name, deadline = "", time.monotonic() + 60
        while time.monotonic() < deadline:
            line = answer.fp.readline().decode().strip()
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: ") and name == event:
                data = json.loads(line.removeprefix("data: "))
                if satisfies(data):
                    return data
        raise AssertionError(f"no {event}")

    try:
        yield wait
    finally:
        connection.close()


def own_log(api: ApiProcess) -> RingLog:
    """The log, once nobody else reads it."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return RingLog(f"{api.root}/{pins.table('', 'pcn_log_ring')}", alone=True)
        except LockBusy:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_lines_come_to_who_asked_for_them_and_the_log_is_let_go_afterwards(api, talker):
    with listening(api, "/events?log") as wait:
        wait("graph")
        talker()
        text = "[INGRESS] Receiving packet from port door"  # the host may have said something by that port of its own accord before
        data = wait("log", lambda data: any(line["text"] == text for line in data.get("lines", ())))
        line = next(line for line in data["lines"] if line["text"] == text)
        assert (line["cube"], line["level"], line["port"]) == ("hw", "TRACE", "door")
    with own_log(api) as log:
        talker()
        assert log.wait(10), "whoever reads it next gets what comes next"


def test_a_log_that_another_reads_is_said_and_read_as_soon_as_it_can_be(api, talker):
    with own_log(api), listening(api, "/events?log") as wait:
        assert "another process" in wait("log", lambda data: "error" in data)["error"]
    with listening(api, "/events?log") as wait:
        talker()
        assert wait("log", lambda data: data.get("lines"))


def test_a_flood_of_lines_is_cut_and_the_rest_counted(api, talker):
    with listening(api, "/events?log") as wait:
        wait("graph")
        for _ in range(700):
            talker()
        found = wait("log", lambda data: data.get("left_out"))
        assert len(found["lines"]) == 200
    assert api.get("/hw/")["name"] == "hw"


def test_others_do_not_take_lines_away_and_who_did_not_ask_gets_none(api, talker):
    from tests.lib.nobody import done_by_nobody

    def ask() -> None:
        for place, status in (("/events?log", 403), ("/polycube/v1/events?log", 403), ("/polycube/v1/cubes/", 200)):
            reply = api.raw(f"GET {place} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert reply.status == status, place

    done_by_nobody(ask)
    with listening(api, "/events") as wait:
        wait("graph")
        talker()
        with own_log(api) as log:
            assert log.wait(10)


def test_a_plan_is_told_too(api):
    with listening(api, "/events") as wait:
        wait("graph")
        api.ok("POST", "/helloworld/hw/?plan", {})
        told = wait("plan")
        assert (told["method"], told["path"], told["status"]) == ("POST", "/helloworld/hw", 200)
        assert told["summary"]["program_loads"] > 0
