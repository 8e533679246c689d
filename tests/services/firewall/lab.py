"""The scenario of C15 to C21: a host, and a firewall on the wire between it and the lab's own stack.

    with FirewallLab(hook="TC") as lab:
        lab.chain("INGRESS", {"l4proto": "ICMP", "action": "ACCEPT"}, default="DROP")
        lab.apply()
        assert lab.in_ok()      # the host (h1, 10.0.0.1) reaches the stack (10.0.0.2): its packets are INGRESS
        assert lab.out_ok()     # the other way round

The neighbours know each other's MAC from the start, or the first ping that is to fail would fail for want of it.
"""
from __future__ import annotations

from typing import Any

from reconciler.engine.apply import ApplyResult
from reconciler.kernel import offload
from tests.lib import packets
from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in

HOOKS = ("TC", "XDP_DRV")  # generic XDP runs the same programs: C15 and tests/services/firewall/kernel/test_actions.py are for it
HOST, STACK = "10.0.0.1", "10.0.0.2"
TEXT = """
hosts:
  h1: {addresses: [10.0.0.1/24], mac: "02:00:00:00:00:01", here: {addresses: [10.0.0.2/24], mac: "02:00:00:00:00:02"}}
cubes:
  - {name: fw, service-name: firewall}
attachments: [{netdev: v1, tcubes: [fw]}]
"""


class FirewallLab(Lab):
    """`settings` are leaves of the firewall, with '_' for '-'. Both chains drop what no rule matches, unless told."""

    def __init__(self, *, hook: str = "TC", **settings: Any) -> None:
        super().__init__(TEXT, hook=hook)
        self.firewall = self.cube("fw")
        self.firewall |= {name.replace("_", "-"): value for name, value in settings.items()}
        self.firewall["chain"] = []
        self._acquainted = False

    def __enter__(self) -> FirewallLab:
        super().__enter__()
        return self

    def chain(self, name: str, *rules: dict[str, Any], default: str = "DROP", step: int = 1) -> None:
        """Set a chain's rules; ids follow from their order."""
        entries = [{"id": place * step, **rule} for place, rule in enumerate(rules)]
        others = [chain for chain in self.firewall["chain"] if chain["name"] != name]
        self.firewall["chain"] = [*others, {"name": name, "default": default, "rule": entries}]

    def rules(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = next(chain for chain in self.firewall["chain"] if chain["name"] == name)["rule"]
        return found

    def both(self, *rules: dict[str, Any], default: str = "DROP") -> None:
        for name in ("INGRESS", "EGRESS"):
            self.chain(name, *rules, default=default)

    def apply(self) -> ApplyResult:
        result = super().apply()
        if not self._acquainted:
            self._acquainted = True
            space = self.space("h1")
            if self.hook != "TC":  # what XDP sends back over a veth arrives only so (docs/services/firewall.md)
                offload.put("eth0", "gro", True, space)
                offload.put("eth0", "tx-checksum", False, space)
            run_in(space, ["ip", "neigh", "replace", STACK, "lladdr", "02:00:00:00:00:02", "dev", "eth0"])
            run_in(None, ["ip", "neigh", "replace", HOST, "lladdr", "02:00:00:00:00:01", "dev", "v1"])
        return result

    def in_ok(self) -> bool:
        return self.ok("h1", STACK)

    def in_fails(self) -> bool:
        return self.fails("h1", STACK)

    def out_ok(self) -> bool:
        return self.ok(None, HOST)

    def out_fails(self) -> bool:
        return self.fails(None, HOST)

    def stats(self, chain: str) -> dict[str, tuple[int, int]]:
        """(packets, bytes) by rule id, 'default' and 'established'; those that are zero are left out."""
        entries = next(found for found in self.live_cube("fw", state=True)["chain"] if found["name"] == chain)["stats"]
        return {entry["id"]: (entry["pkts"], entry["bytes"]) for entry in entries if entry["pkts"]}

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.live_cube("fw", state=True)["session-table"]
        return found

    def tcp(self, client: str | None, server: str | None, address: str, port: int) -> bool:
        """Whether a whole TCP connection works, both ways and to its end."""
        found = packets.tcp_exchange(self._where(client), self._where(server), address, port)
        return found is not None and found.reply == b"question"

    def udp(self, client: str | None, server: str | None, address: str, port: int, source: int) -> tuple[bool, bool]:
        """Whether a datagram arrived, and its answer."""
        found = packets.udp_exchange(self._where(client), self._where(server), address, port, source_port=source, timeout=0.4)
        return found is not None, found is not None and found.reply is not None

