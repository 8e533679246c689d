"""Cookies for the host's own sockets: who connects by one, what passes, and that a reload changes nothing for anybody."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from reconciler.kernel import netns, offload
from tests.lib.lab import HOOKS, Lab

SCENARIO = """
hosts: {h1: {addresses: [10.0.0.1/24, "fd00::1/64"], here: {addresses: [10.0.0.2/24, "fd00::2/64"]}}}
cubes: [{name: sf, service-name: synflood}]
attachments: [{netdev: v1, tcubes: [sf]}]
"""
HERE = {4: "10.0.0.2", 6: "fd00::2"}
PORT = 8080


def settings(**values: int) -> None:
    for name, value in values.items():
        Path(f"/proc/sys/net/ipv4/{name}").write_text(str(value))


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(SCENARIO, hook=request.param) as found:
        found.apply()
        offload.put("eth0", "gro", True, found.space("h1"))  # what redirected frames need at a veth's far end
        offload.put("eth0", "tx-checksum", False, found.space("h1"))
        settings(tcp_syncookies=2)
        yield found


@contextlib.contextmanager
def server(family: int = 4, backlog: int = 128) -> Iterator[socket.socket]:
    """Sends back all that it gets until the client has ended."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    listening = socket.create_server(("", PORT), family=kind, backlog=backlog)

    def echo(connection: socket.socket) -> None:
        with connection:
            while got := connection.recv(65536):
                connection.sendall(got)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def client(lab: Lab, family: int = 4) -> socket.socket:
    with netns.inside(lab.space("h1")):
        connection = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
    connection.settimeout(5)
    try:
        connection.connect((HERE[family], PORT))
    except OSError:
        connection.close()
        raise
    return connection


def says(connection: socket.socket, what: bytes = b"x" * 100_000) -> bool:
    sent = threading.Thread(target=connection.sendall, args=(what,))
    sent.start()
    got = b""
    while len(got) < len(what):
        got += connection.recv(65536)
    sent.join()
    return got == what


def stats(lab: Lab) -> dict[str, int]:
    found: dict[str, int] = lab.live_cube("sf", state=True)["stats"]
    return found


def received_cookies() -> int:
    names, values = (line.split() for line in Path("/proc/net/netstat").read_text().splitlines()[:2])
    return int(values[names.index("SyncookiesRecv")])


@pytest.mark.parametrize("family", [4, 6])
def test_who_connects_gets_a_cookie_that_the_stack_takes_for_its_own(lab: Lab, family: int) -> None:
    with server(family), client(lab, family) as connection:
        assert says(connection)
        assert received_cookies() == 1
        found = stats(lab)
        assert (found["syns"], found["cookies"], found["carrying"]) == (1, 1, 0)
        assert float(found["deliverratio"]) > 0 or family == 6  # the host counts IPv6 elsewhere
        assert not lab.drift()
        assert lab.plan().plan.steps == ()


@pytest.mark.parametrize("cookies", [0, 1])
def test_a_stack_that_would_make_no_cookie_has_the_syn(lab: Lab, cookies: int) -> None:
    settings(tcp_syncookies=cookies)
    with server(), client(lab) as connection:
        assert says(connection)
        assert (stats(lab)["syns"], stats(lab)["cookies"]) == (1, 0)


def test_protection_can_be_off(lab: Lab) -> None:
    lab.cube("sf")["protection"] = "OFF"
    lab.apply()
    with server(), client(lab) as connection:
        assert says(connection)
        assert stats(lab)["syns"] == 0


