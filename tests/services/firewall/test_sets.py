"""Sets as rows: what a packet finds in them, what an edit writes, and what is refused."""
from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Mapping

import pytest

from cubes.firewall.check import problems
from cubes.lib.address_sets import MEMBERS, MOST_SETS, entries, name_rows, numbers_of
from cubes.lib.set_rows import SetMemory, SetRows
from reconciler.service.model.codec import Env
from tests.services.firewall.rulesets import Style

Lists = Mapping[str, list[str]]


def wide(address: str) -> int:
    found = ipaddress.ip_address(address)
    return int(found) | (0xFFFF << 32 if found.version == 4 else 0)


def found_by_a_packet(rows: SetRows, address: str) -> set[int]:
    """The numbers of the sets that it is in, found as the programs do."""
    number, mask = wide(address), 0
    longest = max(
        (length for length in range(129) if struct.pack("=I", length) + (number >> 128 - length << 128 - length).to_bytes(16, "big") in rows.prefixes),
        default=None,
    )
    if longest is not None:
        row = rows.prefixes[struct.pack("=I", longest) + (number >> 128 - longest << 128 - longest).to_bytes(16, "big")]
        mask |= int.from_bytes(row[: MEMBERS.size], "little")
    row = rows.hosts.get(number.to_bytes(16, "big"), bytes(80))
    mask |= int.from_bytes(row[16:], "little")
    return {number for number in range(512) if mask >> number & 1}


def edited(rng: random.Random, lists: Lists, spare: Style) -> dict[str, list[str]]:
    found = {name: list(some) for name, some in lists.items()}
    if rng.random() < 0.2:
        found.pop(rng.choice(list(found)), None)
    if rng.random() < 0.3:
        found[f"s{rng.randrange(12)}"] = spare.prefixes(5)
    for name in rng.sample(list(found), len(found) // 2):
        some, at = found[name], rng.randrange(len(found[name]) + 1)
        some[at : at + rng.randrange(3)] = [text for text in spare.prefixes(rng.randrange(3)) if text not in some]
    return found


@pytest.mark.parametrize("seed", range(25))
def test_a_packet_finds_what_it_is_in_and_an_edit_gives_the_rows_that_all_entries_together_give(seed: int) -> None:
    rng = random.Random(seed)
    style, memory = Style(rng), SetMemory()
    lists: Lists = {f"s{number}": style.prefixes(rng.choice([0, 3, 40])) for number in range(rng.randrange(1, 8))}
    live: dict[str, dict[bytes, bytes]] = {}
    for _ in range(12):
        numbers = numbers_of(lists, live)
        rows = memory.rows(lists, numbers, live)
        anew = SetMemory().rows(lists, numbers, {})
        assert (dict(rows.hosts), dict(rows.prefixes)) == (dict(anew.hosts), dict(anew.prefixes))
        for _ in range(40):
            family = rng.choice((4, 6))
            address = str((ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address)(style.address(family)))
            wanted = {numbers[name] for name, some in lists.items() if any(ipaddress.ip_address(address) in ipaddress.ip_network(text) for text in some)}
            assert found_by_a_packet(rows, address) == wanted
        live = {"sets": name_rows(numbers), "set_hosts": dict(rows.hosts), "set_prefixes": dict(rows.prefixes)}
        assert {name: set(some) for name, some in entries(live).items()} == {name: set(some) for name, some in lists.items()}
        lists = edited(rng, lists, style) or {"s0": ["::/0"]}


def test_a_prefix_of_all_ipv6_holds_no_address_of_ipv4() -> None:
    rows = SetMemory().rows({"all": ["::/0", "10.0.0.0/8"]}, {"all": 1}, {})
    assert found_by_a_packet(rows, "2001:db8::1") == {1} == found_by_a_packet(rows, "10.9.9.9")
    assert found_by_a_packet(rows, "11.0.0.1") == set()


def test_one_entry_of_many_is_one_row() -> None:
    memory, many = SetMemory(), [f"10.{n >> 8}.{n & 255}.1" for n in range(20_000)]
    before = memory.rows({"big": many}, {"big": 1}, {})
    after = memory.rows({"big": [*many[:10_000], "192.0.2.1", *many[10_001:]]}, {"big": 1}, {})
    assert len(before.hosts.items() ^ after.hosts.items()) == 2
    assert after.hosts.keys_of_edit == {bytes(10) + b"\xff\xff" + bytes((10, 39, 16, 1)), bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1))}


def test_a_number_is_not_used_again_by_the_change_that_frees_it() -> None:
    live = {"sets": name_rows({"a": 1, "b": 2})}
    assert numbers_of(["b", "c"], live) == {"b": 2, "c": 3}
    with pytest.raises(ValueError, match="are the most"):
        numbers_of([f"s{n}" for n in range(MOST_SETS + 1)], {})


def said(*sets: dict, rule: dict | None = None) -> list[str]:
    chain = [{"name": "INGRESS", "rule": [{"id": 1, **rule}]}] if rule else []
    return [sentence for _, sentence, _ in problems({"set": list(sets), "chain": chain}, Env(cube="fw"))]


@pytest.mark.parametrize(("prefix", "sentence"), [
    ("10.0.0.1/8", "10.0.0.1/8 has bits set beyond its length"), ("10.0.0.1/32", "10.0.0.1/32 is written 10.0.0.1"),
    ("2001:db8::1/128", "2001:db8::1/128 is written 2001:db8::1"), ("::ffff:10.0.0.1", "::ffff:10.0.0.1 is of IPv4, and is written 10.0.0.1"),
])  # fmt: skip
def test_an_entry_that_says_something_else_or_has_a_shorter_spelling_is_an_error(prefix: str, sentence: str) -> None:
    assert said({"name": "a", "prefix": [prefix]}) == [sentence]


def test_an_entry_that_is_there_twice_and_a_set_that_is_not_there_are_errors() -> None:
    assert said({"name": "a", "prefix": ["2001:db8::1", "2001:db8:0::1"]}) == ["it is there twice: 2001:db8::1 is the same"]
    assert said({"name": "office", "prefix": []}, rule={"src-set": "ofice"}) == ["there is no set 'ofice'; did you mean 'office'?"]
    assert said({"name": "office", "prefix": []}, rule={"dst-set": "!office"}) == []
