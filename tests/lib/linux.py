"""A Linux bridge or router between two hosts that have the addresses and MACs of a lab's h1 and h2: the same frames go
through it and through pcn, in one run, and what arrives is compared.

    with Linux(lab, "router") as linux:
        linux.send("h1", frame)
"""
from __future__ import annotations

import contextlib
import time
from pathlib import Path

from reconciler.kernel import netlink, netns
from reconciler.model import LinkEnd, Route
from tests.lib import packets
from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in, settle

PORTS = {"h1": "w1", "h2": "w2"}
_QUIET = {"disable_ipv6": 0, "accept_dad": 0, "accept_ra": 0, "router_solicitations": 0}


class Linux:
    """`kind`: bridge or router. A router's ports have the addresses that are given, {"h1": ["10.0.1.254/24"], …}, and MACs."""

    def __init__(self, lab: Lab, kind: str, addresses: dict[str, list[str]] | None = None, macs: dict[str, str] | None = None) -> None:
        self.lab, self.kind, self.addresses, self.macs = lab, kind, addresses or {}, macs or {}
        self.middle = lab.world.namespace("lx")

    def __enter__(self) -> Linux:
        for host in PORTS:
            self._host(host)
        if self.kind == "bridge":
            run_in(self.middle, ["ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0"])
            for port in PORTS.values():
                run_in(self.middle, ["ip", "link", "set", port, "master", "br0"])
            netlink.configure(LinkEnd("br0", self.middle))
        else:
            with netns.inside(self.middle):
                for leaf in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                    Path("/proc/sys/net", leaf).write_text("1")
        self._warm()
        return self

    def _warm(self) -> None:
        """All that is needed to go from h1 to h2 is known."""
        said = self.lab.hosts["h2"]
        address = (said if isinstance(said, str) else said["addresses"][0]).partition("/")[0]
        deadline = time.monotonic() + 6
        while packets.ping(self.space("h1"), address, 2, timeout=0.5) < 2:
            assert time.monotonic() < deadline, "Linux does not reach h2"

    def __exit__(self, *_: object) -> None:
        """All of it is in namespaces of the lab's world, and goes with them."""

    def _host(self, host: str) -> None:
        space, port = self.lab.world.namespace(f"l{host}"), PORTS[host]
        for each in (space, self.middle):
            _quiet(each)
        self.lab.world.wire(port, "eth0", space, near_netns=self.middle, mac=self.lab.mac(host))
        said = self.lab.hosts[host]
        end = {"addresses": [said]} if isinstance(said, str) else said
        routes = tuple(Route(route["to"], route["via"]) for route in end.get("routes", ()))
        if host in self.macs:
            run_in(self.middle, ["ip", "link", "set", port, "address", self.macs[host]])
        netlink.configure(LinkEnd(port, self.middle, tuple(self.addresses.get(host, ()))))
        netlink.configure(LinkEnd("eth0", space, tuple(end["addresses"]), routes))
        settle((port, self.middle), ("eth0", space))

    def space(self, host: str) -> str:
        return self.lab.world.name(f"l{host}")

    def send(self, host: str, *frames: bytes) -> None:
        packets.send_frames(self.space(host), "eth0", frames)

    def sniff(self, host: str) -> packets.Sniffer:
        return packets.sniff(self.space(host), "eth0")


def _quiet(space: str) -> None:
    with netns.inside(space), contextlib.suppress(FileNotFoundError):
        for scope in ("all", "default"):
            for leaf, value in _QUIET.items():
                Path(f"/proc/sys/net/ipv6/conf/{scope}/{leaf}").write_text(str(value))
