"""`--direct`: between nodes packets pass by the host's stack where it would only send them on. How far they have come tells which way."""
from __future__ import annotations

import contextlib
import functools
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from reconciler.kernel import netns, rtnl
from tests.lib.flow_frames import UDP, Fields, frame
from tests.lib.packets import checksum, icmp_answer, send_frames
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import FAR_POD, NODE, OTHER, NodeLab, Pod

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]
FAR_POD6 = "fd00:244:0:2::8"
STRAIGHT, BY_STACK, NOT_HEARD = 63, 62, 0  # of 64: the gateway takes one, and the stack another
PORT = 7000
_RECVTTL, _RCVBUFFORCE = 12, 33


@dataclass
class Hearing:
    """A socket of a namespace that tells how much datagrams have left of their hop limit."""

    sock: socket.socket
    heard: int = 0

    def limit(self, seconds: float = 3.0) -> int:
        """Of the next one; 0 if none comes."""
        self.sock.settimeout(seconds)
        try:
            _, told, _, _ = self.sock.recvmsg(2000, 100)
        except TimeoutError:
            return NOT_HEARD
        self.heard += 1
        return int(struct.unpack("=i", told[0][2])[0])

    def latest(self) -> int:
        """Of the last one that has come."""
        last = NOT_HEARD
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline and (found := self.limit(0.1)):
            last = found
        return last


@contextlib.contextmanager
def hearing(space: str, version: int) -> Iterator[Hearing]:
    with netns.inside(space):
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _RECVTTL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 26)
        sock.bind(("", PORT))
        yield Hearing(sock)


def say(space: str, target: str, size: int = 8) -> None:
    with netns.inside(space):
        sock = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.sendto(bytes(size), (target, PORT))


def is_heard(there: Hearing, source: Pod, target: str, limit: int) -> bool:
    say(source.netns, target)
    return there.limit(0.5) == limit


def run(words: str, space: str = "") -> None:
    subprocess.run([*(["ip", "netns", "exec", space] if space else []), *words.split()], check=True)


@pytest.fixture
def lab(tmp_path) -> Iterator[NodeLab]:
    """The namespace outside is another node with a pod. Each knows the other's MAC."""
    with NodeLab(tmp_path, more=("--direct",)) as lab:
        run(f"ip address add {FAR_POD6}/128 dev eth0 nodad", lab.outside)
        run("ip address add fd00:30::12/64 dev eth0 nodad", lab.outside)
        lab.within(10, lambda: icmp_answer(None, "fd00:30::12") is not None and icmp_answer(None, OTHER) is not None)
        yield lab


def far(pod: Pod, version: int) -> tuple[str, str]:
    return (FAR_POD, pod.ip) if version == 4 else (FAR_POD6, pod.ips[1])


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_pod_sends_goes_straight_where_the_host_would_send_it(lab, version):
    a = lab.add("a")
    target, _ = far(a, version)
    node, prefix = (OTHER, "10.244.2.0/24") if version == 4 else ("fd00:30::12", "fd00:244:0:2::/64")
    route = f"ip -{version} route replace {prefix} proto 112"
    with hearing(lab.outside, version) as there:
        def left(size: int = 8) -> int:
            say(a.netns, target, size)
            return there.limit()

        lab.within(10, lambda: left() == STRAIGHT)
        run(f"ip neigh del {node} dev eth0")
        assert left() == BY_STACK, "which asks for the neighbour"
        assert left() == STRAIGHT
        run(f"{route} via {node} mtu lock 1400")
        assert left(1300) == STRAIGHT
        say(a.netns, target, 1420)
        assert there.limit(0.3) == NOT_HEARD, "too big: the stack says so"
        run(f"{route} dev pcn-out")
        say(a.netns, target)
        assert there.limit(0.3) == NOT_HEARD, "it leads elsewhere now"
        run(f"{route} via {node}")
        assert left() == STRAIGHT
        forwarding = f"net.ipv{version}.conf.pcn-up-gw.forwarding"
        run(f"sysctl -qw {forwarding}=0")
        assert left() == BY_STACK
        run(f"sysctl -qw {forwarding}=1")
        assert left() == STRAIGHT


