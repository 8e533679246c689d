"""The host's firewall under XDP: the same packets meet the same chains, and what FORWARD lets pass goes by XDP or by the kernel."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.kernel import offload
from tests.lib.netns_topology import run_in
from tests.lib.packets import tcp_exchange
from tests.services.iptables.lab import TEXT, HostLab

DROPS = {"default": "DROP"}
EVERYTHING = {"rule": [{"action": "ACCEPT"}]}


TEXT6 = TEXT.replace("10.0.1.", "fd01::").replace("10.0.2.", "fd02::").replace("/24", "/64").replace("default", "'::/0'") \
    .replace("'::/0'", "'fd00::/8'").replace("[fd", "['fd").replace("/64]", "/64']").replace("via: fd01::254", "via: 'fd01::254'") \
    .replace("via: fd02::254", "via: 'fd02::254'")  # fmt: skip


class XdpLab(HostLab):
    """`hook` is XDP's; the loopback has no driver with XDP of its own, so there a cube with generic XDP alone can be."""

    def __init__(self, hook: str, text: str = TEXT, **settings: Any) -> None:
        super().__init__(text, **settings)
        self.hook = hook
        if hook == "XDP_DRV":
            self.spec["attachments"].pop()

    def __enter__(self) -> XdpLab:
        super().__enter__()
        for host in ("h1", "h2"):  # what comes by native XDP needs a NAPI there, and nobody finishes its checksums
            offload.put("eth0", "gro", True, self.space(host))
            offload.put("eth0", "tx-checksum", False, self.space(host))
        self.apply()
        return self

    def kernel_forwarded(self) -> int:
        """Packets of IPv4 that the kernel itself has sent on, ever."""
        lines = [line.split()[1:] for line in run_in(None, ["cat", "/proc/net/snmp"]).splitlines() if line.startswith("Ip:")]
        return int(dict(zip(*lines, strict=True))["ForwDatagrams"])


@pytest.fixture(params=["XDP_SKB", "XDP_DRV"])
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["KERNEL", "XDP"])
def lab(hook: str, request: pytest.FixtureRequest) -> Iterator[XdpLab]:
    with XdpLab(hook, **{"forward-by": request.param}) as lab:
        yield lab


def test_each_chain_is_for_its_own_packets_and_counts_them_once(lab: XdpLab) -> None:
    def seen() -> tuple[bool, bool, bool]:
        return lab.ok("h1", "10.0.1.254"), lab.ok(None, "10.0.1.1"), lab.ok("h1", "10.0.2.1")

    lab.chains(INPUT=EVERYTHING, FORWARD=EVERYTHING, OUTPUT=EVERYTHING)
    assert seen() == (True, True, True)
    assert [lab.stats(name)["0"] for name in ("INPUT", "FORWARD", "OUTPUT")] == [4, 4, 4]
    lab.chains(INPUT=DROPS)
    assert seen() == (False, False, True), "answers to this host are for it, too"
    lab.chains(OUTPUT=DROPS)
    assert seen() == (False, False, True)
    lab.chains(FORWARD=DROPS)
    assert seen() == (True, True, False)
    lab.chains(FORWARD={"default": "DROP", "rule": [{"in-iface": "v1", "out-iface": "v2"}, {"conntrack": "ESTABLISHED"}]})
    assert lab.ok("h1", "10.0.2.1")
    assert lab.fails("h2", "10.0.1.1")


def test_known_neighbours_are_reached_past_the_kernel_if_that_is_asked_for(lab: XdpLab) -> None:
    for host, address in (("h1", "10.0.2.1"), (None, "10.0.1.1"), (None, "10.0.2.1")):
        assert lab.ok(host, address)
    before = lab.kernel_forwarded()
    with lab.sniff("h2") as far:
        assert lab.ok("h1", "10.0.2.1", 5)
        request = far.next(2, lambda found: found[12:14] == b"\x08\x00" and found[23] == 1)
    assert request is not None
    assert request[22] == 63, "one hop fewer"
    assert lab.kernel_forwarded() - before == (0 if lab.cube("fw")["forward-by"] == "XDP" else 10)


def test_what_xdp_cannot_send_the_kernel_does(lab: XdpLab) -> None:
    """The end of a packet's hops, which is answered; what is too long for the way out; IP options."""
    assert lab.ok("h1", "10.0.2.1")
    lab.chains(FORWARD=EVERYTHING)
    assert "Time to live exceeded" in run_in(lab.space("h1"), ["ping", "-n", "-c1", "-W1", "-t1", "10.0.2.1"], check=False)
    assert lab.stats("FORWARD")["0"] == 0, "with iptables it does not come so far either"
    run_in(None, ["ip", "link", "set", "v2", "mtu", "1000"])
    said = run_in(lab.space("h1"), ["ping", "-n", "-c1", "-W1", "-s", "1200", "-M", "do", "10.0.2.1"], check=False)
    assert "needed" in said, said
    assert " 1 received" in run_in(lab.space("h1"), ["ping", "-n", "-c1", "-W2", "-R", "10.0.2.1"])


def test_a_connection_of_tcp_passes_and_is_followed(lab: XdpLab) -> None:
    lab.chains(INPUT=DROPS, FORWARD={"default": "DROP", "rule": [
        {"conntrack": "ESTABLISHED"}, {"in-iface": "v1", "l4proto": "TCP", "dport": 7000, "conntrack": "NEW"}]})  # fmt: skip
    assert tcp_exchange(lab.space("h1"), lab.space("h2"), "10.0.2.1", 7000)
    assert lab.stats("FORWARD")["1"] == 1


def test_ipv6_takes_the_same_ways(hook: str) -> None:
    with XdpLab(hook, TEXT6, ipv6="ON", **{"forward-by": "XDP"}) as lab:
        run_in(None, ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
        solicitations = [{"l4proto": "ICMPV6", "icmp-type": kind} for kind in (135, 136)]
        assert any(lab.ok("h1", "fd02::1") for _ in range(5))
        lab.chains(INPUT={"default": "DROP", "rule": solicitations}, FORWARD=EVERYTHING)
        with lab.sniff("h2") as far:
            assert lab.ok("h1", "fd02::1", 3)
            request = far.next(2, lambda found: found[12:14] == b"\x86\xdd" and found[20] == 58 and found[54] == 128)
        assert request is not None
        assert request[21] == 63, "one hop fewer"
        assert lab.stats("FORWARD")["0"] == 6
        assert lab.fails("h1", "fd01::254")
        lab.chains(FORWARD=DROPS)
        assert lab.fails("h1", "fd02::1")
