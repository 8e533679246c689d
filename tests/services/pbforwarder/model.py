"""The forwarder as a list of rules that is walked from the top, over what scapy reads in a frame; and random rules and frames.

Scapy builds what a rewritten frame is to be, checksums included.
"""
from __future__ import annotations

import ipaddress
import random
from typing import Any, NamedTuple

from tests.lib.scapy_packets import (
    ARP,
    ICMP,
    IP,
    TCP,
    UDP,
    Dot1AD,
    Dot1Q,
    Ether,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    Packet,
    Raw,
    built,
)

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPV6": 58}
MACS = [f"02:00:00:00:0{a}:0{b}" for a in (0, 1) for b in (1, 2)]
V4 = [f"10.{a}.{b}.{c}" for a in (0, 1) for b in (0, 64) for c in (1, 2, 130)]
V6 = ["fd00::1", "fd00::2", "fd00:1::1", "fd00:1::2"]
PORTS = [22, 53, 79, 80, 81, 443, 1023, 1024, 8080, 65535]
VLANS = [None, None, 0, 10, 20]
MAGIC = b"\xb5pbf"

Rule = dict[str, Any]


class Fields(NamedTuple):
    src_mac: str
    dst_mac: str
    vlan: int
    ethertype: int
    src_ip: str | None
    dst_ip: str | None
    proto: int | None
    ports: tuple[int, int] | None


def fields(frame: bytes) -> Fields:
    whole = Ether(frame)
    layer: Packet = whole
    tags = []
    while isinstance(layer.payload, Dot1Q | Dot1AD):
        layer = layer.payload
        tags.append(int(layer.vlan))
    ip: Packet | None = layer.payload if isinstance(layer.payload, IP | IPv6) else None
    proto = ports = None
    if isinstance(ip, IP):
        proto = int(ip.proto)
        first = not ip.frag
    elif ip is not None:
        at, first = ip, True
        while isinstance(at.payload, IPv6ExtHdrHopByHop | IPv6ExtHdrDestOpt | IPv6ExtHdrFragment):
            at = at.payload
            first = first and not getattr(at, "offset", 0)
        proto = int(at.nh)
    carried = next((whole[kind] for kind in (TCP, UDP) if kind in whole), None) if ip is not None and first else None
    if carried is not None:
        ports = (int(carried.sport), int(carried.dport))
    src, dst = (str(ip.src), str(ip.dst)) if ip is not None else (None, None)
    return Fields(whole.src, whole.dst, tags[0] if tags else 0, int(layer.type), src, dst, proto, ports)


def number(text: str) -> int:
    return int(text.replace(":", ""), 16)


def mac_matches(said: str, mac: str) -> bool:
    value, _, mask = said.partition("/")
    bits = number(mask) if mask else (1 << 48) - 1
    return not (number(value) ^ number(mac)) & bits


def ip_matches(said: str, address: str | None) -> bool:
    if address is None:
        return False
    value, _, rest = said.partition("/")
    one, other = ipaddress.ip_address(value), ipaddress.ip_address(address)
    if one.version != other.version:
        return False
    if rest and not rest.isdigit():
        return not (int(one) ^ int(other)) & int(ipaddress.ip_address(rest))
    return other in ipaddress.ip_network(said if rest else f"{said}/{one.max_prefixlen}")


def port_matches(said: int | str, port: int) -> bool:
    low, _, high = str(said).partition("-")
    return int(low) <= port <= int(high or low)


