"""Netdevs whose packets have no Ethernet header: every cube and hook refuses them, told where they are named, and nothing else is."""
from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.kernel import linkwrite, rtnl
from tests.lib.agent_process import Bench
from tests.lib.lab import HOOKS, Lab

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n"
TRANSPARENT = {
    "firewall": "chain: [{name: INGRESS, default: DROP}, {name: EGRESS, default: DROP}]",
    "ddosmitigator": "blacklist-src: [{ip: 10.0.0.1}]",
    "transparenthelloworld": "ingress-action: PASS",
}
STANDARD = {
    "helloworld": "action: FORWARD",
    "simplebridge": "fdb: {aging-time: 120}",
    "router": "loglevel: INFO",
    "simpleforwarder": "loglevel: INFO",
}
GUARDED = """
hosts: {h1: 10.0.0.1/24}
cubes:
  - {name: fw, service-name: firewall, chain: [{name: INGRESS, default: DROP}]}
  - {name: fw2, service-name: firewall, chain: [{name: INGRESS, default: DROP}]}
attachments: [{netdev: v1, tcubes: [fw]}, {netdev: l3, tcubes: [fw2]}]
"""
_TUNSETIFF, _TUNSETPERSIST, _TUNSETLINK = 0x400454CA, 0x400454CB, 0x400454CD
_IFF_TUN, _IFF_TAP, _IFF_NO_PI = 1, 2, 0x1000
ETHER, NONE = 1, 0xFFFE


def make_tun(name: str, mode: int = _IFF_TUN, link_type: int | None = None) -> None:
    """A netdev that stays; `link_type` is one that its owner gives it."""
    with open("/dev/net/tun", "rb+", buffering=0) as owner:
        fcntl.ioctl(owner, _TUNSETIFF, struct.pack("16sH22x", name.encode(), mode | _IFF_NO_PI))
        if link_type is not None:
            fcntl.ioctl(owner, _TUNSETLINK, link_type)
        fcntl.ioctl(owner, _TUNSETPERSIST, 1)


@contextmanager
def tun(name: str, mode: int = _IFF_TUN, link_type: int | None = None) -> Iterator[None]:
    make_tun(name, mode, link_type)
    try:
        yield
    finally:
        linkwrite.delete_link(name)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("cubes: []") as made:
        yield made


def attached(service: str, hook: str) -> tuple[str, str]:
    text = f"{HEAD}    - {{name: c, service-name: {service}, type: {hook}, {TRANSPARENT[service]}}}\n  attachments:\n    - {{netdev: l3, tcubes: [c]}}\n"
    return text, "f:8:16: /spec/attachments/l3/netdev"


def as_peer(service: str, hook: str) -> tuple[str, str]:
    port = "{name: p, peer: l3" + (", ip: 10.1.0.1/24}" if service == "router" else "}")
    text = f"{HEAD}    - name: c\n      service-name: {service}\n      type: {hook}\n      {STANDARD[service]}\n      ports:\n        - {port}\n"
    return text, "f:11:27: /spec/cubes/c/ports/p/peer"


WAYS = [(attached, service) for service in TRANSPARENT] + [(as_peer, service) for service in STANDARD]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(("written", "service"), WAYS, ids=[service for _, service in WAYS])
def test_no_cube_is_put_on_a_netdev_without_an_ethernet_header(lab, written, service, hook):
    from reconciler.engine.apply import apply, plan_for

    text, place = written(service, hook)
    with tun("l3"):
        for attempt in (plan_for, apply):
            with pytest.raises(DocumentError) as error:
                attempt(parse(text, "f"), lab.options)
            assert str(error.value).startswith(f"{place}: netdev 'l3' (tun device, link type NONE) has no Ethernet header"), error.value
            assert "tap device" in str(error.value)
            assert error.value.exit_code == 65
        assert not os.path.lexists(lab.root)


@pytest.mark.parametrize(("mode", "link_type", "ok"), [
    (_IFF_TAP, None, True), (_IFF_TUN, None, False), (_IFF_TUN, ETHER, False), (_IFF_TAP, NONE, False), (_IFF_TAP, 512, False),
])  # fmt: skip
def test_what_counts_is_whether_the_netdev_has_an_ethernet_header(lab, mode, link_type, ok):
    """The owner of a tun device can say that it is Ethernet, which gives it no header."""
    with tun("l3", mode, link_type):
        assert rtnl.links()["l3"].carries_ethernet is ok


def test_loopback_has_an_ethernet_header(lab):
    assert rtnl.links()["lo"].carries_ethernet


def test_a_netdev_that_comes_back_without_an_ethernet_header_is_refused_and_can_be_deleted(tmp_path):
    with Lab(GUARDED) as lab:
        with tun("l3", _IFF_TAP):
            lab.apply()
            assert not lab.plan().plan.steps
        with tun("l3"):
            with pytest.raises(DocumentError, match="netdev 'l3'"):
                lab.apply()
            assert lab.drift(), "the firewall is not where it was applied"
            other = parse(f"{HEAD}    - {{name: other, service-name: helloworld, ports: [{{name: a}}]}}\n".replace("name: t", "name: u"), "g")
            from reconciler.engine.apply import apply

            done = apply(other, lab.options)
            said = [str(problem) for problem in done.warnings if problem.severity == "warning"]
            assert any("netdev 'l3'" in each and "not in force" in each for each in said), said
            apply(other, lab.options, delete=True)
            apply([lab.document()], lab.options, delete=True)


def test_an_agent_refuses_a_netdev_that_appears_without_an_ethernet_header_and_goes_on_with_the_rest(tmp_path):
    with Lab(GUARDED) as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        with bench.agent() as agent:
            agent.until(lambda said: said["healthy"] and said["topologies"] == ["lab"])
            with tun("l3"):
                agent.until(lambda said: any("netdev 'l3'" in problem for problem in said["problems"]))
                assert "left out, while all else is applied:" in agent.text()
                assert "lab.yaml:1:" in agent.text()
                assert not agent.status()["waiting"]
                lab.cube("fw")["chain"][0]["default"] = "REJECT"
                bench.save()
                agent.until(lambda said: lab.live_cube("fw")["chain"] == [{"name": "INGRESS", "default": "REJECT"}])
                assert not agent.status()["healthy"]
            agent.until(lambda said: said["healthy"])
            with tun("l3", _IFF_TAP):
                agent.until(lambda said: said["healthy"] and not said["waiting"] and said["last"]["link_changes"] > 0)
