"""The router's configuration as rows and back, and what `check` says of it."""
from __future__ import annotations

import ipaddress
import json

import pytest

from cubes import router
from cubes.lib.macs import default_mac
from cubes.router.check import check
from cubes.router.fib import derive
from reconciler.check import check as check_documents
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.model.codec import Env
from reconciler.service.registry import Services

CONFIG = {
    "ports": [
        {"name": "p", "ip": "10.0.1.254/24", "ipv6": "2001:db8:1::fe/64", "mac": "02:00:00:00:00:01",
         "secondaryip": [{"ip": "10.0.2.254/24"}, {"ip": "2001:db8:2::fe/64"}]},
        {"name": "q", "ip": "10.1.0.1/30", "secondaryip": []},
        {"name": "bare", "takes-for": "p"},
        {"name": "up", "short-cut": "bare"},
    ],
    "route": [
        {"network": "0.0.0.0/0", "nexthop": "10.1.0.2", "pathcost": 1},
        {"network": "10.9.0.0/16", "nexthop": "10.7.0.2", "interface": "q", "pathcost": 7},
        {"network": "2001:db8:9::/48", "nexthop": "fe80::1", "interface": "p", "pathcost": 1},
    ],
}  # fmt: skip
ENV = Env({"p": 0, "q": 1, "bare": 2, "up": 3}, cube="r1")


class _Struct:
    """The layout of a C struct, as the compiler gives it."""

    def __init__(self, *fields):
        self.fields, at = [], 0
        for name, size in fields:
            self.fields.append(_Field(name, at, size))
            at += size
        self.size = at


class _Field:
    def __init__(self, name, offset, size):
        self.name, self.offset, self.size = name, offset, size


class _Table:
    def __init__(self, key, value):
        self.key, self.value, self.type, self.max_entries = key, value, 1, 65536


_ROUTE = _Struct(("kind", 4), ("port", 4), ("via", 16))
TABLES = {
    "ports": _Table(_Struct(("", 4)), _Struct(("mac", 6), ("flags", 2), ("ipv4", 4), ("ipv6", 16), ("link_local", 16),
                                              ("length4", 1), ("length6", 1), ("other", 2))),
    "secondary_addresses": _Table(_Struct(("port", 4), ("address", 16), ("length", 4)), _Struct(("", 4))),
    "routes": _Table(_Struct(("network", 20), ("nexthop", 16)), _Struct(("pathcost", 4), ("interface", 4), ("active", 4))),
    "fib4_blocks": _Table(_Struct(("", 4)), _Struct(("slots", 1024))),
    "fib4_ways": _Table(_Struct(("", 4)), _ROUTE),
    "fib4_root": _Table(_Struct(("", 4)), _Struct(("", 4))),
    "fib6_nodes": _Table(_Struct(("", 4)), _Struct(("slots", 64))),
    "fib6_tests": _Table(_Struct(("", 4)), _Struct(("high", 8), ("low", 8), ("inside", 4), ("outside", 4), ("rest", 8))),
    "fib6_ways": _Table(_Struct(("", 4)), _ROUTE),
    "fib6_root": _Table(_Struct(("", 4)), _Struct(("", 4))),
    "martians4": _Table(_Struct(("", 4)), _Struct(("", 4))),
    "martians6": _Table(_Struct(("", 16)), _Struct(("", 4))),
    "martian_filter": _Table(_Struct(("", 4)), _Struct(("words", 256))),
}  # fmt: skip


def test_the_routers_own_addresses_and_subnets_broadcasts_are_no_sources():
    found = rows_of(CONFIG)
    four = {str(ipaddress.ip_address(key)) for key in found["martians4"]}
    assert four >= {"10.0.2.254", "10.0.2.255", "10.1.0.1", "10.1.0.3"}
    assert "2001:db8:2::fe" in {str(ipaddress.ip_address(key)) for key in found["martians6"]}


def rows_of(config):
    return {name: wanted.rows for name, wanted in router.tables(config, ENV, TABLES).items()}


