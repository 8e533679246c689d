"""The RPC contract: what is asked arrives, what is wrong is said, and nobody waits for longer than agreed."""
from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from reconciler.rpc import exchange
from reconciler.rpc.client import Client, inherited
from reconciler.rpc.contract import Bounds, RpcError, decode, from_bytes, from_rows, to_bytes, to_rows
from reconciler.rpc.server import LATER, Connection


@contextmanager
def served(functions, *, bounds=Bounds(), connections=1):  # noqa: B008 - a constant
    """A server in a thread, and the near ends of its connections."""
    pairs = [socket.socketpair() for _ in range(connections)]

    def serve(far):
        connection = Connection(far, functions, bounds)
        far.setblocking(True)
        while not connection.closed:
            connection.writable() if connection.unsent else connection.readable()

    threads = [threading.Thread(target=serve, args=(far,)) for _, far in pairs]
    for thread in threads:
        thread.start()
    near = [end for end, _ in pairs]
    try:
        yield near
    finally:
        for end, _ in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def ask(near, *calls, bounds=Bounds()):  # noqa: B008
    """The answers, or errors, of calls that follow one another."""

    async def run():
        client, found = Client("s", inherited(near), bounds), []
        for name, argument in calls:
            try:
                found.append(await client.call(name, argument))
            except RpcError as error:
                found.append(error)
        client.close()
        return found

    return asyncio.run(run())


def test_calls_follow_one_another_on_one_connection_and_bytes_arrive_as_they_were():
    rows = {bytes([n]): bytes(range(n)) for n in range(200)}
    functions = {"POST /tables": lambda said: {"rows": from_rows(to_rows(said["rows"]))}, "POST /sources": lambda said: [said["config"]["filter"]]}
    with served(functions) as near:
        one, two = ask(near, ("tables", {"rows": from_rows(rows)}), ("sources", {"config": {"filter": "ip"}}))
    assert to_rows(one["rows"]) == rows
    assert two == ["ip"]
    assert to_bytes(from_bytes(b"\0\xff")) == b"\0\xff"


def test_what_is_wrong_is_said_and_the_next_call_is_none_the_worse():
    with served({"POST /config": lambda said: 1 / 0, "POST /tick": lambda said: "ticked"}) as near:
        absent, raised, fine = ask(near, ("fly", None), ("config", {}), ("tick", None))
    assert (absent.status, raised.status, fine) == (404, 500, "ticked")
    assert "ZeroDivisionError" in str(raised)


def test_a_body_of_ten_thousand_rules_arrives():
    rules = [{"id": n, "src": f"10.0.{n // 250}.{n % 250}/32", "action": "DROP"} for n in range(10_000)]
    with served({"POST /config": len}) as near:
        assert ask(near, ("config", rules)) == [10_000]


def test_bounds_hold_on_both_sides():
    deep = json.loads("[" * 70 + "]" * 70)
    with served({"POST /tick": lambda said: "x" * 5000}) as near:
        assert "nested" in str(ask(near, ("tick", deep))[0])
    with served({"POST /tick": lambda said: None}, bounds=Bounds(body=1000)) as near:
        assert "away" in str(ask(near, ("tick", "x" * 2000))[0])  # it hangs up on who sends too much
    with served({"POST /tick": lambda said: "x" * 5000}) as near:
        assert "more than 1000 bytes" in str(ask(near, ("tick", None), bounds=Bounds(body=1000))[0])
    for wrong in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(RpcError):
            decode(wrong)
    assert decode(json.dumps(json.loads("[" * 64 + "]" * 64)).encode())


def test_a_service_that_does_not_answer_costs_its_time_three_times_and_then_none(monkeypatch):
    monkeypatch.setattr(exchange, "PAUSE", 0.3)

    async def run():
        async def connect():
            near, far = socket.socketpair()
            ends.append(far)
            return await asyncio.open_unix_connection(sock=near)

        ends = []
        client = Client("s", connect, Bounds(seconds=0.05))
        for _ in range(3):
            with pytest.raises(RpcError, match=r"did not answer tick within 0\.05 s"):
                await client.call("tick")
        began = time.monotonic()
        with pytest.raises(RpcError, match="3 times in a row"):
            await client.call("tick")
        assert time.monotonic() - began < 0.04
        await asyncio.sleep(0.3)
        with pytest.raises(RpcError, match="did not answer"):
            await client.call("tick")
        for far in ends:
            far.close()

    asyncio.run(run())


def test_a_call_that_waits_is_answered_later_and_others_go_on_beside_it():
    waiting = threading.Event()

    def out(_):
        waiting.set()
        return LATER

    async def run(near):
        client = Client("s", inherited(near), Bounds(in_flight=2))
        late = asyncio.create_task(client.call("out", seconds=0.3))
        await asyncio.to_thread(waiting.wait, 5)
        assert await client.call("tick") == "ticked"
        with pytest.raises(RpcError):
            await late
        client.close()

    with served({"POST /out": out, "POST /tick": lambda _: "ticked"}, connections=2) as near:
        asyncio.run(run(near))


def test_who_speaks_no_http_or_another_version_is_refused():
    with served({}) as near:
        near[0].sendall(b"hello\r\n\r\n")
        assert near[0].recv(100) == b""
    with served({"GET /service": lambda _: {"contract": 2}}) as near:
        async def run():
            client = Client("s", inherited(near))
            try:
                await client.service()
            finally:
                client.close()

        with pytest.raises(RpcError, match="version 1"):
            asyncio.run(run())
