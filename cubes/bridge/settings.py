"""What a bridge's configuration says of its ports and VLANs, with what follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_NATIVE = 1

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Port:
    """A port as it is written. `allowed` are the VLANs that it names. `native` is the VLAN of frames without a tag, 0 if they are
    dropped; `said_native` what was written, 0 if nothing was."""

    name: str
    trunk: bool
    allowed: frozenset[int]
    all_vlans: bool
    native: int
    said_native: int
    native_enabled: bool
    mac: str

    def carries(self, vlan: int) -> bool:
        return self.all_vlans or vlan in self.allowed


def port_of(said: Config) -> Port:
    name, mac = str(said["name"]), str(said.get("mac", ""))
    if said.get("mode", "access") == "access":
        vlan = int(said.get("access", {}).get("vlanid", 1))
        return Port(name, False, frozenset({vlan}), False, vlan, 0, True, mac)
    trunk = said.get("trunk", {})
    allowed = frozenset(int(entry["vlanid"]) for entry in trunk.get("allowed", ()))
    every, enabled = bool(trunk.get("allow-all", False)), bool(trunk.get("native-vlan-enabled", True))
    written = int(trunk.get("native-vlan", 0))
    native = written or DEFAULT_NATIVE
    used = enabled and (every or native in allowed)
    return Port(name, True, allowed, every, native if used else 0, written, enabled, mac)


def ports_of(config: Config) -> Iterator[Port]:
    return map(port_of, config.get("ports", ()))


def derived_mac(*names: str) -> str:
    """A locally administered station's address; the same for the same names everywhere."""
    return ":".join(f"{byte:02x}" for byte in (2, *hashlib.sha256(":".join(names).encode()).digest()[:5]))
