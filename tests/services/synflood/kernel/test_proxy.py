"""The SYN proxy: servers behind this host, whose clients meet a cookie first, and then speak as if nothing were between them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from reconciler.kernel import netns, offload, rtnl
from tests.lib.lab import HOOKS, Lab
from tests.lib.netns_topology import run_in

SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24, "fd01::1/64"], routes: [{to: default, via: 10.0.1.254}, {to: "::/0", via: "fd01::fe"}],
       here: {addresses: [10.0.1.254/24, "fd01::fe/64"]}}
  h2: {addresses: [10.0.2.1/24, "fd02::1/64"], routes: [{to: default, via: 10.0.2.254}, {to: "::/0", via: "fd02::fe"}],
       here: {addresses: [10.0.2.254/24, "fd02::fe/64"]}}
cubes: [{name: sf, service-name: synflood, proxy: [{prefix: 10.0.2.0/24}, {prefix: "fd02::/64"}]}]
attachments: [{netdev: v1, tcubes: [sf]}]
"""
SERVER = {4: "10.0.2.1", 6: "fd02::1"}
CLIENT = {4: "10.0.1.1", 6: "fd01::1"}
PORT = 8080
# What ends do of sysctl net.ipv4.tcp_…: a cookie has room for the rest in a timestamp.
HABITS: dict[str, dict[str, int]] = {
    "all": {"timestamps": 1, "sack": 1, "window_scaling": 1}, "no stamps": {"timestamps": 0}, "no blocks": {"sack": 0}, "no scaling": {"window_scaling": 0},
}  # fmt: skip


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(SCENARIO, hook=request.param) as found:
        found.apply()
        for host in ("h1", "h2"):
            offload.put("eth0", "gro", True, found.space(host))  # what redirected frames need at a veth's far end
            offload.put("eth0", "tx-checksum", False, found.space(host))
        run_in(None, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.tcp_syncookies=0"])
        put(found, "h2", syncookies=0)
        for address in SERVER.values():
            assert any(found.ok("h1", address, 1) for _ in range(10))
        yield found


def put(lab: Lab, host: str, **values: int) -> None:
    with netns.inside(lab.space(host)):
        for name, value in values.items():
            Path(f"/proc/sys/net/ipv4/tcp_{name}").write_text(str(value))


@contextlib.contextmanager
def server(lab: Lab, family: int = 4, *, first: bytes = b"", backlog: int = 64) -> Iterator[socket.socket]:
    """Says `first`, then sends back all that it gets until the client has ended."""
    with netns.inside(lab.space("h2")):
        listening = socket.create_server(("", PORT), family=socket.AF_INET6 if family == 6 else socket.AF_INET, backlog=backlog)

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(first)
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


def client(lab: Lab, family: int = 4, port: int = 0) -> socket.socket:
    with netns.inside(lab.space("h1")):
        connection = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
    connection.settimeout(5)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        connection.bind(("", port))
        connection.connect((SERVER[family], PORT))
    except OSError:
        connection.close()
        raise
    return connection


def says(connection: socket.socket, size: int = 3_000_000) -> bool:
    what = os.urandom(size)
    sent = threading.Thread(target=connection.sendall, args=(what,))
    sent.start()
    got = bytearray()
    while len(got) < size:
        more = connection.recv(1 << 16)
        if not more:
            break
        got += more
    sent.join()
    return bytes(got) == what


def stats(lab: Lab) -> dict[str, int]:
    found: dict[str, int] = lab.live_cube("sf", state=True)["stats"]
    return found


def test_a_client_speaks_with_a_server_that_takes_no_cookies(lab: Lab) -> None:
    kinds = [(6, "all", "all"), *((4, each, each) for each in HABITS), *((4, "all", each) for each in HABITS if each != "all")]
    for number, (family, client_habit, server_habit) in enumerate(kinds, 1):
        put(lab, "h1", **HABITS["all"] | HABITS[client_habit])
        put(lab, "h2", **HABITS["all"] | HABITS[server_habit])
        with server(lab, family), client(lab, family) as connection:
            began = time.monotonic()
            assert says(connection), (client_habit, server_habit)
            assert time.monotonic() - began < 10, "it has waited for timers"
        found = stats(lab)
        assert (found["cookies"], found["proxied"]) == (number, number)
    assert not lab.drift()
    assert lab.plan().plan.steps == ()


def test_a_server_may_speak_first(lab: Lab) -> None:
    with server(lab, first=b"220 ready"):
        began = time.monotonic()
        with client(lab) as connection:
            assert connection.recv(64) == b"220 ready"
            assert time.monotonic() - began < 0.9, "not when the server has sent its SYN-ACK a second time"
            assert says(connection, 1000)


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_lost_is_sent_again_and_blocks_say_what(lab: Lab, family: int) -> None:
    rules = "type filter hook forward priority 0; numgen random mod 50 == 0 drop"
    run_in(None, ["nft", f"table {'ip' if family == 4 else 'ip6'} lossy {{ chain forward {{ {rules}; }}; }}"])
    with server(lab, family):
        connection = None
        for _ in range(5):
            with contextlib.suppress(OSError):
                connection = client(lab, family)
                break
        assert connection is not None
        with connection:
            assert says(connection, 2_000_000)
    for host in ("h1", "h2"):
        assert counted(lab, host, "TcpExt", "TCPSackRecovery") > 0


def counted(lab: Lab, host: str, kind: str, name: str) -> int:
    with netns.inside(lab.space(host)):
        text = Path("/proc/thread-self/net/netstat").read_text()
    names, values = (line.split() for line in text.splitlines() if line.startswith(kind))
    return int(values[names.index(name)])


def test_nobody_listens_and_the_client_is_told(lab: Lab) -> None:
    with pytest.raises(ConnectionResetError), client(lab) as connection:
        connection.recv(1)
    assert stats(lab)["proxied"] == 0


def test_a_port_that_is_used_again_is_another_connection(lab: Lab) -> None:
    with server(lab):
        for _ in range(3):
            with client(lab, port=4321) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # ends with a reset
                assert says(connection, 10_000)
    assert stats(lab)["proxied"] == 3


def test_a_server_that_misses_the_first_syn_is_asked_again(lab: Lab) -> None:
    """By the client, which asks for a window as soon as it has something to say."""
    rules = "tcp flags syn limit rate over 1/hour burst 1 packets accept; tcp flags syn drop"
    run_in(lab.space("h2"), ["nft", f"table ip once {{ chain input {{ type filter hook input priority 0; {rules}; }}; }}"])
    with server(lab), client(lab) as connection:
        assert says(connection, 10_000)
    assert counted(lab, "h1", "TcpExt", "TCPWinProbe") > 0


def test_connections_go_on_when_the_cube_comes_and_when_it_is_loaded_anew(lab: Lab) -> None:
    attached = lab.spec["attachments"]
    lab.spec["attachments"] = []
    lab.apply()
    with server(lab), client(lab) as before:
        assert says(before, 10_000)
        lab.spec["attachments"] = attached
        lab.apply()
        assert says(before, 10_000)
        with client(lab) as through:
            assert says(through, 10_000)
            lab.cube("sf")["loglevel"] = "TRACE"
            lab.apply()
            assert says(through, 10_000)
            assert says(before, 10_000)
        assert stats(lab)["proxied"] == 1


def test_a_server_s_own_connections_and_this_host_s_are_no_business_of_it(lab: Lab) -> None:
    with netns.inside(lab.space("h1")):
        far = socket.create_server(("", PORT))
    with far, netns.inside(lab.space("h2")), socket.create_connection((CLIENT[4], PORT), 5) as connection:
        accepted = far.accept()[0]
        with accepted:
            connection.sendall(b"question")
            assert accepted.recv(64) == b"question"
            accepted.sendall(b"answer")
            assert connection.recv(64) == b"answer"
    with socket.create_server(("", PORT)) as own, netns.inside(lab.space("h1")), socket.create_connection(("10.0.2.254", PORT), 5):
        own.accept()[0].close()
    assert stats(lab)["cookies"] == 0


# ---- By hand. ----


def frame(lab: Lab, packet: Packet) -> bytes:
    return bytes(Ether(src=lab.mac("h1"), dst=rtnl.links()["v1"].mac) / packet)


def ask(lab: Lab, packet: Packet, where: str = "h1") -> Packet | None:
    """The TCP segment that comes back for it; at h2, what it becomes there."""

    def is_one(raw: bytes) -> bool:
        found = Ether(raw)
        return TCP in found and (found[TCP].dport if where == "h1" else found[TCP].sport) == packet[TCP].sport

    with lab.sniff(where) as sniffer:
        lab.send("h1", frame(lab, packet))
        found = sniffer.next(1.0, is_one)
    return Ether(found) if found is not None else None


def is_right(found: Packet) -> bool:
    rebuilt = found.copy()
    del rebuilt[TCP].chksum
    if IP in found:
        del rebuilt[IP].chksum
        del rebuilt[IP].len
    else:
        del rebuilt[IPv6].plen
    return bytes(Ether(bytes(rebuilt))) == bytes(found)


def ip(family: int) -> Packet:
    return IP(src=CLIENT[4], dst=SERVER[4], ttl=9) if family == 4 else IPv6(src=CLIENT[6], dst=SERVER[6], hlim=9)


SAID = {
    "nothing": [], "an MSS": [("MSS", 1439)], "no stamp": [("MSS", 1460), ("NOP", None), ("WScale", 8), ("SAckOK", b"")],
    "all": [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (77, 0)), ("NOP", None), ("WScale", 3)],
    "stamp alone": [("Timestamp", (77, 0)), ("EOL", None)], "small": [("NOP", None), ("NOP", None), ("Timestamp", (77, 0)), ("MSS", 1380)],
}  # fmt: skip