def matches(rule: Rule, in_port: str, is_: Fields) -> bool:
    proto = rule.get("l4_proto")
    return (
        rule.get("in_port", in_port) == in_port
        and ("src_mac" not in rule or mac_matches(rule["src_mac"], is_.src_mac))
        and ("dst_mac" not in rule or mac_matches(rule["dst_mac"], is_.dst_mac))
        and rule.get("vlan", is_.vlan) == is_.vlan
        and rule.get("ethertype", is_.ethertype) == is_.ethertype
        and ("src_ip" not in rule or ip_matches(rule["src_ip"], is_.src_ip))
        and ("dst_ip" not in rule or ip_matches(rule["dst_ip"], is_.dst_ip))
        and (proto is None or PROTOCOLS.get(proto, proto) == is_.proto)
        and ("src_port" not in rule or (is_.ports is not None and port_matches(rule["src_port"], is_.ports[0])))
        and ("dst_port" not in rule or (is_.ports is not None and port_matches(rule["dst_port"], is_.ports[1])))
    )


def first(rules: list[Rule], in_port: str, frame: bytes) -> Rule | None:
    is_ = fields(frame)
    return next((rule for rule in sorted(rules, key=lambda each: each["id"]) if matches(rule, in_port, is_)), None)


def rewritten(rule: Rule, frame: bytes) -> bytes:
    """What scapy makes of the frame if the rule's fields are set; lengths and checksums are worked out anew."""
    whole = Ether(frame)
    ip = whole.getlayer(IP) or whole.getlayer(IPv6)
    carried = next((whole[kind] for kind in (TCP, UDP, ICMPv6EchoRequest) if kind in whole), None)
    for leaf, layer, name in (("set_src_mac", whole, "src"), ("set_dst_mac", whole, "dst"), ("set_src_ip", ip, "src"),
                              ("set_dst_ip", ip, "dst"), ("set_src_port", carried, "sport"), ("set_dst_port", carried, "dport")):  # fmt: skip
        if leaf in rule:
            setattr(layer, name, rule[leaf])
    if isinstance(ip, IP):
        del ip.chksum
    if carried is not None:
        delattr(carried, "cksum" if isinstance(carried, ICMPv6EchoRequest) else "chksum")
    tags = whole.payload if isinstance(whole.payload, Dot1Q | Dot1AD) else None
    if tags is not None and "set_vlan" in rule:
        tags.vlan = rule["set_vlan"]
    if tags is not None and rule.get("pop_vlan"):
        whole.type = tags.type
        inner = tags.payload
        whole.remove_payload()
        whole = whole / inner
    if "push_vlan" in rule:
        inner, kind = whole.payload, whole.type
        whole.remove_payload()
        whole.type = 0x8100
        whole = whole / Dot1Q(vlan=rule["push_vlan"], type=kind) / inner
    return built(whole)


# -- at random --------------------------------------------------------------------------------------------------------


def random_frame(chance: random.Random, serial: int) -> bytes:
    frame: Packet = Ether(src=chance.choice(MACS), dst=chance.choice(MACS))
    tag = chance.choice(VLANS)
    if tag is not None:
        frame = frame / (Dot1AD if chance.random() < 0.1 else Dot1Q)(vlan=tag, prio=chance.randrange(8))
        if chance.random() < 0.2:
            frame = frame / Dot1Q(vlan=chance.choice((10, 30)))
    mark = Raw(MAGIC + serial.to_bytes(4, "big") + bytes(chance.choice((12, 30, 800))))
    ports = {"sport": chance.choice(PORTS), "dport": chance.choice(PORTS)}
    kind = chance.choice(["TCP", "TCP", "UDP", "UDP", "echo", "other", "ARP", "strange"])
    if kind == "ARP":
        return built(frame / ARP() / mark)
    if kind == "strange":
        (frame.lastlayer() if tag is not None else frame).type = 0x88B5
        return built(frame / mark)
    six = chance.random() < 0.4
    piece = chance.choice((None, None, None, None, 0, 8))
    if six:
        frame = frame / IPv6(src=chance.choice(V6), dst=chance.choice(V6))
        frame = frame / IPv6ExtHdrHopByHop() if chance.random() < 0.2 else frame
        frame = frame / IPv6ExtHdrFragment(offset=piece, m=1, id=serial) if piece is not None else frame
    else:
        said = {"frag": piece, "flags": "MF"} if piece is not None else {}
        frame = frame / IP(src=chance.choice(V4), dst=chance.choice(V4), **said)
    if kind == "other":
        frame.lastlayer().setfieldval("nh" if six else "proto", 89)
        return built(frame / mark)
    if piece:
        frame.lastlayer().setfieldval("nh" if six else "proto", 6 if kind == "TCP" else 17)
        return built(frame / mark)
    if kind == "echo":
        return built(frame / (ICMPv6EchoRequest(id=serial & 0xFFFF) if six else ICMP(id=serial & 0xFFFF)) / mark)
    return built(frame / (TCP(**ports) if kind == "TCP" else UDP(**ports)) / mark)