@pytest.mark.parametrize("version", [4, 6])
def test_segments_are_as_large_as_the_uplink_takes(lab, version):
    """TCP's large ones of a pod whose MTU is more than that."""
    a, much = lab.add("a"), 1 << 20
    target, _ = far(a, version)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    for mtu in (1500, 1400):
        run(f"ip link set eth0 mtu {mtu}")
        with netns.inside(lab.outside), socket.create_server((target, PORT), family=family) as server:
            with netns.inside(a.netns):
                client = socket.create_connection((target, PORT), 2.0)
            sender = threading.Thread(target=lambda sock=client: (sock.sendall(bytes(much)), sock.close()))
            sender.start()
            connection, _ = server.accept()
            connection.settimeout(5.0)
            with connection:
                assert sum(iter(lambda peer=connection: len(peer.recv(65536)), 0)) == much
            sender.join()


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_for_a_pod_is_taken_where_the_host_would_take_it(lab, version):
    a, b = lab.add("a"), lab.add("b")
    source, target = far(a, version)
    macs = bytes.fromhex((rtnl.links()["eth0"].mac + rtnl.links(lab.outside)["eth0"].mac).replace(":", ""))
    usual = Fields(version, UDP, source, target, 5000, PORT)

    def left(
        said: Fields = usual, *, limit: int = 64, to: bytes = macs, options: bytes = b"", tag: bytes = b"", seconds: float = 0.3
    ) -> int:
        whole = changed(frame(said, to), limit, options)
        send_frames(lab.outside, "eth0", [whole[:12] + tag + whole[12:]])
        return here.limit(seconds)

    with hearing(a.netns, version) as here:
        lab.within(10, lambda: left() == STRAIGHT)
        assert left(limit=2) == STRAIGHT - 62
        assert left(limit=1) == NOT_HEARD, "the stack says so"
        options = bytes([1, 1, 1, 0]) if version == 4 else bytes([UDP, 0, 1, 4, 0, 0, 0, 0])
        assert left(options=options) in ((BY_STACK,) if version == 4 else (BY_STACK, NOT_HEARD)), "special ones are for the stack"
        assert left(to=b"\2\0\0\0\0\x66" + macs[6:]) == NOT_HEARD, "for another station"
        assert left(tag=bytes.fromhex("81000007")) == NOT_HEARD, "of a VLAN, of which the host has no netdev"
        assert left(tag=bytes.fromhex("81000000")) in (BY_STACK, NOT_HEARD), "of a priority only: for the stack"
        assert left(usual._replace(src=(b.ip, b.ips[1])[version == 6]), seconds=1.0) in (BY_STACK, NOT_HEARD), "a sender from within"
        for forged in ("100.126.112.2", NODE, "127.0.0.1", "224.0.0.9", "0.0.0.0") if version == 4 else ("::1", "ff02::9", "fe80::9", "::"):
            found = left(usual._replace(src=forged))
            assert found == NOT_HEARD or (version == 6 and found == BY_STACK), forged
        assert left(seconds=1.0) == STRAIGHT
        run(f"ip -{version} route add {source} dev pcn-out" if version == 4 else f"ip -6 route add {source} dev pcn-out")
        assert left(seconds=1.0) == BY_STACK, "answers would go elsewhere"
    assert lab.ask(lab.outside, NODE, 1) == "refused", "what is for the host is the host's"


