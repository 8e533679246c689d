"""What a bridge's configuration declares of its ports and VLANs, with what follows from it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cubes.bridge.tree import PortSettings, Settings
from cubes.lib.macs import default_mac

DEFAULT_NATIVE = 1
_TIMES = (("hello-time", 2), ("max-message-age", 20), ("forward-delay", 10))

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Port:
    """A port as it is written. `allowed` are the VLANs that it names. `native` is the VLAN of frames without a tag, 0 if they are
    dropped; `said_native` what was written, 0 if nothing was. `costs` are (path cost, priority) by VLAN."""

    name: str
    trunk: bool
    allowed: frozenset[int]
    all_vlans: bool
    native: int
    said_native: int
    native_enabled: bool
    mac: str
    peer: str = ""
    edge: bool = False
    guard: bool = False
    shared: bool = False
    costs: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def carries(self, vlan: int) -> bool:
        return self.all_vlans or vlan in self.allowed


    def identity(self, cube: str) -> int:
        """Never 0; another one where the port points elsewhere."""
        return zlib.crc32(f"{cube}:{self.name}:{self.peer}".encode()) | 1


def port_of(said: Config) -> Port:
    costs = {int(at["vlan"]): (int(at.get("path-cost", 4)), int(at.get("port-priority", 128))) for at in said.get("stp", ())}
    edge, guard = bool(said.get("edge-port", False)), bool(said.get("bpdu-guard", False))
    more = str(said.get("mac", "")), str(said.get("peer", "")), edge, guard, not said.get("point-to-point", True), costs
    name = str(said["name"])
    if said.get("mode", "access") == "access":
        vlan = int(said.get("access", {}).get("vlanid", 1))
        return Port(name, False, frozenset({vlan}), False, vlan, 0, True, *more)
    trunk = said.get("trunk", {})
    allowed = frozenset(int(entry["vlanid"]) for entry in trunk.get("allowed", ()))
    every, enabled = bool(trunk.get("allow-all", False)), bool(trunk.get("native-vlan-enabled", True))
    written = int(trunk.get("native-vlan", 0))
    native = written or DEFAULT_NATIVE
    used = enabled and (every or native in allowed)
    return Port(name, True, allowed, every, native if used else 0, written, enabled, *more)


def ports_of(config: Config) -> Iterator[Port]:
    return map(port_of, config.get("ports", ()))


def trees(config: Config, cube: str, indices: Mapping[str, int]) -> dict[int, Settings]:
    """The spanning trees by VLAN: of those that a port names, or that have an entry. None where they are off."""
    if not config.get("stp-enabled", False):
        return {}
    said = {int(entry["vlan"]): entry for entry in config.get("stp", ())}
    ports = [port for port in ports_of(config) if port.name in indices]
    vlans = said.keys() | {vlan for port in ports for vlan in port.allowed | ({port.native} if port.native else set())}
    address = int(str(config.get("mac") or default_mac(cube, "")).replace(":", ""), 16)
    rapid = config.get("stp-version", "stp") == "rstp"
    return {vlan: _tree(said.get(vlan, {}), vlan, address, rapid, ports, indices) for vlan in sorted(vlans)}


def _tree(said: Config, vlan: int, address: int, rapid: bool, ports: list[Port], indices: Mapping[str, int]) -> Settings:
    own = {
        port.name: PortSettings(indices[port.name] + 1, *port.costs.get(vlan, (4, 128)), port.edge, port.shared)
        for port in ports
        if port.carries(vlan)
    }
    hello, age, delay = (float(said.get(leaf, usual)) for leaf, usual in _TIMES)
    return Settings(address, int(said.get("priority", 32768)), rapid, hello, age, delay, own)
