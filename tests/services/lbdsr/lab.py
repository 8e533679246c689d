"""A load balancer with direct return, between a client's side (h1) and the backends' side (h2), into which frames are put without a wire."""
from __future__ import annotations

from typing import Any

from cubes.lib.macs import default_mac
from tests.lib.scapy_packets import TCP, UDP, Ether, Packet, Raw
from tests.services.lbrp.lab import CLIENT_MAC, LbLab

OWN_MAC = "02:00:00:00:aa:01"
FROM_MAC = default_mac("lb", "backend")
SCENARIO = f"""
hosts: {{h1: 192.0.2.1/24, h2: 192.0.2.254/24}}
cubes:
  - name: lb
    service-name: lbdsr
    ports:
      - {{name: front, peer: v1, type: FRONTEND}}
      - {{name: back, peer: v2, type: BACKEND}}
    frontend: {{mac: "{OWN_MAC}"}}
"""


def mac_of(number: int) -> str:
    return f"02:00:00:00:bb:{number:02x}"


class DsrLab(LbLab):
    def __init__(self, *, hook: str = "TC", family: int = 4) -> None:
        super().__init__(hook=hook, family=family, text=SCENARIO)
        tunnels = {"tunnel-ip": "10.9.0.1", "tunnel-ipv6": "2001:db8:9::1"}
        self.cube("lb")["frontend"] |= {"vip": self.vip(), **tunnels}

    def pool(self, *numbers: int, **leaves: Any) -> list[dict[str, Any]]:
        """The backends of frontend/vip; gives them, to be changed."""
        pool = [{"id": number, "mac": mac_of(number), **leaves} for number in numbers]
        self.cube("lb")["backend"] = {"pool": pool}
        return pool

    def ask(self, *, client: int = 1, sport: int = 5000, vip: int = 1, vport: int = 80, proto: str = "TCP", flags: str = "S", payload: bytes = b"") -> Packet:
        carried = TCP(sport=sport, dport=vport, flags=flags) if proto == "TCP" else UDP(sport=sport, dport=vport)
        return Ether(src=CLIENT_MAC, dst=OWN_MAC) / self.ip(self.client(client), self.vip(vip)) / carried / Raw(payload)

    def taken(self, **said: Any) -> str:
        """The MAC of the backend that gets a packet; '': dropped."""
        found = self.request(**said)
        return found.dst if found is not None else ""
