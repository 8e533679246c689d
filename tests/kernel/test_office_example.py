"""The office of the examples, as it is: each path that its drawing shows is walked, and each that it bars is barred."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from reconciler.document.load import load
from tests.faults.bench import Bench
from tests.lib.packets import Exchange, ping, tcp_exchange

OFFICE = Path(__file__).resolve().parents[2] / "examples" / "how-to" / "an-office.yaml"
SERVICE, OUTSIDE, WORLD = "10.20.30.80", "203.0.113.80", "198.51.100.9"
SERVERS = {"oweb1": "10.20.31.1", "oweb2": "10.20.32.1"}
OPEN = [
    ("ostaff1", "10.20.10.2"), ("ostaff2", "10.20.10.1"),  # by the trunk
    ("ostaff1", "10.20.10.254"), ("oweb2", "10.20.32.254"),  # the routers
    ("ostaff2", SERVERS["oweb1"]), ("ostaff1", SERVERS["oweb2"]), ("oweb1", SERVERS["oweb2"]),  # two routers
    ("ostaff1", WORLD), ("oguest", WORLD), ("oweb1", WORLD),  # the outside, by nat
    ("ostaff1", SERVICE),
]  # fmt: skip
BARRED = [("oguest", "10.20.10.1"), ("oguest", SERVERS["oweb1"]), ("oguest", SERVICE), ("ostaff1", "10.20.20.1"), ("oworld", OUTSIDE)]
CLIENTS = [("ostaff1", SERVICE), ("ostaff2", SERVICE), ("oguest", SERVICE), ("oworld", OUTSIDE)]
T = TypeVar("T")
_PATIENCE = 6.0
"""Seconds: the first packet to a neighbour that a router does not know yet may be lost."""


@pytest.fixture
def office(own_root: str) -> Iterator[Bench]:
    bench, (document,) = Bench(own_root), load([str(OFFICE)])
    try:
        bench.apply(document.data)
        yield bench
    finally:
        bench.delete(document.data)


def in_time(answer: Callable[[], T]) -> T:
    """The first answer that is one, or the last."""
    deadline = time.monotonic() + _PATIENCE
    while not (given := answer()) and time.monotonic() < deadline:
        pass
    return given


def served(client: str, address: str, server: str) -> Exchange | None:
    """A connection to the web service, if this server is who gets it: half of all."""
    return tcp_exchange(client, server, address, 80, server_port=8080, timeout=0.3)


def test_pings_go_where_the_drawing_says_and_nowhere_else(office: Bench) -> None:
    reached = [path for path in OPEN if in_time(lambda path=path: ping(*path, 1, timeout=0.5)) and ping(*path, 2) == 2]  # type: ignore[misc]
    assert reached == OPEN
    assert [path for path in BARRED if ping(*path, 2, timeout=0.3)] == []


def test_the_web_service_is_met_from_everywhere_on_both_servers(office: Bench) -> None:
    for client, address in CLIENTS:
        for server in SERVERS:
            exchange = in_time(lambda: served(client, address, server))  # noqa: B023
            assert exchange, f"{client} does not meet {server}"
            assert exchange.reply == b"question"
            assert exchange.source[0] == {"oguest": "10.20.20.1", "oworld": WORLD, "ostaff1": "10.20.10.1", "ostaff2": "10.20.10.2"}[client]


def test_the_outside_sees_one_address_and_guests_meet_no_other_port(office: Bench) -> None:
    for client in ("ostaff2", "oguest", "oweb1"):
        exchange = in_time(lambda: tcp_exchange(client, "oworld", WORLD, 7000, timeout=0.5))  # noqa: B023
        assert exchange, client
        assert exchange.source[0] == "198.51.100.1"
    direct = ("oweb1", SERVERS["oweb1"], 8080)
    assert in_time(lambda: tcp_exchange("ostaff1", *direct, timeout=0.5))
    assert tcp_exchange("oguest", *direct, timeout=0.5) is None