# The MSS that the server hears of: without a timestamp there is room for two.
TOLD = {4: {"all": 1460, "no stamp": 1440, "small": 1300}, 6: {"all": 1440, "no stamp": 1420, "an MSS": 1420, "small": 1380}}


@pytest.mark.parametrize("family", [4, 6])
def test_each_segment_is_a_right_one_and_says_what_it_can(lab: Lab, family: int) -> None:
    """The answer to the SYN, and the SYN that the server gets for the ACK, with what the client's SYN said."""
    run_in(lab.space("h1"), ["nft", "table inet quiet { chain output { type filter hook output priority 0; tcp flags rst drop; }; }"])
    with server(lab, family):
        for number, said in enumerate(SAID):
            opened_by_hand(lab, family, said, 4000 + number)


def opened_by_hand(lab: Lab, family: int, said: str, port: int) -> None:
    has_stamp = "Timestamp" in dict(SAID[said])
    answer = ask(lab, ip(family) / TCP(sport=port, dport=PORT, flags="S", seq=2**32 - 1, window=500, options=SAID[said]))
    assert answer is not None
    tcp, said_back = answer[TCP], dict(answer[TCP].options)
    assert is_right(answer)
    assert (tcp.flags, tcp.ack, tcp.window) == ("SA", 0, 0)
    assert said_back["MSS"] == (1460 if family == 4 else 1440)
    assert set(said_back) - {"NOP"} == {"MSS"} | (set(dict(SAID[said])) & {"SAckOK", "Timestamp", "WScale"} if has_stamp else set())
    ack = TCP(sport=port, dport=PORT, flags="A", seq=0, ack=tcp.seq + 1, window=2, options=stamps(answer))
    asked = ask(lab, ip(family) / ack, "h2")
    assert asked is not None
    assert is_right(asked)
    assert (asked[TCP].flags, asked[TCP].seq, asked[TCP].ack) == ("S", 2**32 - 1, 0)
    told = dict(asked[TCP].options)
    assert told["MSS"] == TOLD[family].get(said, 536 if family == 4 else 1220)
    assert set(told) - {"NOP"} == set(said_back) - {"NOP"}
    if said == "all":
        assert (told["WScale"], told["Timestamp"]) == (3, (78, 0))
        assert asked[TCP].window == 16