def changed(whole: bytes, limit: int, options: bytes) -> bytes:
    """A frame with another hop limit, and with options in its header."""
    ends, head = whole[:14], bytearray(whole[14:])
    if whole[12:14] == b"\x86\xdd":
        head[7] = limit
        if options:
            head[4:7] = struct.pack("!HB", len(head) - 40 + len(options), 0)
            head[40:40] = options
        return ends + bytes(head)
    head[20:20] = options
    head[0] += len(options) // 4
    head[2:4], head[8], head[10:12] = struct.pack("!H", len(head)), limit, bytes(2)
    head[10:12] = struct.pack("!H", checksum(bytes(head[: 20 + len(options)])))
    return ends + bytes(head)


def test_policies_are_asked_about_what_comes_and_goes_straight(lab):
    a = lab.add("a", app="web")
    lab.api.put("pods", objects.pod("far", "n2", ips=(FAR_POD,), app="far"))
    with hearing(a.netns, 4) as here, hearing(lab.outside, 4) as there:
        def comes() -> int:
            send_from_far(lab, a.ip)
            return here.limit(0.3)

        def goes() -> int:
            say(a.netns, FAR_POD)
            return there.limit(0.3)

        lab.within(10, lambda: (comes(), goes()) == (STRAIGHT, STRAIGHT))
        lab.api.put("policies", objects.policy("p", policyTypes=["Ingress"], ingress=[]))
        lab.within(10, lambda: (comes(), goes()) == (NOT_HEARD, STRAIGHT))
        lab.api.put("policies", objects.policy("p", policyTypes=["Egress"], egress=[]))
        lab.within(10, lambda: (comes(), goes()) == (STRAIGHT, NOT_HEARD))


def send_from_far(lab: NodeLab, target: str) -> None:
    with netns.inside(lab.outside):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((FAR_POD, 0))
        sock.sendto(b"!", (target, PORT))


@pytest.mark.parametrize(("before", "after", "way"), [((), ("--direct",), STRAIGHT), (("--direct",), (), BY_STACK)], ids=["on", "off"])
def test_no_packet_is_lost_when_it_is_turned_on_or_off(tmp_path, before, after, way):
    with NodeLab(tmp_path) as lab:
        a = lab.add("a")
        again(lab, *before)
        with hearing(lab.outside, 4) as there:
            with lab.sending(a.netns, FAR_POD, PORT) as sent:
                lab.within(10, lambda: there.limit() != NOT_HEARD)
                again(lab, *after)
                lab.within(20, lambda: there.latest() == way)
            there.latest()
            assert there.heard == sent[0]


def again(lab: NodeLab, *more: str) -> None:
    """The provider with other words."""
    lab.provider.terminate()
    lab.provider.wait(10)
    lab.start_provider(*more)


def test_between_two_nodes_only_their_gateways_count(tmp_path):
    ranges, direct = ("10.244.2.0/24", "fd00:244:0:2::/64"), ("--direct",)
    for name in "12":
        (tmp_path / name).mkdir()
    with NodeLab(tmp_path / "1", more=direct) as one, NodeLab(tmp_path / "2", more=direct, ranges=ranges, beside=one) as two:
        a, b = one.add("a"), two.add("b")
        one.api.put("pods", objects.pod("b", "n2", ips=b.ips))
        two.api.put("pods", objects.pod("a", "n1", ips=a.ips))
        for version in (4, 6):
            for source, target in ((a, b), (b, a)):
                with hearing(target.netns, version) as there:
                    two.within(10, functools.partial(is_heard, there, source, target.ips[version == 6], STRAIGHT - 1))
        two.api.put("services", objects.service("web", "10.96.0.10", ports=[{"port": 80, "targetPort": 8080}]))
        two.api.put("slices", objects.slices("web", 8080, objects.endpoint(a.ip, "n1")))
        with one.serving(a.netns, 8080, "a"):
            two.within(10, lambda: two.ask(b.netns, "10.96.0.10", 80, 0.5) == f"a {b.ip}")
            assert two.ask(None, "10.96.0.10", 80) == "a 10.244.2.2", "from the host itself"