def test_what_was_written_comes_back_from_the_rows():
    found = router.config(rows_of(CONFIG), ENV, TABLES)
    plain = [{name: value for name, value in port.items() if value != []} for port in CONFIG["ports"]]
    assert found["ports"] == plain
    by_network = {route["network"]: route for route in found["route"]}
    assert by_network == {route["network"]: route for route in CONFIG["route"]}


def test_state_tells_which_routes_are_used_and_what_packets_are_sent_by():
    found = router.state(rows_of(CONFIG), ENV, TABLES)
    assert {route["network"]: route["active"] for route in found["route"]} == {
        "0.0.0.0/0": True, "10.9.0.0/16": False, "2001:db8:9::/48": True,
    }  # fmt: skip
    assert {"network": "0.0.0.0/0", "kind": "remote", "port": "q", "via": "10.1.0.2"} in found["fib"]
    assert len(found["fib"]) == len(derive(CONFIG).rows)


def test_rows_are_the_same_every_time_and_an_empty_configuration_has_none():
    assert rows_of(CONFIG) == rows_of(json.loads(json.dumps(CONFIG)))
    assert not any(rows_of({}).values())


def test_a_mac_address_follows_from_the_names_and_is_a_stations_own():
    first = default_mac("r1", "p1")
    assert first == default_mac("r1", "p1")
    assert len({default_mac(cube, port) for cube in ("r1", "r2") for port in ("p1", "p2")}) == 4
    assert int(first[:2], 16) & 3 == 2


def test_a_family_that_is_not_used_is_not_loaded():
    only4 = {"ports": [{"name": "p", "ip": "10.0.0.1/24"}]}
    assert router.constants(only4) == {"IPV4": 1, "IPV6": 0, "SHORT_CUT": 0}
    assert 1 not in router.programs(only4)["ingress"]
    assert router.constants({"ports": [{"name": "p", "ipv6": "2001:db8::1/64"}]}) == {"IPV4": 0, "IPV6": 1, "SHORT_CUT": 0}
    assert set(router.programs(CONFIG)["ingress"]) == {0, 1, 2, 3}


@pytest.mark.parametrize(("change", "path", "sentence"), [
    ({"secondaryip": [{"ip": "10.5.0.1/24"}], "ip": None}, ("ports", 0, "secondaryip", 0, "ip"), "no primary address"),
    ({"ip": "10.0.1.0/24"}, ("ports", 0, "ip"), "the network's address"),
    ({"ip": "10.0.1.255/24"}, ("ports", 0, "ip"), "the broadcast address"),
    ({"ip": "224.0.0.1/24"}, ("ports", 0, "ip"), "no address that a port can have"),
    ({"ip": "127.0.0.1/8"}, ("ports", 0, "ip"), "no address that a port can have"),
    ({"ip": "10.1.0.1/30"}, ("ports", 1, "ip"), "port p has address 10.1.0.1 already"),
    ({"ipv6": "fe80::1/64"}, ("ports", 0, "ipv6"), "link-local"),
    ({"ipv6": "ff02::1/64"}, ("ports", 0, "ipv6"), "no address that a port can have"),
    ({"ipv6": "::ffff:10.0.1.1/120"}, ("ports", 0, "ipv6"), "IPv4 in IPv6's notation"),
    ({"mac": "01:00:5e:00:00:01"}, ("ports", 0, "mac"), "no MAC address of a station"),
    ({"mac": "00:00:00:00:00:00"}, ("ports", 0, "mac"), "no MAC address of a station"),
])  # fmt: skip
def test_what_cannot_be_is_an_error_where_it_stands(change, path, sentence):
    ports = [{"name": "p", "ip": "10.0.1.254/24"} | change, {"name": "q", "ip": "10.1.0.1/30"}]
    ports[0] = {name: value for name, value in ports[0].items() if value is not None}
    found = [said for said in check({"ports": ports}, ENV) if said[2] == "error"]
    assert [said[0] for said in found] == [path]
    assert sentence in found[0][1]


