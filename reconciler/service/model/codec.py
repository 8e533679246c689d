"""Codec of leaves: values of a YANG model as fields of a C struct.

An encoding is named in the model (`x-pcn-encoding`); the size is that of the compiled C. No service is named here. Every
encoder raises ValueError with a sentence for a value that does not fit.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Env:
    """The context of encoding: the indices of the cube's ports, the time in CLOCK_MONOTONIC seconds (only to show ages), the
    cube's name (values derived from it are the same on every host), the facts that its service wants (reconciler/facts; an
    unknown one is absent), and the rows that the cube's tables hold now, by table: a half with order labels, or with
    versions, continues from those. For `state` alone: `config` is the cube's applied configuration, and `counters` are those
    of the host's protocols (kernel/protocol_counters)."""

    ports: Mapping[str, int] = field(default_factory=dict)
    now: int = 0
    cube: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    live: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def port_name(self, index: int) -> str:
        return next((name for name, known in self.ports.items() if known == index), f"#{index}")


_V4_MAPPED = bytes(10) + b"\xff\xff"


def encode(encoding: str, value: Any, size: int, env: Env, enum: Mapping[str, int] | None = None) -> bytes:
    """`value` as `size` bytes."""
    if encoding in ("uint", "bool", "enum", "port"):
        return _number(encoding, value, env, enum).to_bytes(size, sys.byteorder)
    if encoding == "be":
        return int(value).to_bytes(size, "big")
    if encoding == "ipv4":
        return ipaddress.IPv4Address(value).packed
    if encoding == "ip":
        return _wide(value)
    if encoding == "mac":
        return bytes.fromhex(str(value).replace(":", "")).ljust(size, b"\0")
    if encoding == "prefix4":
        network = ipaddress.IPv4Network(value, strict=False)
        return network.prefixlen.to_bytes(4, sys.byteorder) + network.network_address.packed
    if encoding == "prefix":
        return _prefix(value)
    raise ValueError(f"no such encoding: {encoding}")


def _number(encoding: str, value: Any, env: Env, enum: Mapping[str, int] | None) -> int:
    if encoding == "port":
        if value not in env.ports:
            raise ValueError(f"no port {value!r}")
        return env.ports[value]
    if encoding == "enum":
        return (enum or {})[value]
    return int(value)


def _wide(text: Any) -> bytes:
    """An address in 16 bytes. The C library parses it in a tenth of the time of `ipaddress`, whose error messages are used
    for invalid ones."""
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return _V4_MAPPED + socket.inet_pton(socket.AF_INET, text)
    except (OSError, TypeError):
        address = ipaddress.ip_address(text)
        return address.packed if address.version == 6 else _V4_MAPPED + address.packed


def _prefix(text: str) -> bytes:
    """The length, of IPv4 with 96 more, and the network's address in 16 bytes."""
    said, slash, length = text.partition("/")
    if not (slash and length.isdecimal()):  # no length, or a mask
        network = ipaddress.ip_network(text, strict=False)
        said, length = str(network.network_address), str(network.prefixlen)
    most = 128 if ":" in said else 32
    if int(length) > most:
        raise ValueError(f"{text!r} does not appear to be an IPv4 or IPv6 network")
    host = most - int(length)
    address = int.from_bytes(_wide(said), "big") >> host << host
    return (128 - host).to_bytes(4, sys.byteorder) + address.to_bytes(16, "big")


def decode(encoding: str, raw: bytes, env: Env, enum: Mapping[str, int] | None = None) -> Any:
    """The inverse of `encode`; a number without a name is decoded as '#<number>', so that damage shows."""
    number = int.from_bytes(raw, sys.byteorder)
    if encoding == "uint":
        return number
    if encoding == "bool":
        return bool(number)
    if encoding == "port":
        return env.port_name(number)
    if encoding == "enum":
        return next((name for name, known in (enum or {}).items() if known == number), f"#{number}")
    if encoding == "age":
        return max(0, env.now - number)
    if encoding == "be":
        return int.from_bytes(raw, "big")
    if encoding == "ipv4":
        return str(ipaddress.IPv4Address(raw[:4]))
    if encoding == "ip":
        return str(_address(raw))
    if encoding == "mac":
        return ":".join(f"{byte:02x}" for byte in raw[:6])
    if encoding == "prefix4":
        return f"{ipaddress.IPv4Address(raw[4:8])}/{int.from_bytes(raw[:4], sys.byteorder)}"
    if encoding == "prefix":
        address, length = _address(raw[4:20]), int.from_bytes(raw[:4], sys.byteorder)
        return f"{address}/{length - 96 if address.version == 4 and length >= 96 else length}"
    raise ValueError(f"no such encoding: {encoding}")


def _address(raw: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.IPv4Address(raw[12:16]) if raw.startswith(_V4_MAPPED) else ipaddress.IPv6Address(raw[:16])
