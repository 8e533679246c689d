"""Rules of a bridge that no schema can express: how the VLANs of ports and of entries relate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.bridge.settings import Port, port_of
from cubes.lib.macs import is_station
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]


def check(config: Mapping[str, Any], env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    ports = [port_of(said) for said in config.get("ports", ())]
    for number, port in enumerate(ports):
        yield from _trunk(port, ("ports", number, "trunk"))
        if port.mac and not is_station(port.mac):
            yield ("ports", number, "mac"), f"{port.mac} is no MAC address of a station", "error"
        for at, each in enumerate(config["ports"][number].get("stp", ())):
            if not port.carries(each["vlan"]):
                yield ("ports", number, "stp", at, "vlan"), f"port {port.name} does not carry VLAN {each['vlan']}", "error"
    yield from _trees(config, ports)
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


def _trees(config: Mapping[str, Any], ports: list[Port]) -> Iterator[Said]:
    for number, entry in enumerate(config.get("stp", ())):
        if not any(port.carries(entry["vlan"]) for port in ports):
            yield ("stp", number, "vlan"), f"no port carries VLAN {entry['vlan']}", "error"
        if entry["max-message-age"] < 2 * (entry["hello-time"] + 1):
            said = "it must be at least twice the hello time and 2 seconds (802.1D 17.14)"
            yield ("stp", number, "max-message-age"), said, "error"
    if not config.get("stp-enabled"):
        return
    if "stp" in config.get("forward-group", ()):
        yield ("forward-group",), "BPDUs are this bridge's own business while spanning tree is on here (stp-enabled)", "error"
    for number, port in enumerate(ports):
        if port.all_vlans:
            said = "VLANs that no port names, and that have no 'stp' entry, have no spanning tree and are not forwarded"
            yield ("ports", number, "trunk", "allow-all"), said, "warning"


def _entry(entry: Mapping[str, Any], ports: Mapping[str, Port], path: tuple[str | int, ...]) -> Iterator[Said]:
    if not is_station(entry["mac"]):
        yield (*path, "mac"), f"{entry['mac']} is no MAC address of a station", "error"
    port = ports.get(entry["port"])
    if port is not None and not port.carries(entry["vlan"]):
        yield (*path, "vlan"), f"port {port.name} does not carry VLAN {entry['vlan']}", "error"

