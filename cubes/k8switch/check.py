"""Rules of a switch of pods that no schema can express: which networks, ports and services fit together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.balancer_check import check_services
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]
Config = Mapping[str, Any]
FAMILIES = (
    ("cluster-ip-subnet", "client-subnet", "virtual-client-subnet"),
    ("cluster-ipv6-subnet", "client-ipv6-subnet", "virtual-client-ipv6-subnet"),
)
FEWEST = 8  # addresses of a virtual network


def check(config: Config, env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    for leaves in FAMILIES:
        yield from _networks(config, leaves)
    yield from check_services(config.get("service", ()))
    kinds = [place for place, port in enumerate(config.get("ports", ())) if port.get("type") == "NODEPORT"]
    if kinds and not config.get("service"):
        yield ("ports", kinds[0], "type"), "there is no service, so nothing is answered by a NODEPORT port", "warning"


def _networks(config: Config, leaves: tuple[str, str, str]) -> Iterator[Said]:
    said = {leaf: ipaddress.ip_network(config[leaf], strict=False) for leaf in leaves if leaf in config}
    _, client, virtual = leaves
    for leaf, network in said.items():
        if ipaddress.ip_interface(config[leaf]).ip != network.network_address:
            yield (leaf,), f"{config[leaf]} has bits behind its prefix: {network} is the network", "error"
        if not network.prefixlen:
            yield (leaf,), f"{config[leaf]} is all addresses, and no network", "error"
    seen = list(said)
    for place, leaf in enumerate(seen):
        for other in seen[:place]:
            if said[leaf].overlaps(said[other]):
                yield (leaf,), f"{said[leaf]} overlaps {other}, {said[other]}", "error"
    if virtual in said and client not in said:
        yield (virtual,), f"it needs {client}: without it no address is a pod's", "error"
    if virtual in said and client in said and said[virtual].prefixlen != said[client].prefixlen:
        yield (virtual,), f"/{said[virtual].prefixlen} is not as long as /{said[client].prefixlen} of {client}", "error"
    if virtual in said and said[virtual].num_addresses < FEWEST:
        yield (virtual,), f"{said[virtual]} has fewer than {FEWEST} addresses", "error"
