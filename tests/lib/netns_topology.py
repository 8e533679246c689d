"""Hosts, wires and packets for kernel tests: real namespaces, real veths, and sockets opened inside them.

    with World() as world:
        h1, h2 = world.host("h1", "10.0.0.1/24"), world.host("h2", "10.0.0.2/24")
        ...join h1.port and h2.port...
        assert ping(h1.netns, h2.ip) == 2

All names carry a prefix of this process, so that it and its children do not meet; a World takes all it made away. No
processes are started for packets: a socket stays in the namespace it was opened in, whoever uses it.
"""
from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.kernel import netlink, netns, offload, rtnl
from reconciler.model import Link, LinkEnd, Route
from tests.lib import residue
from tests.lib.packets import Exchange, Sniffer, icmp_answer, ping, send_frames, sniff, tcp_exchange, udp_exchange

__all__ = [
    "Exchange",
    "Host",
    "NetnsTopology",
    "Sniffer",
    "icmp_answer",
    "ping",
    "run_in",
    "send_frames",
    "settle",
    "sniff",
    "tcp_exchange",
    "udp_exchange",
]  # fmt: skip

_ALIAS = "made by a test of pcn"
_serial = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """A namespace with one wire. `port` is the wire's other end, in the namespace that the test runs in."""

    netns: str
    device: str
    port: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def ip(self) -> str:
        """The first address, without its prefix length."""
        return self.addresses[0].partition("/")[0]

    @property
    def index(self) -> int:
        """The index of `port`."""
        return rtnl.links()[self.port].index


class NetnsTopology:
    """Everything that one test makes. `ipv6` keeps IPv6 on: off, a wire is silent until somebody sends something."""

    def __init__(self, *, ipv6: bool = False) -> None:
        self.prefix = residue.prefix(next(_serial))
        self.group = 0x40000000 + os.getpid() * 64
        self.bpffs = f"/sys/fs/bpf/pcn-{self.prefix}"
        self._ipv6 = ipv6
        self._netlink = netlink.Netlink()
        self._namespaces: list[str] = []
        self._ports: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> NetnsTopology:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def name(self, name: str) -> str:
        """`name` made unique on this machine; good for a netdev while it is at most 6 characters."""
        return f"{self.prefix}-{name}"

    def namespace(self, name: str) -> str:
        """A new, empty namespace; gives its full name."""
        full = self.name(name)
        netns.create(full)
        self._namespaces.append(full)
        if not self._ipv6:
            with netns.inside(full):
                for scope in ("all", "default"):
                    _sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
        return full

    def host(self, name: str, *addresses: str, gateway: str | None = None, mac: str | None = None, mtu: int | None = None,
             device: str = "eth0", gro: bool = False, tx_checksum: bool = True) -> Host:  # fmt: skip
        """A namespace with a wire to here: `device` in it, with the addresses and a default route, both ends up.

        For XDP on this side: `gro=True` (redirected frames arrive), `tx_checksum=False` (TCP connects); see kernel.offload.
        """
        space, port = self.namespace(name), self.name(name)
        self.wire(port, device, space, mac=mac, mtu=mtu)
        if gro:
            offload.put(device, "gro", True, space)
        if not tx_checksum:
            offload.put(device, "tx-checksum", False, space)
        routes = (Route("default", gateway),) if gateway else ()
        netlink.configure(LinkEnd(device, space, addresses, routes))
        netlink.configure(LinkEnd(port))
        settle((port, None), (device, space))
        return Host(space, device, port, rtnl.links(space)[device].mac, addresses)

    def wire(self, name: str, other: str, other_netns: str | None = None, *, near_netns: str | None = None,
             mac: str | None = None, mtu: int | None = None) -> None:  # fmt: skip
        """A veth from `name` here to `other`, both ends down (`kernel.netlink.configure` raises them), without IPv6 unless
        this world has it."""
        near, far = LinkEnd(name, near_netns, mtu=mtu, up=False), LinkEnd(other, other_netns, mtu=mtu, mac=mac, up=False)
        self._netlink.create_link(Link("veth", near, far), self.group, _ALIAS)
        if near_netns is None:
            self._ports.append(name)
            if not self._ipv6:
                _sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")

    def spawn(self, space: str | None, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a process inside a namespace, ended with this world."""
        with netns.inside(space):
            process = subprocess.Popen(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        netlink.delete_group(self.group, self._ports)
        for space in self._namespaces:
            netns.delete(space)
        self._netlink.close()
        self._processes, self._ports, self._namespaces = [], [], []


def settle(*ends: tuple[str, str | None]) -> None:
    """Make links that have just come up carry packets at once; (name, namespace) of both ends. See `rtnl.link`."""
    for name, space in ends:
        rtnl.link(name, space)


def run_in(space: str | None, argv: Sequence[str], *, timeout: float = 10, check: bool = True) -> str:
    """Run a command inside a namespace; gives what it printed. Raises CalledProcessError, TimeoutExpired."""
    with netns.inside(space):
        done = subprocess.run(argv, text=True, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr + done.stdout)
    return done.stdout


def _sysctl(name: str, value: str) -> None:
    with suppress(FileNotFoundError):
        Path("/proc/sys", name).write_text(value)
