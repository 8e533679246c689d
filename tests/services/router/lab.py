"""Scenarios with routers, written down once for IPv4 and run again over IPv6.

    with RouterLab(SCENARIO, hook="TC", family=6) as lab:
        lab.apply()
        lab.reach("h1", "10.0.2.1")         # the address as the scenario has it

Over IPv6, 10.0.2.1/24 is fd00::a:0:2:1/112: an octet is a group, and all else is the same. No agent runs here, so a packet
whose next hop is not known yet is lost while the router asks for it; `reach` knocks before it counts.
"""
from __future__ import annotations

import ipaddress
import re
import time
from pathlib import Path
from typing import Any

from reconciler.kernel import netns
from reconciler.plan.steps import Step
from tests.lib import packets
from tests.lib.lab import Lab

_LITERAL = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)(?:/(\d+))?")
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
NO_ROUTE = {4: (3, 0), 6: (1, 0)}
NO_PORT = {4: (3, 3), 6: (1, 4)}
ECHO_REPLY = {4: (0, 0), 6: (129, 0)}


def sixth(text: str) -> str:
    """An IPv4 address or prefix as IPv6; anything else stays."""
    match = _LITERAL.fullmatch(text)
    if match is None:
        return "::/0" if text == "default" else text
    *octets, length = match.groups()
    if text == "0.0.0.0/0":
        return "::/0"
    address = str(ipaddress.IPv6Address("fd00::" + ":".join(f"{int(octet):x}" for octet in octets)))
    if length is None:
        return address
    whole, rest = divmod(int(length), 8)
    return f"{address}/{64 + 16 * whole + (8 + rest if rest else 0)}"


def _over_ipv6(said: Any) -> Any:
    if isinstance(said, dict):
        found = {name: _over_ipv6(value) for name, value in said.items()}
        if "name" in said and "ip" in found:  # a port's own; a secondary one is `ip` in either family
            found["ipv6"] = found.pop("ip")
        return found
    if isinstance(said, list):
        return [_over_ipv6(entry) for entry in said]
    return sixth(said) if isinstance(said, str) else said


class RouterLab(Lab):
    """A lab whose hosts speak both families; addresses are given as in the text and mean those of `family`."""

    def __init__(self, text: str, *, hook: str = "TC", family: int = 4) -> None:
        super().__init__(text, hook=hook)
        self.family = family
        if family == 6:
            self.spec, self.hosts = _over_ipv6(self.spec), _over_ipv6(self.hosts)

    def said(self, text: str) -> str:
        return sixth(text) if self.family == 6 else text

    def reach(self, host: str, address: str) -> None:
        """The address answers, and then every time."""
        deadline = time.monotonic() + 6
        while not packets.ping(self.space(host), self.said(address), 1, timeout=0.2):
            assert time.monotonic() < deadline, f"{host} does not reach {self.said(address)}"
        assert packets.ping(self.space(host), self.said(address), 3) == 3, f"{host} does not always reach {self.said(address)}"

    def lacks(self, host: str, address: str) -> None:
        answer = self.answer(host, address, timeout=0.3)
        assert answer is None or answer[:2] != ECHO_REPLY[self.family], f"{host} reaches {address}"

    def cycle(self, hosts: dict[str, str]) -> None:
        """Every host reaches every other; `hosts` by name with their addresses."""
        for host in hosts:
            for other, address in hosts.items():
                if other != host:
                    self.reach(host, address)

    def answer(self, host: str, address: str, *, ttl: int = 64, timeout: float = 1.0) -> tuple[int, int, str] | None:
        return packets.icmp_answer(self.space(host), self.said(address), ttl=ttl, timeout=timeout)

    def trace(self, host: str, address: str) -> list[str]:
        """The hops on the way, as a traceroute names them."""
        hops = []
        for ttl in range(1, 9):
            answer = self.answer(host, address, ttl=ttl)
            hops.append(answer[2] if answer else "*")
            if answer is None or answer[:2] == ECHO_REPLY[self.family]:
                break
        return hops

    def fib(self, cube: str) -> dict[str, tuple[str, str, str]]:
        """What packets are sent by: {network: (kind, port, via)}, of this family."""
        found = self.live_cube(cube, state=True)["fib"]
        mine = [entry for entry in found if (":" in entry["network"]) == (self.family == 6)]
        return {entry["network"]: (entry["kind"], entry["port"], entry["via"]) for entry in mine}

    def neighbours(self, cube: str) -> dict[str, tuple[str, str]]:
        """Those that are known, without link-local ones: {address: (port, mac)}."""
        found = self.live_cube(cube, state=True).get("arp-table", [])
        return {
            entry["address"]: (entry["interface"], entry["mac"]) for entry in found if not entry["address"].startswith("fe80")
        }

    def _before(self, _number: int, step: Step) -> None:
        """Hosts keep IPv6, but use their addresses at once and ask for no routers."""
        if step.operation.kind == "create_link":
            for name in {self.space(host) for host in self.hosts} - self._quiet:
                if netns.exists(name):
                    self._quiet.add(name)
                    with netns.inside(name):
                        for scope in ("all", "default"):
                            for leaf, value in (("accept_dad", 0), ("accept_ra", 0), ("router_solicitations", 0)):
                                Path(f"/proc/sys/net/ipv6/conf/{scope}/{leaf}").write_text(str(value))
