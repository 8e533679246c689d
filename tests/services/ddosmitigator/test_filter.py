"""The bits in front of the blacklists follow the lists, and an edit costs what it changes."""
from __future__ import annotations

import random
from ipaddress import IPv4Address, ip_address

import pytest

from cubes.ddosmitigator import constants, filter, sizes, tables
from reconciler.incremental.memo import Memo
from reconciler.service.model.codec import Env

ENV = Env({}, "guard")


def entries(*numbers: int) -> list[dict]:
    return [{"ip": str(IPv4Address(number))} for number in numbers]


def rows(source: list, target: list | tuple = ()) -> dict[bytes, bytes]:
    return dict(tables({"blacklist-src": source, "blacklist-dst": list(target)}, ENV, {})["blacklist_filter"].rows)


def anew(source: list, target: list | tuple = ()) -> dict[bytes, bytes]:
    return Memo().run(rows, source, target)


def test_each_address_of_both_lists_has_its_bits() -> None:
    source, target = entries(1, 2, 3), [{"ip": "2001:db8::7"}]
    made = anew(source, target)
    for number, listed in enumerate((source, target)):
        for entry in listed:
            address = ip_address(entry["ip"])
            packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
            value = filter.hash_of(packed, number)
            row = made[(value >> constants({"blacklist-src": source})["FILTER_SHIFT"]).to_bytes(4, "little")]
            assert all(row[bit // 8] >> bit % 8 & 1 for bit in (value & 511, value >> 9 & 511, value >> 18 & 511))
    assert sum(int.from_bytes(row).bit_count() for row in made.values()) == 12


def test_of_addresses_that_are_not_listed_few_are_looked_up() -> None:
    chance = random.Random(3)
    some = chance.sample(range(1 << 32), 12_000)
    for listed in (range(2 << 24, (2 << 24) + 8192), some[:8192]):
        made = anew(entries(*listed))
        hit = 0
        for number in some[8192:]:
            value = filter.hash_of(bytes(10) + b"\xff\xff" + number.to_bytes(4, "big"), 0)
            row = made.get((value * 128 >> 64).to_bytes(4, "little"), bytes(64))
            hit += all(row[bit // 8] >> bit % 8 & 1 for bit in (value & 511, value >> 9 & 511, value >> 18 & 511))
        assert hit < len(some[8192:]) / 25


def test_without_addresses_there_is_no_row() -> None:
    assert anew([], []) == {}


def test_of_any_edit_comes_what_comes_of_the_lists_from_nothing() -> None:
    chance = random.Random(7)
    source, target = entries(*range(3000)), entries(*range(40))
    rows(source, target)
    for turn in range(30):
        source, target = list(source), list(target)
        for listed in (source, target):
            place = chance.randrange(len(listed))
            listed[place : place + chance.randrange(8)] = entries(*(chance.randrange(1 << 32) for _ in range(chance.randrange(8))))
        edited = rows(source, target)
        assert all(any(row) for row in edited.values()), turn
        assert edited == anew(source, target), turn


def test_one_address_among_a_hundred_thousand_is_one_row_and_nobody_looks_at_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    many = entries(*range(0, 100_000 * 7, 7))
    before = tables({"blacklist-src": many}, ENV, {})["blacklist_filter"].rows
    worked: list[bytes] = []
    hash_of, row_of = filter.hash_of, filter._row
    monkeypatch.setattr(filter, "hash_of", lambda address, number: worked.append(address) or hash_of(address, number))
    monkeypatch.setattr(filter, "_row", lambda bits: worked.append(b"row") or row_of(bits))
    after = tables({"blacklist-src": [*many, *entries(5)]}, ENV, {})["blacklist_filter"].rows
    assert len(worked) == 2
    assert after.source is before
    assert len(after.keys_of_edit) == 1
    assert rows(many) == before
    assert len(worked) <= 3


@pytest.mark.parametrize(("addresses", "kib"), [(0, 8), (1, 8), (8192, 8), (8193, 16), (60_000, 64), (100_000, 128), (1_000_000, 1024)])
def test_it_is_as_large_as_the_lists_need(addresses: int, kib: int) -> None:
    config = {"blacklist-src": range(addresses // 2), "blacklist-dst": range(addresses - addresses // 2)}
    assert sizes(config) == {"blacklist_filter": kib * 1024 // 64}
    assert constants(config) == {"FILTER_SHIFT": 65 - (kib * 16).bit_length()}
