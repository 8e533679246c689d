"""What no schema can say of a bridge: which VLANs its ports and entries have to do with one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.bridge.settings import Port, port_of
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]


def check(config: Mapping[str, Any], env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    ports = [port_of(said) for said in config.get("ports", ())]
    for number, port in enumerate(ports):
        yield from _trunk(port, ("ports", number, "trunk"))
        if port.mac and not _is_station(port.mac):
            yield ("ports", number, "mac"), f"{port.mac} is no MAC address of a station", "error"
    by_name = {port.name: port for port in ports}
    for number, entry in enumerate(config.get("fdb", {}).get("entry", ())):
        yield from _entry(entry, by_name, ("fdb", "entry", number))


def _trunk(port: Port, path: tuple[str | int, ...]) -> Iterator[Said]:
    if not port.trunk:
        return
    if port.all_vlans and port.allowed:
        yield (*path, "allowed"), "the port carries all VLANs (allow-all), so none is to be named", "error"
    elif not port.all_vlans and not port.allowed:
        yield path, "the port carries no VLAN: it has neither 'allowed' nor 'allow-all'", "warning"
    if port.said_native and not port.carries(port.said_native):
        yield (*path, "native-vlan"), f"VLAN {port.said_native} is none that the port carries", "error"


def _entry(entry: Mapping[str, Any], ports: Mapping[str, Port], path: tuple[str | int, ...]) -> Iterator[Said]:
    if not _is_station(entry["mac"]):
        yield (*path, "mac"), f"{entry['mac']} is no MAC address of a station", "error"
    port = ports.get(entry["port"])
    if port is not None and not port.carries(entry["vlan"]):
        yield (*path, "vlan"), f"port {port.name} does not carry VLAN {entry['vlan']}", "error"


def _is_station(mac: str) -> bool:
    return not int(mac[:2], 16) & 1 and any(c not in "0:" for c in mac)
