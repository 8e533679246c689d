"""Rows after an edit of services, made from those before it, are what all services together give; and an edit looks at its own
service only. Without a kernel."""
from __future__ import annotations

import copy
import random
import sys
import time

import pytest

from cubes.lbrp import check
from cubes.lib import balancer_rows, health, maglev
from cubes.lib.balancer import health_key
from cubes.lib.balancer_rows import derive
from reconciler.service.model.rows import encode_rows
from reconciler.service.registry import Services
from reconciler.service.sdk import Env
from tests.services.lbrp.test_rows import TABLES, Table, layout, services

PROTOCOLS = (("TCP", 80), ("UDP", 53), ("ALL", 443), ("ICMP", 0))
KEPT = {  # of what is written: lib/balancer.h
    "service_list": Table(layout(vip=16, vport=2, proto=1, zero=1), layout(affinity=4, no_backend=4, ring_size=4)),
    "backend_list": Table(layout(vip=16, vport=2, proto=1, zero=1, ip=16, port=2, zero2=2), layout(weight=4, state=4)),
    "range_list": Table(layout(vip=16, vport=2, proto=1, zero=1, prefix=20), layout(said=4)),
}


def some_service(chance):
    proto, vport = chance.choice(PROTOCOLS)
    address = f"10.1.0.{chance.randrange(60)}" if chance.random() < 0.8 else f"2001:db8::{chance.randrange(1, 60):x}"
    own = "10.9.0" if "." in address else "fd00:"
    backends = [{"ip": f"{own}{'.' if own[0] == '1' else ':'}{host}", "port": 80, "weight": chance.randrange(3)}
                for host in chance.sample(range(1, 30), chance.randrange(4))]  # fmt: skip
    found = {"vip": address, "vport": vport, "proto": proto, "backend": backends}
    if chance.random() < 0.3:
        found["source-range"] = ["10.0.0.0/8" if "." in address else "2001:db8:7::/48"]
    if chance.random() < 0.3 and proto in ("TCP", "ALL"):
        found["health-check"] = {}
    return found


def key_of(service):
    return service["vip"], service["vport"], service["proto"]


def edited(some, chance):
    """One to three services that come, go, or are others: entries that stay are the same objects, as in an edited document."""
    some = list(some)
    for _ in range(chance.randrange(1, 4)):
        place, new = chance.randrange(len(some)), some_service(chance)
        others = {key_of(each) for at, each in enumerate(some) if at != place}
        kind = chance.randrange(3)
        if kind == 0 and len(some) > 40:
            del some[place]
        elif kind == 1 and key_of(new) not in others:
            some[place] = new
        elif key_of(new) not in {key_of(each) for each in some}:
            some.insert(place, new)
    return some


def afresh(config, down=frozenset()):
    """Of objects that nobody has seen before."""
    return derive(copy.deepcopy(config), TABLES, down)


@pytest.mark.parametrize("crowded", [False, True], ids=["", "numbers are few"])
def test_rows_after_edits_are_what_all_services_together_give(crowded, monkeypatch):
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    if crowded:
        whole = maglev.number
        monkeypatch.setattr(maglev, "number", lambda name, taken=(): _next(whole(name) % 4000 + 1, taken))
    some = list({key_of(each): each for each in (some_service(chance) for _ in range(120))}.values())
    assert len(some) >= 40
    for turn in range(60):
        some = edited(some, chance)
        asked = [(service, backend) for service in some if "health-check" in service for backend in service["backend"]]
        down = frozenset(health.digest(health_key(*each)) for each in chance.sample(asked, min(len(asked), turn % 3)))
        found = derive({"service": some}, TABLES, down)
        wanted = afresh({"service": some}, down)
        assert {name: dict(rows) for name, rows in found.items()} == {name: dict(rows) for name, rows in wanted.items()}, turn


def _next(number, taken):
    while number in taken:
        number = number % 5000 + 1
    return number


def test_what_is_written_of_services_is_kept_in_rows_that_an_edit_makes_from_those_before():
    chance = random.Random(5)
    bound = [binding for binding in Services().get("lbrp").bindings if binding.table in KEPT]
    tables = {name: _Kept(table) for name, table in KEPT.items()}
    assert {binding.table for binding in bound} == set(KEPT)
    some = list({key_of(each): each for each in (some_service(chance) for _ in range(120))}.values())
    for _ in range(40):
        some = edited(some, chance)
        found, wanted = (encode_rows(bound, {"service": each}, tables, Env()) for each in (some, copy.deepcopy(some)))
        assert {name: dict(each.rows) for name, each in found.items()} == {name: dict(each.rows) for name, each in wanted.items()}


class _Kept:
    type = 1

    def __init__(self, table):
        self.key, self.value, self.max_entries = table.key, table.value, 1 << 18


def test_an_edit_of_one_service_of_10000_works_on_that_one_and_all_are_gone_over_once(monkeypatch):
    some = services(10000)
    before = derive({"service": some}, TABLES)
    assert list(check({"service": some}, Env())) == []
    calls = []
    real = balancer_rows.make
    monkeypatch.setattr(balancer_rows, "make", lambda *said, **more: calls.append(said[0]) or real(*said, **more))
    other = [*some[:77], {**some[77], "backend": some[77]["backend"][:2]}, *some[78:]]
    began = time.process_time()
    after = derive({"service": other}, TABLES)
    again = derive({"service": other}, TABLES)
    sys.stdout.write(f"edit: {1000 * (time.process_time() - began):.1f} ms\n")
    assert calls == [other[77]]
    assert all(again[name] is after[name] for name in after)
    assert {name: len(getattr(after[name], "keys_of_edit", ())) for name in ("members", "rings")} == {"members": 1, "rings": 1}
    assert after["services"] is before["services"]


def test_rings_that_do_not_fit_are_refused_before_one_is_filled(monkeypatch):
    monkeypatch.setattr(maglev, "ring", None)
    many = [{**service, "ring-size": 65537} for service in services(1021)]
    found = [(steps, sentence) for steps, sentence, severity in check({"service": many}, Env()) if severity == "error"]
    assert found == [(("service",), "the rings take 262397 pages of 256 slots, and a load balancer holds 262144 (see ring-size)")]
    assert [each for each in check({"service": many[:1020]}, Env()) if each[2] == "error"] == []