def test_nobody_listens_and_the_stack_says_so(lab: Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        client(lab)
    assert (stats(lab)["syns"], stats(lab)["cookies"]) == (1, 0)


def test_a_full_queue_calls_for_cookies_and_who_was_connected_goes_on(lab: Lab) -> None:
    """The flood's sources are nobody, so its half-open connections stay."""
    settings(tcp_syncookies=1)
    with server(backlog=8), client(lab) as before:
        assert says(before)
        flood(lab, 200)
        assert stats(lab)["cookies"] > 100
        with client(lab) as during:
            assert says(during)
            assert says(before)
        assert received_cookies() == 1


def test_a_cookie_is_good_after_the_cube_was_replaced_and_after_it_is_gone(lab: Lab) -> None:
    with server(), client(lab) as before:
        for change in ("TRACE", None):
            answer = ask(lab, IP(src="10.0.0.1", dst=HERE[4]) / TCP(sport=4000 + bool(change), dport=PORT, flags="S", seq=7))
            assert answer is not None
            if change:
                lab.cube("sf")["loglevel"] = change
            else:
                lab.spec["attachments"] = []
            lab.apply()
            had = received_cookies()
            lab.send("h1", frame(lab, IP(src="10.0.0.1", dst=HERE[4])
                                 / TCP(sport=4000 + bool(change), dport=PORT, flags="A", seq=8, ack=answer[TCP].seq + 1)))  # fmt: skip
            deadline = time.monotonic() + 5
            while received_cookies() == had and time.monotonic() < deadline:
                time.sleep(0.01)
            assert received_cookies() == had + 1
        assert says(before)


def frame(lab: Lab, packet: Packet, *tags: int) -> bytes:
    whole: Packet = Ether(src="02:00:00:00:00:01", dst=mac_of(lab))
    for tag in tags:
        whole /= Dot1Q(vlan=tag)
    return bytes(whole / packet)


def mac_of(lab: Lab) -> str:
    words = subprocess.run(["ip", "-o", "link", "show", "v1"], capture_output=True, text=True, check=True).stdout.split()
    return words[words.index("link/ether") + 1]


def ask(lab: Lab, packet: Packet, *tags: int) -> Packet | None:
    """The first SYN-ACK that comes back for it."""

    def is_answer(raw: bytes) -> bool:
        found = Ether(raw)
        return TCP in found and found[TCP].flags == "SA" and found.dst == "02:00:00:00:00:01"

    with lab.sniff("h1") as sniffer:
        lab.send("h1", frame(lab, packet, *tags))
        found = sniffer.next(1.0, is_answer)
    return Ether(found) if found is not None else None


def flood(lab: Lab, count: int) -> None:
    lab.send("h1", *(frame(lab, IP(src=f"10.0.0.{100 + n % 100}", dst=HERE[4]) / TCP(sport=1024 + n, dport=PORT, flags="S", seq=n))
                     for n in range(count)))  # fmt: skip


OPTIONS = {
    "none": [], "mss": [("MSS", 1000)],
    "all": [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)],
    "full": [("MSS", 536), *[("NOP", None)] * 36],
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", [4, 6])
def test_the_answer_is_a_right_segment_whatever_the_syn_asks_for(lab: Lab, family: int, options: str) -> None:
    ip = IP(src="10.0.0.1", dst=HERE[4], ttl=3) if family == 4 else IPv6(src="fd00::1", dst=HERE[6], hlim=3)
    with server(family):
        found = ask(lab, ip / TCP(sport=4000, dport=PORT, flags="S", seq=2**32 - 1, window=1, options=OPTIONS[options]))
    assert found is not None
    tcp, layer = found[TCP], found[IP if family == 4 else IPv6]
    assert (tcp.sport, tcp.dport, tcp.ack, tcp.window) == (PORT, 4000, 0, 65535)
    assert (layer.ttl if family == 4 else layer.hlim) == 64
    assert (layer.src, layer.dst) == (HERE[family], "10.0.0.1" if family == 4 else "fd00::1")
    rebuilt = found.copy()
    del rebuilt[TCP].chksum
    if family == 4:
        del rebuilt[IP].chksum
    assert bytes(Ether(bytes(rebuilt))) == bytes(found)
    assert {name for name, _ in tcp.options if name not in ("NOP", "EOL")} == ({"MSS"} if options != "none" else set())


def test_what_a_cookie_cannot_answer(lab: Lab) -> None:
    """A SYN with data is dropped, for the client sends it again without; of other VLANs, hosts and kinds nothing is answered."""
    syn = TCP(sport=4000, dport=PORT, flags="S", seq=7)
    with server():
        assert ask(lab, IP(src="10.0.0.1", dst=HERE[4]) / syn / Raw(b"data")) is None
        assert stats(lab)["carrying"] == 1
        for packet, tags in ((IP(src="10.0.0.1", dst=HERE[4]) / syn, (5,)), (IP(src="10.0.0.1", dst="10.0.0.77") / syn, ()),
                             (IP(src="10.0.0.1", dst=HERE[4], flags="MF") / syn, ()),
                             (IP(src="10.0.0.1", dst="10.255.255.255") / syn, ())):  # fmt: skip
            ask(lab, packet, *tags)
        assert stats(lab)["cookies"] == 0
