"""The examples for the commonest uses, as they are: on netdevs that somebody else made, with Linux's own stack behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lib.commands import pcn
from tests.lib.netns_topology import run_in
from tests.lib.packets import ping, tcp_exchange

HOW_TO = Path(__file__).resolve().parents[2] / "examples" / "how-to"
GUEST = "how-to-guest"


def ip(*words: str, netns: str | None = None) -> None:
    run_in(netns, ["ip", *words])


@pytest.fixture
def guest() -> Iterator[str]:
    """A network namespace of somebody's guest; its end of the wire is eth0."""
    ip("netns", "add", GUEST)
    ip("link", "set", "lo", "up", netns=GUEST)
    yield GUEST
    ip("netns", "del", GUEST)


def wire(netdev: str, guest: str, guests_address: str, own_address: str = "") -> None:
    """A veth whose near end is here, by the name that the example has for it."""
    ip("link", "add", netdev, "type", "veth", "peer", "name", "eth0", "netns", guest)
    ip("address", "add", guests_address, "dev", "eth0", netns=guest)
    ip("link", "set", "eth0", "up", netns=guest)
    if own_address:
        ip("address", "add", own_address, "dev", netdev)
    ip("link", "set", netdev, "up")


def connects(client: str | None, server: str | None, address: str, port: int) -> bool:
    exchange = tcp_exchange(client, server, address, port, timeout=0.7)
    return exchange is not None and exchange.reply is not None


@contextmanager
def applied(name: str) -> Iterator[None]:
    file = str(HOW_TO / f"{name}.yaml")
    pcn("apply", file, code=0)
    try:
        assert pcn("apply", "--check", file).returncode == 0
        yield
    finally:
        pcn("delete", file, code=0)


def test_a_container_is_reached_by_web_and_ping_and_begins_all_but_mail(guest: str) -> None:
    wire("vbox0", guest, "10.8.0.2/24", "10.8.0.1/24")
    with applied("protect-a-container"):
        assert connects(None, guest, "10.8.0.2", 80)
        assert not connects(None, guest, "10.8.0.2", 8080)
        assert ping(None, "10.8.0.2", 1) == 1
        assert connects(guest, None, "10.8.0.1", 8080)
        assert not connects(guest, None, "10.8.0.1", 25)
    assert connects(None, guest, "10.8.0.2", 8080)


def test_the_host_is_reached_by_ssh_and_ping_and_its_own_connections_are_answered(guest: str) -> None:
    wire("wan0", guest, "10.8.1.2/24", "10.8.1.1/24")
    with applied("protect-the-host"):
        assert connects(guest, None, "10.8.1.1", 22)
        assert not connects(guest, None, "10.8.1.1", 80)
        assert ping(guest, "10.8.1.1", 1) == 1
        assert connects(None, guest, "10.8.1.2", 80)


def test_a_guest_on_a_linux_bridge_is_protected_and_the_bridge_goes_on(guest: str) -> None:
    ip("link", "add", "virbr0", "type", "bridge")
    try:
        ip("address", "add", "10.8.2.1/24", "dev", "virbr0")
        ip("link", "set", "virbr0", "up")
        wire("tap0", guest, "10.8.2.2/24")
        ip("link", "set", "tap0", "master", "virbr0")
        with applied("before-a-linux-bridge"):
            assert connects(None, guest, "10.8.2.2", 443)
            assert not connects(None, guest, "10.8.2.2", 80)
            assert ping(None, "10.8.2.2", 1) == 1
            assert connects(guest, None, "10.8.2.1", 80)
        assert connects(None, guest, "10.8.2.2", 80)
    finally:
        ip("link", "del", "virbr0")


def test_linux_tools_run_inside_a_router_and_what_they_set_is_its_own() -> None:
    with applied("linux-tools"):
        assert ping("pcn-tools-r", "10.30.2.1") == 2
        assert ping("pcn-tools-r", "10.30.1.1") == 2
        assert ping("tools1", "10.30.1.254") == 2
        assert ping("tools1", "10.30.2.1", 3, interval=0.3) > 0
        ip("address", "add", "10.30.1.253/24", "dev", "a", netns="pcn-tools-r")
        assert pcn("drift").returncode == 0
        pcn("apply", str(HOW_TO / "linux-tools.yaml"), code=0)
        assert ping("tools1", "10.30.1.253") == 2
