"""Rules of the forwarder that no schema can express: which conditions fit together, and how values are spelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.pbforwarder.rules import ETHERTYPES, PROTOCOLS, SETS, WITH_PORTS, address, mac, prefix_length, protocol, span
from reconciler.service.sdk import EntryMemo, Owned

Said = tuple[tuple[str | int, ...], str, str]
Leaves = Mapping[str, Any]
_FOUND: Owned[EntryMemo[tuple[tuple[str, str], ...]]] = Owned(EntryMemo)


def problems(config: Mapping[str, Any]) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning")."""
    entries = config.get("rules", [])
    for place, some in enumerate(_FOUND().each(entries, lambda _, entry: tuple(_of(entry)))):
        for leaf, sentence in some:
            yield ("rules", place, leaf), sentence, "error"


def _of(entry: Leaves) -> Iterator[tuple[str, str]]:
    families, wrong = _families(entry)
    yield from wrong
    proto = protocol(entry.get("l4_proto"))
    if len(set(families)) > 1:
        yield "dst_ip", "source and destination are of different families"
        return
    family = families[0] if families else None
    if family and entry.get("ethertype", ETHERTYPES[family]) != ETHERTYPES[family]:
        yield "ethertype", f"the addresses are IPv{family}, whose EtherType is {ETHERTYPES[family]}"
    if isinstance(entry.get("l4_proto"), int) and proto in PROTOCOLS.values():
        yield "l4_proto", f"protocol {proto} is written {next(name for name, code in PROTOCOLS.items() if code == proto)}"
    for leaf in ("src_mac", "dst_mac"):
        yield from _of_mac(leaf, entry[leaf]) if leaf in entry else ()
    for leaf in ("src_port", "dst_port"):
        yield from _of_ports(leaf, entry[leaf], proto) if leaf in entry else ()
    yield from _of_action(entry, family, proto)


def _families(entry: Leaves) -> tuple[list[int], list[tuple[str, str]]]:
    families: list[int] = []
    wrong: list[tuple[str, str]] = []
    for leaf in ("src_ip", "dst_ip"):
        if leaf not in entry:
            continue
        try:
            found = address(entry[leaf])
        except ValueError as error:
            wrong.append((leaf, str(error)))
            continue
        families.append(found.family)
        length = prefix_length(found.mask[12:] if found.family == 4 else found.mask)
        rest = entry[leaf].partition("/")[2]
        if length is not None and rest and not rest.isdigit():
            wrong.append((leaf, f"the mask is a prefix's, and is written /{length}"))
        elif any(value & ~mask for value, mask in zip(found.value, found.mask, strict=True)):
            wrong.append((leaf, "the address has bits set that its length or mask leaves out"))
    return families, wrong


def _of_mac(leaf: str, text: str) -> Iterator[tuple[str, str]]:
    value, mask = mac(text)
    if "/" in text and mask == b"\xff" * 6:
        yield leaf, "a mask of all bits is left out"
    elif any(byte & ~bits for byte, bits in zip(value, mask, strict=True)):
        yield leaf, "the address has bits set that its mask leaves out"


def _of_ports(leaf: str, said: str | int, proto: int | None) -> Iterator[tuple[str, str]]:
    if proto not in WITH_PORTS:
        yield leaf, "a port needs l4_proto TCP, UDP or SCTP"
    low, high = span(said)
    if high > 65535 or low > high:
        yield leaf, f"{said} is no range of ports"
    elif isinstance(said, str) and (low == high or said != f"{low}-{high}"):
        yield leaf, f"{said} is written {low}" + (f"-{high}" if low != high else "")


def _of_action(entry: Leaves, family: int | None, proto: int | None) -> Iterator[tuple[str, str]]:
    forwards = entry.get("action", "DROP") == "FORWARD"
    if forwards and "out_port" not in entry:
        yield "action", "FORWARD needs an out_port"
    for leaf in SETS:
        if entry.get(leaf) and not forwards:
            yield leaf, "only what is forwarded can be changed: action is not FORWARD"
    if family is None:
        family = next((number for number, code in ETHERTYPES.items() if code == entry.get("ethertype")), None)
    for leaf in ("set_src_ip", "set_dst_ip"):
        if leaf in entry and family != (6 if ":" in entry[leaf] else 4):
            yield leaf, "the rule must ask for this address's family, by src_ip, dst_ip or ethertype"
    for leaf in ("set_src_port", "set_dst_port"):
        if leaf in entry and proto not in (6, 17):
            yield leaf, "a port can be set where l4_proto is TCP or UDP"
    if entry.get("pop_vlan") and "set_vlan" in entry:
        yield "set_vlan", "the tag is taken off by pop_vlan; push_vlan puts another one on"
