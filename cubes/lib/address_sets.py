"""Named sets of addresses, as rows.

A set has a number. `set_hosts` maps an address, and `set_prefixes` a prefix, to the numbers of its sets; so an address needs
two look-ups, however many sets there are. A prefix's row also includes the sets of the shorter prefixes around it, beside its
own. So an entry is one row, but for a prefix with others inside: their rows include it too.

IPv4 addresses are ::ffff:a.b.c.d; where there are prefixes, a row for all of IPv4 shields it from IPv6's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_network
from typing import Any

from cubes.lib.epochs import INDEX
from reconciler.service.sdk import Facts, memoised

WORDS = 8  # SET_WORDS of bpf/lib/address_sets.h
MEMBERS = struct.Struct(f"={WORDS}Q")
MOST_SETS = 64 * WORDS - 1  # 0 is the number of no set
NOT = 0x8000
OWN = 0x80  # in the first byte of a name, which is ASCII: the set is this host's addresses
_MAPPED = bytes(10) + b"\xff\xff"
_LENGTH = struct.Struct("=I")
ALL_OF_4 = (int.from_bytes(_MAPPED + bytes(4), "big"), 96)

Rows = Mapping[bytes, bytes]
Live = Mapping[str, Rows]
Place = tuple[int, int]
"""An address as a number of 128 bits, and how many of them count; 128: it is an address, and no prefix."""


# -- names and numbers ------------------------------------------------------------------------------------------------


def numbers_of(names: Iterable[str], live: Live) -> dict[str, int]:
    """The sets' numbers; existing sets keep theirs. A new one gets a number that is neither in use nor freed by this edit:
    packets in progress may still match rules that refer to it. Raises ValueError if there are too many."""
    known = names_of(live)
    has = {name: number for number, name in known.items()}
    free = (number for number in range(1, MOST_SETS + 1) if number not in known)
    found = {}
    for name in names:
        number = has.get(name) or next(free, 0)
        if not number:
            raise ValueError(f"{MOST_SETS} sets are the most, those included that go with this change")
        found[name] = number
    return found


def names_of(live: Live) -> dict[int, str]:
    return {int(INDEX.unpack(key)[0]): _name(row) for key, row in live.get("sets", {}).items()}


def _name(row: bytes) -> str:
    return (bytes([row[0] & ~OWN]) + row[1:]).rstrip(b"\0").decode("utf-8", "replace")


def own_of(live: Live) -> frozenset[str]:
    """The sets that are this host's addresses."""
    return frozenset(_name(row) for row in live.get("sets", {}).values() if row[0] & OWN)


def to_word(src_set: str, dst_set: str, numbers: Mapping[str, int]) -> int:
    """A rule's conditions on both addresses' sets, as the programs read them (`sets` of struct conditions)."""
    return _half(src_set, numbers) | _half(dst_set, numbers) << 16


def _half(said: str, numbers: Mapping[str, int]) -> int:
    if not said:
        return 0
    return numbers[said[1:]] | NOT if said.startswith("!") else numbers[said]


def from_word(said: int, names: Mapping[int, str]) -> tuple[str, str]:
    """The inverse of `to_word`."""
    src, dst = (
        ("!" if half & NOT else "") + names.get(half & ~NOT, f"#{half & ~NOT}") if half else ""
        for half in (said & 0xFFFF, said >> 16)
    )
    return src, dst


# -- entries ----------------------------------------------------------------------------------------------------------


def place_of(text: str) -> Place:
    address, slash, length = text.partition("/")
    if ":" in address:
        return int(IPv6Address(address)), int(length) if slash else 128
    number = ALL_OF_4[0] | int.from_bytes(bytes(map(int, address.split("."))), "big")
    return number, 96 + int(length) if slash else 128


def host_key(text: str) -> bytes:
    """The key of an address, which is no prefix."""
    return IPv6Address(text).packed if ":" in text else _MAPPED + bytes(map(int, text.split(".")))


def written(place: Place) -> str:
    number, length = place
    raw = number.to_bytes(16, "big")
    if raw.startswith(_MAPPED) and length >= 96:
        text, length = ".".join(map(str, raw[12:])), length - 96
        return text if length == 32 else f"{text}/{length}"
    return str(IPv6Address(raw)) if length == 128 else f"{IPv6Address(raw)}/{length}"


def problem(text: str) -> str:
    """What is wrong with an entry that fits its pattern and is in its one spelling, or an empty string."""
    if "/" not in text and ":" not in text:
        return ""
    number, length = place_of(text)
    if number & ((1 << (128 - length)) - 1):
        return f"{text} has bits set beyond its length"
    if ":" in text and number >> 32 == ALL_OF_4[0] >> 32:
        return f"{text} is of IPv4, and is written {written((number, length))}"
    return f"{text} is written {text.partition('/')[0]}" if length == 128 and "/" in text else ""


def entries(live: Live) -> dict[str, list[str]]:
    """What is in each set, by name."""
    names = names_of(live)
    found: dict[str, list[Place]] = {name: [] for name in names.values()}
    for key, row in live.get("set_hosts", {}).items():
        for number in _numbers(row[16:]):
            found.setdefault(names.get(number, f"#{number}"), []).append((int.from_bytes(key, "big"), 128))
    for key, row in live.get("set_prefixes", {}).items():
        place = int.from_bytes(key[_LENGTH.size :], "big"), int(_LENGTH.unpack_from(key)[0])
        for number in _numbers(row[MEMBERS.size :]):
            found.setdefault(names.get(number, f"#{number}"), []).append(place)
    return {name: [written(place) for place in sorted(places)] for name, places in found.items()}


@memoised
def _numbers(members: bytes) -> tuple[int, ...]:
    mask = mask_of_members(members)
    return tuple(number for number in range(64 * WORDS) if mask >> number & 1)


def mask_of_members(members: bytes) -> int:
    return sum(value << 64 * place for place, value in enumerate(MEMBERS.unpack(members)))


@memoised
def packed(mask: int) -> bytes:
    return MEMBERS.pack(*(mask >> 64 * place & (1 << 64) - 1 for place in range(WORDS)))


def prefix_key(place: Place) -> bytes:
    return _LENGTH.pack(place[1]) + place[0].to_bytes(16, "big")


def written_sets(live: Live) -> list[dict[str, Any]]:
    """The leaves of a model's list `set`, as the tables hold them."""
    own = own_of(live)
    found = sorted(entries(live).items())
    return [{"name": name, **({"own-addresses": True} if name in own else {"prefix": some})} for name, some in found]


def name_rows(numbers: Mapping[str, int], own: frozenset[str] = frozenset()) -> dict[bytes, bytes]:
    """`own` are the names of those that are this host's addresses."""
    found = {}
    for name, number in numbers.items():
        row = name.encode().ljust(64, b"\0")
        found[INDEX.pack(number)] = bytes([row[0] | OWN]) + row[1:] if name in own else row
    return found


def own_addresses(facts: Facts) -> tuple[str, ...]:
    """This host's addresses, by the fact `addresses`. An IPv4 address of the loopback represents its entire prefix, as in
    Linux."""
    there = facts.get("addresses", {})
    whole = {str(ip_network(each, strict=False)).removesuffix("/32") for each in there.get("lo", ()) if ":" not in each}
    return tuple(sorted(whole | {each.partition("/")[0] for some in there.values() for each in some}))
