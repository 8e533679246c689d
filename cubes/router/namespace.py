"""A router's network namespace, if it has one (`shadow`): how it is configured from the ports, and what Linux tools changed
in it.

The document's values are applied to the namespace once, and again when the document changes. From then on the addresses and
the MAC of a netdev there are the port's, whoever set them. Routes of the namespace are used in addition to those of the
document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.macs import default_mac
from cubes.router.fib import derive, ip_interface, own_addresses, routes

ON_LINK = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - the next hop of a route that has none, as `ip route add NETWORK dev PORT`

Config = Mapping[str, Any]


def namespace(config: Config, cube: str) -> dict[str, dict[str, Any]]:
    """The configuration of each port's netdev."""
    told: dict[str, dict[str, Any]] = {}
    for port in config.get("ports", ()):
        own = [str(each.interface) for each in own_addresses({"ports": [port]})]
        told[port["name"]] = {"mac": port.get("mac") or default_mac(cube, port["name"]), "addresses": own, "routes": []}
    known = zip(routes(config), derive(config).ways, strict=True)
    for route, (way, _) in sorted(known, key=lambda each: each[0].rank):  # the namespace takes the first of those to one network
        port = way if way is not None else route.interface
        if port in told:
            via = None if route.nexthop.is_unspecified else str(route.nexthop)
            told[port]["routes"].append({"to": str(route), "via": via})
    return told


def in_force(config: Config, facts: Mapping[str, Any], cube: str) -> Config:
    """The configuration with what is in the namespace in the place of what the document declares of ports."""
    seen: Mapping[str, Mapping[str, Any]] = facts.get("shadow", {})
    if not config.get("shadow") or not seen:
        return config
    ports = [_port(port, seen[port["name"]], cube) if port["name"] in seen else port for port in config.get("ports", ())]
    known = {(entry["network"], entry["nexthop"]) for entry in config.get("route", ())}
    names = [port["name"] for port in ports]
    own = [entry for name in names for entry in _routes(name, seen) if (entry["network"], entry["nexthop"]) not in known]
    return {**config, "ports": ports, "route": [*config.get("route", ()), *own]}


def _port(port: Config, seen: Mapping[str, Any], cube: str) -> Config:
    """The address that the document declares is the primary one, if it is there; else the first of its family."""
    said = [port[leaf] for leaf in ("ip", "ipv6") if leaf in port] + [entry["ip"] for entry in port.get("secondaryip", ())]
    found = [each for each in said if str(ip_interface(each)) in seen["addresses"]]
    found += [each for each in seen["addresses"] if each not in {str(ip_interface(known)) for known in found}]
    plain = {leaf: value for leaf, value in port.items() if leaf not in ("ip", "ipv6", "secondaryip", "mac")}
    secondary = []
    for each in found:
        leaf = "ip" if ip_interface(each).version == 4 else "ipv6"
        if leaf in plain:
            secondary.append({"ip": each})
        else:
            plain[leaf] = each
    plain |= {"secondaryip": secondary} if secondary else {}
    return plain | ({"mac": seen["mac"]} if "mac" in port or seen["mac"] != default_mac(cube, port["name"]) else {})


def _routes(port: str, seen: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for route in seen.get(port, {}).get("routes", ()):
        nexthop = route["via"] or ON_LINK[6 if ":" in route["to"] else 4]
        yield {"network": route["to"], "nexthop": nexthop, "interface": port, "pathcost": 1}
