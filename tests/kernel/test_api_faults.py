"""Bad and slow clients, and streams of events: the API answers others meanwhile, and ends when it is told to."""

from __future__ import annotations

import asyncio
import collections
import http.client
import json
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.app import MOST_BYTES
from reconciler.api.listeners import BACKLOG
from reconciler.api.server import MOST_CONNECTIONS
from reconciler.kernel import linkwrite
from tests.lib.api_process import ApiProcess, as_go_sends, read_reply
from tests.lib.commands import pcn

MOST_AT_ONCE = 10_000


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")


def alive(api: ApiProcess) -> None:
    began = time.monotonic()
    assert api.get("/cubes/") is not None
    assert time.monotonic() - began < 10


def test_a_body_over_the_limit_is_refused_by_its_length_and_by_what_comes(api):
    head = b"POST /polycube/v1/cubes/ HTTP/1.1\r\nHost: localhost\r\n"
    reply = api.raw(head + b"Content-Length: %d\r\n\r\n" % (MOST_BYTES + 1))
    assert (reply.status, reply.error["error-tag"]) == (413, "too-big")
    with api.connect() as sock:
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            for _ in range(MOST_BYTES // 0x10000 + 8):
                sock.sendall(part)
        except OSError:
            return  # it had enough
        assert read_reply(sock).status == 413
    alive(api)


def test_ten_thousand_rules_fit_into_a_body(api):
    rules = [{"id": number, "src": f"10.{number >> 8}.{number & 255}.1", "action": "DROP", "description": "x" * 60} for number in range(10_000)]
    api.ok("POST", "/firewall/fw/", {"chain": [{"name": "INGRESS", "rule": rules}]})
    assert len(api.get("/fw/chain/INGRESS/rule/")) == 10_000


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 70_000, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_let_go(api, data):
    with api.connect() as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            said = sock.recv(1 << 16)
        except ConnectionError:
            said = b""
    assert not said or said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 4"))
    alive(api)


def test_many_silent_connections_keep_nobody_out_and_do_not_stay(api):
    silent = [api.connect() for _ in range(3000)]
    try:
        alive(api)
        time.sleep(11)
        alive(api)
        closed = 0
        for sock in silent[:100]:
            sock.settimeout(1)
            try:
                closed += sock.recv(1) == b""
            except ConnectionError:
                closed += 1
        assert closed == 100
    finally:
        for sock in silent:
            sock.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for 10,000 sockets in this process, or the test is skipped."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < MOST_AT_ONCE + 500:
        pytest.skip(f"a process may have {before[1]} files open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_ten_thousand_connections_at_once_are_answered_or_let_go(api, many_files):
    """All of them are open, and none has asked anything, before the first one does. One that came in an orderly way before and after
    them is answered; memory stays where it was. The server keeps the latest ones, and so many files are open."""
    alive(api)
    before = resident(api)
    request = as_go_sends("GET", "/polycube/v1/version/", None, "localhost")

    async def one(all_are_open: asyncio.Barrier) -> str:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        except OSError:
            await all_are_open.wait()
            return "refused"
        await all_are_open.wait()
        try:
            writer.write(request)
            head = await reader.readline()
            return head.decode().split()[1] if head else "closed"
        except OSError:
            return "closed"
        finally:
            writer.transport.abort()

    async def all_of_them() -> list[str]:
        barrier = asyncio.Barrier(MOST_AT_ONCE)
        return await asyncio.gather(*[one(barrier) for _ in range(MOST_AT_ONCE)])

    found = collections.Counter(asyncio.run(all_of_them()))
    assert found.keys() <= {"200", "closed", "refused"}, found
    assert 0 < found["200"] <= MOST_CONNECTIONS + BACKLOG, found
    alive(api)
    assert resident(api) - before < 200 * 1024, "KiB"
    assert "Traceback" not in api.text()


def resident(api: ApiProcess) -> int:
    """KiB."""
    return int(Path(f"/proc/{api.process.pid}/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def test_a_client_that_sends_its_body_slowly_holds_nobody_up(api):
    with api.connect() as sock:
        sock.sendall(b"POST /polycube/v1/helloworld/hw/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        alive(api)
        sock.sendall(b"}")
        assert read_reply(sock).status == 201


def events(connection: http.client.HTTPConnection, wanted: set[str], seconds: float) -> dict[str, dict]:
    """The last of each of the wanted events, as soon as all have come."""
    connection.request("GET", "/events", headers={"Host": "localhost"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    found: dict[str, dict] = {}
    deadline, name = time.monotonic() + seconds, ""
    while not wanted <= found.keys():
        assert time.monotonic() < deadline, found
        line = answer.fp.readline().decode().strip()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found[name] = json.loads(line.removeprefix("data: "))
    return found


def test_events_tell_of_writes_applies_failures_and_other_writers(api, tmp_path):
    import threading

    def write() -> None:
        time.sleep(0.5)
        api("POST", "/helloworld/hw/", "{}")
        api("POST", "/helloworld/hw/ports/p1/", '{"peer":"hw:hw"}')
        time.sleep(3)
        pcn("delete", "rest")

    writer = threading.Thread(target=write)
    writer.start()
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    try:
        found = events(connection, {"write", "apply", "failed", "topology", "agent", "counters"}, 30)
    finally:
        connection.close()
        writer.join()
    assert found["apply"]["topology"] == "rest"
    assert found["write"]["who"].startswith("root")
    assert found["agent"]["at"] == {"running": False}


def test_it_ends_when_it_is_told_to_though_somebody_listens_and_somebody_waits(api):
    with api.connect() as listening, api.connect() as idle:
        listening.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in listening.recv(4096)
        idle.sendall(b"GET /polycube/v1/cubes/ HT")
        began = time.monotonic()
        api.process.terminate()
        assert api.process.wait(60) == 0
        assert time.monotonic() - began < 30
    assert "Traceback" not in api.text()
    api.start()


def test_requests_of_one_connection_are_answered_in_their_order(api):
    with api.connect() as sock:
        one = as_go_sends("POST", "/polycube/v1/helloworld/hw/", "{}", "localhost")
        sock.sendall(one + one)
        assert read_reply(sock).status == 201
        assert read_reply(sock).status == 409
