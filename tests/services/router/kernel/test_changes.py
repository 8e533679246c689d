"""A router while its configuration changes: what is loaded, what is forgotten, and what no packet notices."""
from __future__ import annotations

import threading

import pytest

from cubes.router import fib, rows
from tests.lib import packets
from tests.lib.lab import Counts, counts
from tests.services.router.frames import SCENARIO
from tests.services.router.lab import RouterLab, sixth


@pytest.fixture(params=("TC", "XDP_DRV"))
def lab(request):
    with RouterLab(SCENARIO, hook=request.param) as lab:
        lab.apply()
        lab.reach("h1", "10.0.2.1")
        yield lab


def programs(lab):
    return {name.rpartition("/")[2] for name in lab.loaded("r1") if "/g" in name}


def test_a_router_for_one_family_does_not_load_the_others_half(lab):
    assert "ingress_1" not in programs(lab)
    assert lab.fails("h1", "2001:db8::1")
    for index in (1, 2):
        lab.port("r1", f"p{index}")["ipv6"] = sixth(f"10.0.{index}.254/24")
    lab.apply()
    assert "ingress_1" in programs(lab)
    assert not lab.drift()
    for index in (1, 2):
        del lab.port("r1", f"p{index}")["ipv6"]
    lab.apply()
    assert "ingress_1" not in programs(lab)
    assert not lab.drift()


def test_no_packet_is_lost_while_routes_addresses_and_a_family_come_and_go(lab):
    lost: list[int] = []
    ended = threading.Event()

    def traffic() -> None:
        while not ended.is_set():
            lost.append(20 - packets.ping(lab.space("h1"), "10.0.2.1", 20, interval=0.005))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for number in range(3):
            lab.cube("r1")["route"] = [{"network": f"10.{40 + i}.0.0/16", "nexthop": "10.0.2.1"} for i in range(20 * number)]
            lab.port("r1", "p2")["secondaryip"] = [{"ip": f"10.0.{100 + number}.1/24"}]
            lab.port("r1", "p2")["ipv6"] = f"2001:db8:{number}::1/64"
            lab.apply()
            del lab.port("r1", "p2")["ipv6"]
            lab.apply()
    finally:
        ended.set()
        thread.join()
    assert lost
    assert sum(lost) == 0


def test_a_route_is_a_few_rows_and_nothing_is_loaded(lab):
    lab.cube("r1")["route"] = [{"network": "10.9.0.0/16", "nexthop": "10.0.2.1"}]
    blocks = 4  # those of 10/8 and of all: two new ones, and two that go
    assert counts(lab.apply()) == Counts(map_writes=3 + blocks)  # the route, its way, and what leads to the first block
    assert lab.fib("r1")["10.9.0.0/16"] == ("remote", "p2", "10.0.2.1")


def test_neighbours_of_a_port_that_is_gone_are_forgotten_before_its_index_is_anothers(lab):
    assert "10.0.2.1" in lab.neighbours("r1")
    lab.cube("r1")["ports"] = [port for port in lab.cube("r1")["ports"] if port["name"] != "p2"]
    lab.apply()
    assert set(lab.neighbours("r1")) == {"10.0.1.1"}
    lab.cube("r1")["ports"].append({"name": "p3", "peer": "v2", "ip": "10.0.2.253/24"})
    lab.apply()
    assert not lab.drift()
    assert set(lab.neighbours("r1")) == {"10.0.1.1"}


def test_what_was_learned_survives_a_change_that_swaps_the_programs(lab):
    before = lab.neighbours("r1")
    lab.cube("r1")["loglevel"] = "TRACE"
    lab.apply()
    assert lab.neighbours("r1") == before


def test_a_mac_address_that_is_given_is_the_ports_and_shown_and_one_that_is_derived_is_not(lab):
    ports = {port["name"]: port for port in lab.live_cube("r1")["ports"]}
    assert ports["p1"]["mac"] == "02:00:00:00:01:fe"
    assert "mac" not in ports["p2"]
    assert packets.ping(lab.space("h2"), "10.0.2.254") == 2


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_ten_thousand_routes_are_read_back_and_found(hook):
    with RouterLab(SCENARIO, hook=hook) as lab:
        lab.cube("r1")["route"] = [
            {"network": f"{20 + i // 2500}.{i // 10 % 250}.{i % 10}.0/24", "nexthop": "10.0.2.1"} for i in range(10_000)
        ]
        lab.apply()
        assert counts(lab.plan()) == Counts()
        lab.reach("h1", "10.0.2.1")
        assert packets.icmp_answer(lab.space("h1"), "23.1.1.1", timeout=0.3) is None
        assert packets.icmp_answer(lab.space("h1"), "99.1.1.1") == (3, 0, "10.0.1.254")


def test_an_apply_goes_through_its_routes_once(monkeypatch):
    """Through all of them in each kind of work; an edit once more, through what it makes of them."""
    seen = []

    def watch(module, name, many):
        work = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: seen.extend([name] * (many(*given) >= 2000)) or work(*given))

    watch(fib, "_derive", lambda _config, known, _links: len(known))
    watch(rows, "_fib_rows", lambda found, _env, _tables: len(found.rows))
    watch(rows, "_route_rows", lambda known, *_: len(known))
    with RouterLab(SCENARIO) as lab:
        routes = lab.cube("r1").setdefault("route", [])
        routes += [{"network": f"20.{number >> 8}.{number & 255}.0/24", "nexthop": "10.0.2.1"} for number in range(2000)]
        for turn in range(2):
            seen.clear()
            lab.apply()
            assert sorted(seen) == ["_derive", "_fib_rows", "_route_rows"]
            assert counts(lab.plan()) == Counts()
            assert len(seen) == 3, "a look for drift makes it again"
            routes[turn] = {"network": f"20.99.{turn}.0/24", "nexthop": "10.0.2.1"}