def stamps(answer: Packet) -> list[tuple[str, object]]:
    """The options of the ACK that follows."""
    ours = dict(answer[TCP].options).get("Timestamp")
    return [("NOP", None), ("NOP", None), ("Timestamp", (78, ours[0]))] if ours else []


def test_a_false_cookie_opens_nothing_and_a_flood_of_syns_reaches_nobody(lab: Lab) -> None:
    with server(lab, backlog=1):
        for number in range(300):
            syn = TCP(sport=1024 + number, dport=PORT, flags="S", seq=number)
            lab.send("h1", frame(lab, IP(src=f"10.0.1.{100 + number % 100}", dst=SERVER[4]) / syn))
        with lab.sniff("h2") as sniffer:
            for ack in (0, 1, 2**31):
                lab.send("h1", frame(lab, ip(4) / TCP(sport=4000, dport=PORT, flags="A", seq=8, ack=ack)))
            for number in range(3):
                lab.send("h1", frame(lab, ip(4) / TCP(sport=4001 + number, dport=PORT, flags="S", seq=8) / Raw(b"x" * 100 * number)))
            came = [Ether(raw) for raw in sniffer.all(0.5)]
        assert not [each for each in came if TCP in each and "S" in each[TCP].flags]
        assert not lab.table("sf", "proxy_sessions")
        found = stats(lab)
        assert (found["syns"], found["cookies"], found["carrying"]) == (303, 301, 2)
        with client(lab) as connection:
            assert says(connection, 10_000)


def test_a_cookie_is_good_after_the_cube_was_loaded_anew_and_when_the_ack_was_lost(lab: Lab) -> None:
    """The client's question for a window is then by the byte before its first."""
    run_in(lab.space("h1"), ["nft", "table inet quiet { chain output { type filter hook output priority 0; tcp flags rst drop; }; }"])
    with server(lab):
        for number, (said, seq) in enumerate((said, seq) for said in SAID for seq in (8, 7)):
            answer = ask(lab, ip(4) / TCP(sport=4000 + number, dport=PORT, flags="S", seq=7, options=SAID[said]))
            assert answer is not None
            if number < 2:
                lab.cube("sf")["loglevel"] = ("TRACE", "INFO")[number]
                lab.apply()
            ack = TCP(sport=4000 + number, dport=PORT, flags="A", seq=seq, ack=answer[TCP].seq + 1, options=stamps(answer))
            asked = ask(lab, ip(4) / ack, "h2")
            assert asked is not None
            assert (asked[TCP].flags, asked[TCP].seq) == ("S", 7)