WIRE, UP = {"name": "p", "takes-for": "r"}, {"name": "q", "short-cut": "p"}


@pytest.mark.parametrize(("wire", "up", "more", "path", "sentence"), [
    (WIRE, UP, {"type": "XDP_SKB"}, ("ports", 0, "takes-for"), "of type TC"),
    (WIRE, UP, {"shadow": True}, ("ports", 0, "takes-for"), "without a shadow"),
    ({**WIRE, "ip": "10.0.0.1/24"}, UP, {}, ("ports", 0, "takes-for"), "no address"),
    ({**WIRE, "short-cut": "p"}, UP, {}, ("ports", 0, "takes-for"), "no short-cut"),
    ({**WIRE, "takes-for": "p"}, UP, {}, ("ports", 0, "takes-for"), "the port itself"),
    (WIRE, {**UP, "short-cut": "q"}, {}, ("ports", 1, "short-cut"), "the port itself"),
    (WIRE, {**UP, "short-cut": "r"}, {}, ("ports", 1, "short-cut"), "no takes-for"),
])  # fmt: skip
def test_what_passes_by_the_hosts_stack_has_a_netdev_of_the_hosts(wire, up, more, path, sentence):
    said = [each for each in check({"ports": [wire, up, {"name": "r"}], **more}, ENV) if each[2] == "error"]
    assert path in [each[0] for each in said]
    assert sentence in next(each[1] for each in said if each[0] == path)
    assert list(check({"ports": [WIRE, UP, {"name": "r"}]}, ENV)) == []


def test_what_has_no_effect_is_a_warning():
    config = {
        "ports": [{"name": "p", "ip": "10.0.1.254/24"}, {"name": "q", "ip": "10.0.1.253/24"}],
        "route": [{"network": "10.9.0.0/16", "nexthop": "10.8.0.1"}],
    }
    found = list(check(config, ENV))
    assert {severity for *_, severity in found} == {"warning"}
    assert [path for path, *_ in found] == [("ports", 1, "ip"), ("route", 0, "nexthop")]


def test_families_must_agree_and_neighbours_be_stations_that_are_not_the_router():
    config = {
        "ports": [{"name": "p", "ip": "10.0.1.254/24", "ipv6": "2001:db8::1/64"}],
        "route": [{"network": "10.9.0.0/16", "nexthop": "2001:db8::2"}],
        "arp-table": [
            {"address": "10.0.1.1", "interface": "p", "mac": "ff:ff:ff:ff:ff:ff"},
            {"address": "10.0.1.254", "interface": "p", "mac": "02:00:00:00:00:09"},
        ],
    }
    found = [(path, severity) for path, _, severity in check(config, ENV)]
    assert found == [(("arp-table", 0, "mac"), "error"), (("arp-table", 1, "address"), "error"), (("route", 0, "nexthop"), "error")]


def document(cube):
    text = json.dumps({"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "t"}, "spec": {"cubes": [cube]}})
    return parse(text, "t.yaml")


def test_errors_and_warnings_have_a_place_in_the_document():
    cube = {"name": "r1", "service-name": "router", "ports": [{"name": "p", "ip": "10.0.0.1/24"}],
            "route": [{"network": "10.9.0.0/16", "nexthop": "10.8.0.1"}]}  # fmt: skip
    _, warnings = check_documents(document(cube), Services())
    assert [(str(warning.path), warning.severity, warning.where is not None) for warning in warnings] == [
        ("/spec/cubes/r1/route/10.9.0.0/16,10.8.0.1/nexthop", "warning", True)
    ]
    cube["ports"].append({"name": "q", "ip": "10.0.0.1/24"})
    with pytest.raises(DocumentError, match="port p has address"):
        check_documents(document(cube), Services())


def test_a_cube_that_its_schema_refuses_is_refused_for_that():
    cube = {"name": "r1", "service-name": "router", "ports": [{"name": "p", "ip": "10.0.0.300/24"}]}
    with pytest.raises(DocumentError, match=r"is not|expected"):
        check_documents(document(cube), Services())
