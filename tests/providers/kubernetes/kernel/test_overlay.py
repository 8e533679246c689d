"""Two nodes in VXLAN: pods of one reach pods of the other through a network that knows neither, with real packets."""
from __future__ import annotations

import socket
import subprocess

import pytest

from reconciler.kernel import netns, rtnl
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import NodeLab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]
MTU, HEADERS = 1430, {4: 28, 6: 48}  # of pods: the uplink's less VXLAN's; of UDP over each family
_MTU_DISCOVER, _DO = {4: 10, 6: 23}, 2


def datagram(lab: NodeLab, source: str, target: str, port: int, size: int) -> int:
    """Send one that may not be fragmented; how many bytes come back of it."""
    version = 6 if ":" in target else 4
    with netns.inside(source):
        sock = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.IPPROTO_IPV6 if version == 6 else socket.IPPROTO_IP, _MTU_DISCOVER[version], _DO)
        sock.settimeout(2.0)
        sock.connect((target, port))
        sock.send(bytes(size))
        return len(sock.recv(65536))


@pytest.mark.parametrize("more", [(), ("--direct",)], ids=["", "direct"])
def test_pods_of_two_nodes_reach_each_other_in_vxlan(tmp_path, more):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    overlay = ("--overlay", "vxlan", *more)
    ranges = "10.244.2.0/24", "fd00:244:0:2::/64"
    with NodeLab(tmp_path / "1", more=overlay) as one, NodeLab(tmp_path / "2", more=overlay, ranges=ranges, beside=one) as two:
        a, b, c = one.add("a"), two.add("b", app="web"), two.add("c")
        for lab, others, node in ((one, (b, c), "n2"), (two, (a,), "n1")):
            for pod in others:
                lab.api.put("pods", objects.pod(pod.name, node, ips=pod.ips))
        service = objects.service("web", "10.96.0.10", ports=[{"port": 80, "targetPort": 8080}])
        for lab in (one, two):
            lab.api.put("services", service)
            lab.api.put("slices", objects.slices("web", 8080, objects.endpoint(b.ip, "n2")))
        with one.serving(a.netns, 8080, "a"), two.serving(b.netns, 8080, "b"), two.serving(b.netns, 8080, "b6", v6=True, udp=True), \
                two.serving(b.netns, 9000, "u", udp=True):  # fmt: skip
            one.within(10, lambda: one.ask(a.netns, b.ip, 8080, 0.5) == f"b {a.ip}")
            assert two.ask(b.netns, a.ip, 8080) == f"a {b.ip}", "with their own addresses, both ways"
            assert two.ask(c.netns, a.ip, 8080) == f"a {c.ip}"
            one.within(10, lambda: one.ask(a.netns, "10.96.0.10", 80, 0.5) == f"b {a.ip}")
            assert one.ask(a.netns, b.ips[1], 8080, udp=True) == f"b6 {a.ips[1]}"
            assert {rtnl.links(space)["eth0"].mtu for space in (a.netns, b.netns)} == {MTU}
            assert rtnl.links()["pcn-vxlan"].mtu == MTU
            assert datagram(one, a.netns, b.ip, 9000, MTU - HEADERS[4]) > 0, "as large as the MTU says"
            assert datagram(one, a.netns, b.ips[1], 8080, MTU - HEADERS[6]) > 0
            with pytest.raises(OSError, match="too long"):
                datagram(one, a.netns, b.ip, 9000, MTU - HEADERS[4] + 1)
        assert stations() != ""
        two.api.delete("nodes", "", "n1")
        two.within(10, lambda: stations() == "")


def stations() -> str:
    """What the overlay's netdev in this thread's namespace has of other nodes."""
    said = [["neigh", "show", "nud", "permanent"], ["-6", "neigh", "show", "nud", "permanent"]]
    found = [subprocess.run(["ip", *words, "dev", "pcn-vxlan"], capture_output=True, text=True, check=True).stdout for words in said]
    return "".join(found)


def test_an_uplink_whose_mtu_changes_is_followed(tmp_path):
    with NodeLab(tmp_path, more=("--overlay", "vxlan")) as lab:
        old = lab.add("old")
        subprocess.run(["ip", "link", "set", "eth0", "mtu", "1400"], check=True)
        lab.within(15, lambda: {rtnl.links()[name].mtu for name in ("pcn-vxlan", "pcn-up", "pcn-up-gw")} == {1330})
        new = lab.add("new")
        assert rtnl.links(new.netns)["eth0"].mtu == 1330
        assert rtnl.links(old.netns)["eth0"].mtu == MTU, "a pod that is there keeps its own"
        with lab.serving(old.netns, 8080, "old"):
            assert lab.ask(new.netns, old.ip, 8080) == f"old {new.ip}"
            assert lab.ask(None, old.ip, 8080).startswith("old")
