"""The scenario of C22: a router between h1, inside, and h2, outside, and a nat on the router's port towards h2.

    with NatLab(hook="TC") as lab:
        lab.apply()
        lab.rules(masquerade={"enabled": True}, dnat=[{"id": 1, …}])
        lab.sessions()                    # what its table says
"""
from __future__ import annotations

import select
import socket
import time
from typing import Any

from reconciler.kernel import netns, offload
from tests.services.router.lab import RouterLab

TEXT = """
hosts:
  h1: {addresses: [10.0.1.1/24, "fd01::1/64"], routes: [{to: default, via: 10.0.1.254}, {to: "::/0", via: "fd01::fe"}]}
  h2: {addresses: [10.0.2.1/24, "fd02::1/64"], routes: [{to: default, via: 10.0.2.254}, {to: "::/0", via: "fd02::fe"}]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: to_v1, peer: v1, ip: 10.0.1.254/24, ipv6: "fd01::fe/64"}
      - {name: to_v2, peer: v2, ip: 10.0.2.254/24, ipv6: "fd02::fe/64", tcubes: [nat1]}
  - {name: nat1, service-name: nat}
"""


class NatLab(RouterLab):
    """Both families at once. `settings` are leaves of the nat, with '_' for '-'."""

    def __init__(self, text: str = TEXT, *, hook: str = "TC", **settings: Any) -> None:
        super().__init__(text, hook=hook)
        self.cube("nat1").update({name.replace("_", "-"): value for name, value in settings.items()})
        self._offloaded = False

    def __enter__(self) -> NatLab:
        super().__enter__()
        return self

    def apply(self) -> Any:
        result = super().apply()
        if self.hook != "TC" and not self._offloaded:
            for host in self.hosts:  # what XDP redirects over a veth arrives only so
                offload.put("eth0", "gro", True, self.space(host))
                offload.put("eth0", "tx-checksum", False, self.space(host))
            self._offloaded = True
        return result

    def rules(self, **said: Any) -> Any:
        """Set all rules: a list is a list of entries, a mapping is masquerade's leaves."""
        self.cube("nat1")["rule"] = {name: {"entry": value} if isinstance(value, list) else value for name, value in said.items()}
        return self.apply()

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.live_cube("nat1", state=True)["natting-table"]
        return found

    def udp_error(self, host: str, address: str, port: int, timeout: float = 1.0) -> tuple[int, int, str] | None:
        """Type, code and source of the ICMP error that a datagram of this host brings, as its socket is told."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        level, option = (socket.IPPROTO_IPV6, 25) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 11)  # RECVERR
        with netns.inside(self.space(host)), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(level, option, 1)
            sock.sendto(b"anybody?", (address, port))
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                select.select([], [], [sock], 0.05)
                try:
                    _, extras, _, _ = sock.recvmsg(512, 512, socket.MSG_ERRQUEUE)
                except BlockingIOError:
                    continue
                except OSError:
                    continue
                for _, _, data in extras:
                    kind, code = data[5], data[6]
                    sender = data[16 + 4 : 16 + 8] if family == socket.AF_INET else data[16 + 8 : 16 + 24]
                    return kind, code, socket.inet_ntop(family, sender)
        return None