def is_fragment(frame: bytes) -> bool:
    whole = Ether(frame)
    return IPv6ExtHdrFragment in whole or (IP in whole and (whole[IP].frag or "MF" in whole[IP].flags))


def random_rule(chance: random.Random, identifier: int, ports: list[str]) -> Rule:
    rule: Rule = {"id": identifier}
    six = chance.random() < 0.4

    def sometimes(leaf: str, chances: float, choose: Any) -> None:
        if chance.random() < chances:
            rule[leaf] = choose()

    sometimes("in_port", 0.3, lambda: chance.choice(ports))
    for leaf in ("src_mac", "dst_mac"):
        sometimes(leaf, 0.2, lambda: chance.choice([*MACS, "02:00:00:00:01:00/ff:ff:ff:ff:ff:00", "00:00:00:00:00:01/00:00:00:00:00:ff"]))
    sometimes("vlan", 0.3, lambda: chance.choice((0, 10, 20)))
    for leaf in ("src_ip", "dst_ip"):
        sometimes(leaf, 0.4, lambda: _some_address(chance, six))
    if "src_ip" not in rule and "dst_ip" not in rule:
        sometimes("ethertype", 0.3, lambda: chance.choice((0x0800, 0x86DD, 0x0806, 0x88B5)))
    sometimes("l4_proto", 0.5, lambda: chance.choice(("TCP", "UDP", "ICMPV6" if six else "ICMP", 89)))
    if rule.get("l4_proto") in ("TCP", "UDP"):
        for leaf in ("src_port", "dst_port"):
            sometimes(leaf, 0.4, lambda: chance.choice([*PORTS, "80-1023", "0-1023", "1024-65535", "79-81", "0-65535"]))
    rule["action"] = "FORWARD" if chance.random() < 0.8 else "DROP"
    if rule["action"] == "FORWARD":
        rule["out_port"] = chance.choice(ports)
        _some_sets(chance, rule, sometimes)
    return rule


def _some_address(chance: random.Random, six: bool) -> str:
    if six:
        return chance.choice([*V6, "fd00::/16", "fd00:1::/32", "::/0", "fd00::1/ffff::f"])
    return chance.choice([*V4, "10.0.0.0/16", "10.0.64.0/18", "10.0.0.128/25", "0.0.0.0/0", "10.0.0.1/255.0.0.255"])


def _some_sets(chance: random.Random, rule: Rule, sometimes: Any) -> None:
    if chance.random() < 0.5:
        return
    sometimes("set_src_mac", 0.3, lambda: "02:00:00:00:00:77")
    sometimes("set_dst_mac", 0.3, lambda: "02:00:00:00:00:78")
    asked = str(rule.get("src_ip", rule.get("dst_ip", "")))
    if asked:
        sometimes("set_src_ip", 0.3, lambda: "fd77::1" if ":" in asked else "10.77.0.1")
        sometimes("set_dst_ip", 0.3, lambda: "fd77::2" if ":" in asked else "10.77.0.2")
    if rule.get("l4_proto") in ("TCP", "UDP"):
        sometimes("set_src_port", 0.3, lambda: 7777)
        sometimes("set_dst_port", 0.3, lambda: 7778)
    tag = chance.choice(("set_vlan", "pop_vlan", "push_vlan", None, None))
    if tag is not None:
        rule[tag] = True if tag == "pop_vlan" else 99
