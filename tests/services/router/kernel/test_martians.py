"""Packets whose source no packet from elsewhere can have: dropped by pcn and by a Linux router, with the same frames in one run.

Linux without reverse-path filtering (rp_filter=0) looks at its own addresses in IPv4 only; at broadcast addresses it looks with a loose
filter (rp_filter=2). Where it does not look, RFC 1812 5.3.7 and RFC 4291 2.5 say what is right.
"""
from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.kernel import netns
from tests.lib.linux import Linux
from tests.services.router.frames import GATEWAY, SCENARIO, is_udp, udp, warm
from tests.services.router.lab import RouterLab

MARTIAN = "10"
# source: what it is, and whether Linux forwards it with rp_filter=0, and with 2
SOURCES_4 = {
    "10.0.1.1": ("a neighbour's", True, True),
    "10.0.2.7": ("another port's neighbour's", True, True),
    "10.0.1.254": ("the port's own", False, False),
    "10.0.2.254": ("another port's own", False, False),
    "10.0.7.254": ("a secondary one", False, False),
    "10.0.1.255": ("its subnet's broadcast", True, False),
    "10.0.2.255": ("another subnet's broadcast", True, False),
    "10.0.7.255": ("a secondary subnet's broadcast", True, False),
    "255.255.255.255": ("the limited broadcast", False, False),
    "0.0.0.0": ("none", False, False),
    "127.0.0.1": ("a loopback one", False, False),
    "224.0.0.1": ("a group's", False, False),
}
SOURCES_6 = {
    "fd00::a:0:1:1": ("a neighbour's", True),
    "fd00::a:0:2:7": ("another port's neighbour's", True),
    "2001:db8::1": ("a stranger's", True),
    "fd00::a:0:1:fe": ("the port's own", True),
    "fd00::a:0:2:fe": ("another port's own", True),
    "fd00::a:0:7:fe": ("a secondary one", True),
    "::": ("none", False),
    "::1": ("a loopback one", False),
    "ff02::1": ("a group's", False),
    "fe80::1": ("a link-local one", False),
    "::ffff:10.0.1.1": ("IPv4 in IPv6's clothes", True),
    "::ffff:127.0.0.1": ("a loopback one in them", True),
}
OURS_6 = {"a neighbour's", "another port's neighbour's", "a stranger's"}


def made(hook: str, family: int) -> RouterLab:
    lab = RouterLab(SCENARIO, hook=hook, family=family)
    second = "10.0.7.254/24" if family == 4 else "fd00::a:0:7:fe/112"
    lab.cube("r1")["ports"][0]["secondaryip"] = [{"ip": second}]
    return lab


def linux_beside(lab: RouterLab) -> Linux:
    leaf = "ip" if lab.family == 4 else "ipv6"
    one, other = lab.cube("r1")["ports"]
    return Linux(lab, "router", {"h1": [one[leaf], one["secondaryip"][0]["ip"]], "h2": [other[leaf]]}, {"h1": GATEWAY.hex(":")})


def passes(side: RouterLab | Linux, frame: bytes) -> bool:
    with side.sniff("h2") as seen:
        side.send("h1", frame)
        return seen.next(0.2, lambda found: is_udp(found) and found[-20:] == frame[-20:]) is not None


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_no_packet_is_forwarded_that_claims_an_address_it_cannot_have_in_ipv4(hook):
    with made(hook, 4) as lab:
        lab.apply()
        warm(lab)
        with linux_beside(lab) as linux:
            found = {}
            for rp_filter in (0, 2):
                with netns.inside(linux.middle):
                    for scope in ("all", "default", "w1"):
                        Path(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter").write_text(str(rp_filter))
                for number, source in enumerate(SOURCES_4):
                    found[rp_filter, source] = passes(linux, udp(lab, source, payload=bytes([number]) * 40))
            assert {(SOURCES_4[source][0], rp_filter): said for (rp_filter, source), said in found.items()} == {
                (what, rp_filter): said for what, *both in SOURCES_4.values() for rp_filter, said in zip((0, 2), both, strict=True)
            }
        for number, (source, (what, _, linux_says)) in enumerate(SOURCES_4.items()):
            before = lab.drops("r1").get(MARTIAN, 0)
            assert passes(lab, udp(lab, source, payload=bytes([number]) * 40)) is linux_says, what
            assert lab.drops("r1").get(MARTIAN, 0) - before == (not linux_says), what
        before = lab.drops("r1").get(MARTIAN, 0)
        lab.send("h1", udp(lab, "10.0.2.254", "10.0.1.254"))  # for the router itself
        assert lab.drops("r1")[MARTIAN] == before + 1


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_nor_in_ipv6(hook):
    """Linux forwards there what claims its own address, and ::ffff:0:0/96, which RFC 6890 calls not forwardable."""
    with made(hook, 6) as lab:
        lab.apply()
        warm(lab)
        with linux_beside(lab) as linux:
            found = {what: passes(linux, udp(lab, source, payload=bytes([number]) * 40))
                     for number, (source, (what, _)) in enumerate(SOURCES_6.items())}  # fmt: skip
            assert found == dict(SOURCES_6.values())
        for number, (source, (what, _)) in enumerate(SOURCES_6.items()):
            before = lab.drops("r1").get(MARTIAN, 0)
            assert passes(lab, udp(lab, source, payload=bytes([number]) * 40)) is (what in OURS_6), what
            assert (lab.drops("r1").get(MARTIAN, 0) > before) is (what not in OURS_6), what


@pytest.mark.parametrize("family", [4, 6])
def test_an_address_that_is_taken_away_may_be_anothers_at_once(family):
    with made("TC", family) as lab:
        lab.apply()
        warm(lab)
        source = "10.0.7.254"
        assert not passes(lab, udp(lab, source))
        del lab.cube("r1")["ports"][0]["secondaryip"]
        lab.apply()
        assert not lab.drift()
        assert passes(lab, udp(lab, source))
