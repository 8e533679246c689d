"""Rules that no schema can express about the services of a load balancer, and their backends."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cubes.lib import maglev
from cubes.lib.balancer import ring_size, shares
from reconciler.service.sdk import EntryMemo, Owned, Sums

Said = tuple[tuple[str | int, ...], str, str]
Config = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MOST = {"service": 65536, "backend": 262144, "source-range": 65536}  # rows of the tables in bpf/lib/balancer.h
MOST_PAGES = 262144  # of rings, in bpf/lib/maglev.h
MOST_OF_ONE = 16384  # backends of a service: a ring has at least four slots for each


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is wrong with a service alone; what it claims, (virtual address, port, protocol) each; and its room in tables."""

    said: tuple[Said, ...]
    proto: str
    claims: tuple[tuple[str, int, str], ...]
    backends: int
    ranges: int
    pages: int


def check_services(services: Sequence[Any]) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong with its services, or has no effect."""
    checked = _OF_SERVICES().each(services, lambda _, service: _checked(service))
    backends, ranges, pages, words, whole = _SUMS().of(checked) or (0,) * 5
    if words:
        for place, one in enumerate(checked):
            for steps, sentence, severity in one.said:
                yield ("service", place, *steps), sentence, severity
    if whole:
        yield from _claims(checked)
    yield from _room({"service": len(services), "backend": backends, "source-range": ranges}, pages)


def _claims(checked: Sequence[_Checked]) -> Iterator[Said]:
    """One port of one protocol is one service's. Two need one of proto ALL, since both are in the list's key."""
    seen: dict[tuple[str, int, str], str] = {}
    for place, one in enumerate(checked):
        for claim in one.claims:
            if (other := seen.setdefault(claim, one.proto)) != one.proto:
                vip, vport, word = claim
                yield ("service", place, "proto"), f"{word} on {vip} {vport} is in the service with proto {other} too", "error"


_OF_SERVICES: Owned[EntryMemo[_Checked]] = Owned(EntryMemo)
_SUMS = Owned(lambda: Sums(lambda one: (one.backends, one.ranges, one.pages, len(one.said), int(one.proto == "ALL"))))


def _checked(service: Config) -> _Checked:
    """Echo requests belong to the ICMP service, or else to the first one with ALL: they are not part of its claims."""
    words = ("TCP", "UDP") if service["proto"] == "ALL" else (service["proto"],)
    claims = tuple((service["vip"].lower(), service["vport"], word) for word in words)
    pages = -(-ring_size(service) // maglev.PAGE)
    backends, ranges = len(service.get("backend", ())), len(service.get("source-range", ()))
    return _Checked(tuple(_service(service)), service["proto"], claims, backends, ranges, pages)


def _service(service: Config) -> Iterator[Said]:
    vip = ipaddress.ip_address(service["vip"])
    if sentence := _unfit(vip):
        yield ("vip",), f"{vip} {sentence}", "error"
    if service["proto"] == "ICMP" and service["vport"] != 0:
        yield ("vport",), f"a service with proto ICMP has vport 0, not {service['vport']}", "error"
    if service["proto"] != "ICMP" and service["vport"] == 0:
        yield ("vport",), f"a service with proto {service['proto']} needs a port: 0 is none", "error"
    yield from _backends(service, vip)
    for place, said in enumerate(service.get("source-range", ())):
        network = ipaddress.ip_network(said, strict=False)
        if network.version != vip.version:
            yield ("source-range", place), f"{said} holds no client of {vip}: the families differ", "error"


def _backends(service: Config, vip: Address) -> Iterator[Said]:
    backends = service.get("backend", ())
    for place, backend in enumerate(backends):
        address = ipaddress.ip_address(backend["ip"])
        if address.version != vip.version:
            yield ("backend", place, "ip"), f"{address} is no backend for {vip}: the families differ", "error"
        elif sentence := _unfit(address):
            yield ("backend", place, "ip"), f"{address} {sentence}", "error"
        if service["proto"] != "ICMP" and backend["port"] == 0:
            yield ("backend", place, "port"), "0 is no port that a server listens on", "error"
    if backends and all(not backend.get("weight", 1) for backend in backends):
        yield ("backend", 0, "weight"), "all backends have weight 0, so none gets a new flow", "error"
    elif backends and not any(shares(service)):
        yield ("backend", 0, "state"), "no backend is ACTIVE with a weight, so none gets a new flow", "warning"
    elif not backends:
        yield (), "the service has no backend", "warning"
    if len(backends) > MOST_OF_ONE:
        yield ("backend", MOST_OF_ONE), f"a service has {MOST_OF_ONE} backends at most, and this has {len(backends)}", "error"


def _unfit(address: Address) -> str:
    if address.is_multicast or address.is_loopback or address.is_unspecified or (address.version == 4 and address.is_reserved):
        return "is no address that a server can have"
    if address.version == 6 and (address.ipv4_mapped or address.is_link_local):
        return "is no address that a server can have here: it is link-local, or IPv4 in IPv6's notation"
    return ""


def _room(counts: Mapping[str, int], pages: int) -> Iterator[Said]:
    for what, count in counts.items():
        if count > MOST[what]:
            yield ("service",), f"{count} entries of {what} are more than the {MOST[what]} that a load balancer holds", "error"
    if pages > MOST_PAGES:
        sentence = f"the rings take {pages} pages of {maglev.PAGE} slots, and a load balancer holds {MOST_PAGES} (see ring-size)"
        yield ("service",), sentence, "error"
