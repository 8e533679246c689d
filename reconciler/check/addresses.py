"""One spelling for each IP address, prefix and MAC address.

The type of a leaf follows from its encoding, if it reaches the kernel, or else from the values that its pattern accepts: a
pattern that accepts a MAC address and rejects a word is a MAC address's, whatever typedef of whichever model it is from.
"""
from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

_MAC = re.compile("!?[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_WORDS = ("a", "veth0", "br1:p1", "", "0", "x-y_z")
_LENGTHS = frozenset(str(length) for length in range(33))
_LENGTHS6 = frozenset(str(length) for length in range(129))
_SAMPLES = {
    "mac": ("02:00:00:00:00:01",),
    "ip": ("192.0.2.1", "2001:db8::1"),
    "prefix": ("192.0.2.0/24", "2001:db8::/32"),
}


def canonical_of(schema: Mapping[str, Any]) -> Callable[[str], str] | None:
    """The function that normalises this leaf's values; it returns unparsable values unchanged. None: no address."""
    kinds = _kinds(schema)
    if "prefix" in kinds:
        return network if "x-pcn-key" in schema else interface
    if "ip" in kinds:
        return either if schema.get("x-pcn-encoding") == "ip" else address
    return mac if "mac" in kinds else None


def address(text: str) -> str:
    """An IP address: 2001:DB8:0::1 is 2001:db8::1. An IPv4 address has one spelling only."""
    return _said(ipaddress.ip_address, text) if ":" in text else text


def either(text: str) -> str:
    """An address that the kernel keeps in 16 bytes, where ::ffff:10.0.0.1 and 10.0.0.1 are one."""
    spelled = address(text)
    mapped = ipaddress.IPv6Address(spelled).ipv4_mapped if spelled.startswith("::ffff:") else None
    return str(mapped or spelled)


def interface(text: str) -> str:
    """An address with a prefix length, of which the host part counts: 10.0.0.1/24 stays so."""
    host, slash, length = text.partition("/")
    if not slash or (":" not in host and length in _LENGTHS):
        return address(text)
    return _said(ipaddress.ip_interface, text)


def network(text: str) -> str:
    """A prefix that is a key in the kernel, where no host part is kept: 10.0.0.1/24 is 10.0.0.0/24."""
    host, _, length = text.partition("/")
    wide = ":" in host
    if length in (_LENGTHS6 if wide else _LENGTHS) and (said := _network(host, int(length), wide)) is not None:
        return said
    return _said(lambda written: ipaddress.ip_network(written, strict=False), text)


def _network(host: str, length: int, wide: bool) -> str | None:
    """The same by the C library, in a tenth of the time; None if it spells it otherwise (IPv4 in IPv6) or cannot read it."""
    family, bits = (socket.AF_INET6, 128) if wide else (socket.AF_INET, 32)
    with contextlib.suppress(OSError, ValueError):
        whole = int.from_bytes(socket.inet_pton(family, host), "big")
        value = whole >> bits - length << bits - length
        if value == whole and not wide:
            return f"{host}/{length}"  # which IPv4 spells in one way only
        said = socket.inet_ntop(family, value.to_bytes(bits // 8, "big"))
        return None if wide and "." in said else f"{said}/{length}"
    return None


def mac(text: str) -> str:
    return text.lower() if _MAC.fullmatch(text) else text


def _said(read: Callable[[str], object], text: str) -> str:
    try:
        return str(read(text))
    except ValueError:
        return text


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    encoding = schema.get("x-pcn-encoding")
    if encoding is not None:
        return {{"ipv4": "ip", "prefix4": "prefix"}.get(encoding, encoding)} & _SAMPLES.keys()
    pattern = schema.get("pattern")
    if pattern is None:
        return set()
    search = re.compile(pattern).search
    if any(search(word) for word in _WORDS):
        return set()
    return {kind for kind, samples in _SAMPLES.items() if any(search(sample) for sample in samples)}
