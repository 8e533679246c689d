"""Real hosts: Polycube's scripts local_test_3_webserver.sh and local_test_{tcp,udp}_3backends, in which clients, backends and both
ports of the load balancer are on one bridge; and a backend behind a router, whose end of the tunnel is scapy on a tun."""
from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from reconciler.kernel import netns
from tests.lib import packets
from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in
from tests.lib.scapy_packets import IP, UDP, Ether, IPv6

pytestmark = pytest.mark.kernel

BACKENDS, CLIENTS = ("h1", "h2", "h3"), ("h4", "h5")
ONE_BRIDGE = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.0.3/24, h4: 10.0.0.4/24, h5: 10.0.0.5/24}
cubes:
  - name: br1
    service-name: simplebridge
    ports:
      - {name: p1, peer: v1}
      - {name: p2, peer: v2}
      - {name: p3, peer: v3}
      - {name: p4, peer: v4}
      - {name: p5, peer: v5}
      - {name: link11, peer: "lb1:link11"}
      - {name: link21, peer: "lb1:link21"}
  - name: lb1
    service-name: lbdsr
    ports:
      - {name: link11, peer: "br1:link11", type: FRONTEND}
      - {name: link21, peer: "br1:link21", type: BACKEND}
    frontend: {vip: 10.0.0.100, mac: "02:01:01:aa:bb:cc"}
"""


@contextlib.contextmanager
def serving(lab: Lab, kind: socket.SocketKind) -> Iterator[None]:
    """Each backend answers with its name, from the virtual address."""
    opened = []
    for host in BACKENDS:
        with netns.inside(lab.space(host)):
            sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("10.0.0.100", 8000))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        opened.append(sock)
        threading.Thread(target=_serve, args=(sock, host.encode()), daemon=True).start()
    try:
        yield
    finally:
        for sock in opened:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def _serve(sock: socket.socket, name: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            if sock.type == socket.SOCK_STREAM:
                there, _ = sock.accept()
                there.sendall(name)
                there.close()
            else:
                _, source = sock.recvfrom(64)
                if source is None:  # it was shut down
                    return
                sock.sendto(name, source)


def asked(lab: Lab, client: str, kind: socket.SocketKind) -> str:
    with netns.inside(lab.space(client)):
        sock = socket.socket(socket.AF_INET, kind)
    with sock:
        sock.settimeout(3)
        sock.connect(("10.0.0.100", 8000))
        if kind == socket.SOCK_DGRAM:
            sock.send(b"?")
        return sock.recv(64).decode()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_three_backends_and_clients_on_one_bridge(hook, kind):
    with Lab(ONE_BRIDGE, hook=hook) as lab:
        lab.apply()
        for host in BACKENDS:
            run_in(lab.space(host), ["ip", "link", "set", "lo", "up"])
            run_in(lab.space(host), ["ip", "addr", "add", "10.0.0.100/32", "dev", "lo"])
            run_in(lab.space(host), ["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"])
        pool = [{"id": number, "mac": lab.mac(host)} for number, host in enumerate(BACKENDS, 1)]
        lab.cube("lb1")["backend"] = {"pool": pool}
        lab.apply()
        with serving(lab, kind):
            taken = [asked(lab, client, kind) for client in CLIENTS for _ in range(12)]
        assert set(taken) == set(BACKENDS)


BEHIND_A_ROUTER = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: gw
    service-name: router
    ports:
      - {name: clients, peer: v1, ip: 10.0.1.254/24}
      - {name: vips, peer: "lb:front", ip: 10.0.100.254/24}
      - {name: tunnels, peer: "lb:back", ip: 10.0.7.254/24, mac: "02:00:00:00:07:fe"}
      - {name: servers, peer: v2, ip: 10.0.2.254/24}
  - name: lb
    service-name: lbdsr
    ports:
      - {name: front, peer: "gw:vips", type: FRONTEND}
      - {name: back, peer: "gw:tunnels", type: BACKEND}
    frontend: {vip: 10.0.100.1, tunnel-ip: 10.0.7.1}
"""


class TunnelEnd:
    """What arrives in a tunnel at h2 is taken out by scapy and put into a tun, on which is the virtual address."""

    def __init__(self, lab: Lab) -> None:
        self.seen = packets.sniff(lab.space("h2"), "eth0").__enter__()
        with netns.inside(lab.space("h2")):
            self.tun = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self.tun, 0x400454CA, struct.pack("16sH14x", b"tun0", 1 | 0x1000))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
        for words in (["link", "set", "tun0", "up"], ["addr", "add", "10.0.100.1/32", "dev", "tun0"]):
            run_in(lab.space("h2"), ["ip", *words])
        run_in(lab.space("h2"), ["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.tun0.rp_filter=0"])

    def close(self) -> None:
        self.seen.__exit__(None, None, None)
        os.close(self.tun)

    def pass_on(self, mode: str) -> bytes:
        """One packet more; gives it."""
        def is_tunnel(raw: bytes) -> bool:
            return raw[12:14] == b"\x08\x00" and raw[23] == (4 if mode == "IPIP" else 17)

        frame = self.seen.next(3.0, is_tunnel)
        assert frame is not None, "nothing arrived"
        outer = Ether(frame)[IP]
        inside = bytes(outer[UDP].payload) if mode == "GUE" else bytes(outer.payload)
        os.write(self.tun, inside)
        return inside


@pytest.mark.parametrize("mode", ["IPIP", "GUE"])
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_a_backend_behind_a_router_answers_through_its_tunnel_and_directly_back(hook, mode):
    with Lab(BEHIND_A_ROUTER, hook=hook) as lab:
        lab.cube("lb")["backend"] = {"pool": [{"id": 1, "mac": "02:00:00:00:07:fe", "mode": mode, "ip": "10.0.2.1"}]}
        lab.apply()
        assert packets.ping(lab.space("h2"), "10.0.2.254", 1, timeout=2)  # the router knows h2
        assert packets.ping(lab.space("h1"), "10.0.1.254", 1, timeout=2)
        packets.ping(lab.space("h1"), "10.0.100.1", 1, timeout=0.3)  # it asks for the virtual address
        end = TunnelEnd(lab)
        try:
            answers: list[int] = []
            asking = threading.Thread(target=lambda: answers.append(packets.ping(lab.space("h1"), "10.0.100.1", 2, timeout=2)))
            asking.start()
            inside = [end.pass_on(mode) for _ in range(2)]
            asking.join()
        finally:
            end.close()
        assert answers == [2]
        assert {(IP(text).src, IP(text).dst) for text in inside} == {("10.0.1.1", "10.0.100.1")}
        assert IPv6 not in IP(inside[0])
