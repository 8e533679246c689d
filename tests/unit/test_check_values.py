"""Values as the model means them: text that looks like a number, one spelling, defaults."""
from __future__ import annotations

import ipaddress
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.check import addresses
from reconciler.check.defaults import fill, strip
from reconciler.model import Attachment, Cube, Port
from tests.unit.data.documents import checked, cube, one, topology


def leaf(text: str, name: str):
    return one(cube(text)).cubes[0].config.get(name)


@pytest.mark.parametrize("text", ["1.10", "0123", "0x1F", "1e3", "true", "False", "+5", "12", "22:22", "ON", "52:54:00:12"])
def test_a_plain_scalar_stays_the_text_it_is_where_the_model_wants_text(text):
    assert leaf(f"label: {text}", "label") == text


def test_text_keeps_its_spelling_in_an_alias_and_in_a_later_document_too():
    first = topology("cubes: [{name: a, service-name: hub, label: &x 1.10}, {name: b, service-name: hub, label: *x}]", "one")
    found, _ = checked(first + "---\n" + topology("cubes: [{name: c, service-name: hub, label: 2.20}]", "two"))
    assert [each.config["label"] for topology_ in found for each in topology_.cubes] == ["1.10", "1.10", "2.20"]


@pytest.mark.parametrize(("text", "value"), [("18446744073709551615", 2**64 - 1), ('"9223372036854775808"', 2**63), ("0", 0)])
def test_a_64_bit_number_may_be_written_as_a_number_and_as_text(text, value):
    assert leaf(f"quota: {text}", "quota") == value


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("auto", "auto"), ("NONE", "none")])
def test_a_union_takes_what_any_of_its_members_takes(text, value):
    assert leaf(f"speed: {text}", "speed") == value


def test_a_number_without_a_fraction_is_a_whole_number():
    value = leaf("table: {aging-time: 3e2}", "table")["aging-time"]
    assert (value, type(value)) == (300, int)


def test_names_of_an_enumeration_may_be_written_in_any_case():
    found = one(topology("""
        cubes:
        - name: w
          service-name: wall
          type: xdp_skb
          loglevel: Debug
          conntrack: off
          chain: [{name: ingress, default: drop, rule: [{id: 0, action: Accept, l4proto: tcp}]}]
        """)).cubes[0]
    assert (found.type, found.loglevel, found.config["conntrack"]) == ("XDP_SKB", "DEBUG", "OFF")
    assert found.config["chain"][0]["rule"][0] == {"id": 0, "l4proto": "TCP", "action": "ACCEPT"}


def test_addresses_and_prefixes_have_one_spelling():
    found = one(cube("""
        ports: [{name: p, mac: 02:00:00:00:AB:CD, ip: "2001:DB8:0::1/64"}]
        route:
        - {network: 10.0.0.77/24, nexthop: 2001:DB8::0:1}
        - {network: "2001:db8::77/32", nexthop: 10.0.0.1}
        """)).cubes[0]
    assert found.ports[0].config == {"mac": "02:00:00:00:ab:cd", "role": "ACCESS", "ip": "2001:db8::1/64"}
    assert [(route["network"], route["nexthop"]) for route in found.config["route"]] == [
        ("10.0.0.0/24", "2001:db8::1"), ("2001:db8::/32", "10.0.0.1")]


def test_an_address_that_the_kernel_keeps_in_16_bytes_is_one_whether_mapped_or_not():
    spell = addresses.canonical_of({"type": "string", "x-pcn-encoding": "ip"})
    assert [spell(text) for text in ("::ffff:10.0.0.1", "10.0.0.1", "2001:DB8::1", "no address")] == [
        "10.0.0.1", "10.0.0.1", "2001:db8::1", "no address"]


def test_a_network_is_spelled_by_the_c_library_as_python_spells_it():
    chance = random.Random(7)
    hosts = ["01.2.3.4", "1.2.3", "::", "2001:DB8::1", "1:0:0:2:0:0:0:3", "::ffff:1.2.3.4", "::1.2.3.4", "1:0:2:3:4:5:6:7", "fe80::1%p", ""]
    for _ in range(2000):
        sparse = chance.getrandbits(128) & chance.getrandbits(128) & chance.getrandbits(128)
        host = chance.choice([*hosts, str(ipaddress.IPv6Address(sparse)), str(ipaddress.IPv4Address(chance.getrandbits(32)))])
        text = f"{host}{chance.choice(('/', '/', ''))}{chance.choice(('', '024', '255.255.0.0', ' 1', *map(str, range(0, 140, 7))))}"
        try:
            said = str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            said = text
        assert addresses.network(text) == said


@pytest.mark.parametrize("encoding", ["uint", "port", "enum", "bool"])
def test_what_is_no_address_keeps_its_spelling(encoding):
    assert addresses.canonical_of({"type": "string", "x-pcn-encoding": encoding}) is None
    assert addresses.canonical_of({"type": "string"}) is None
    assert addresses.canonical_of({"type": "string", "pattern": "^[^ ]+$"}) is None


@settings(deadline=None)
@given(st.ip_addresses().map(str), st.integers(0, 32))
def test_a_spelling_is_its_own_spelling(address, length):
    for text in (address, f"{address}/{length}", address.upper()):
        for spell in (addresses.address, addresses.interface, addresses.network, addresses.either):
            if "/" not in text or spell in (addresses.interface, addresses.network):
                assert spell(spell(text)) == spell(text)


def test_a_cube_has_what_was_written_and_the_defaults_of_the_model():
    found = one(topology("""
        cubes:
        - name: c
          service-name: hub
          ports: [{name: p, peer: veth1, tcubes: [w]}, {name: q, role: TRUNK}]
          mirror: {to: [q]}
        - {name: w, service-name: wall, type: TC, chain: [{name: EGRESS, rule: [{id: 3}]}]}
        - {name: v, service-name: wall}
        attachments: [{netdev: eth0, tcubes: [v]}]
        """))
    assert found.cubes == (
        Cube("c", "hub", "t", "TC", "INFO",
             (Port("p", "veth1", ("w",), {"role": "ACCESS"}), Port("q", None, (), {"role": "TRUNK"})),
             {"enabled": True, "table": {"aging-time": 300}, "mirror": {"to": ["q"], "snaplen": 96}}),
        Cube("w", "wall", "t", config={"conntrack": "ON", "chain": [
            {"name": "EGRESS", "default": "ACCEPT", "rule": [{"id": 3, "action": "ACCEPT"}]}]}),
        Cube("v", "wall", "t", config={"conntrack": "ON"}),
    )
    assert found.attachments == (Attachment("eth0", ("v",)),)


def test_a_default_that_is_spelled_out_changes_nothing():
    short = cube("ports: [{name: p}]\nmirror: {}")
    long = cube("""
        type: TC
        loglevel: info
        ports: [{name: p, tcubes: [], role: access}]
        enabled: true
        table: {aging-time: 300, entry: []}
        forward: []
        mirror: {snaplen: 96}
        """)
    assert one(short) == one(long)
    assert one(long).document["spec"]["cubes"] == [{"name": "c", "service-name": "hub", "ports": [{"name": "p"}], "mirror": {}}]


def test_a_container_that_means_something_by_being_there_is_kept():
    assert "mirror" not in one(cube("enabled: true")).cubes[0].config
    assert one(cube("mirror: {}")).cubes[0].config["mirror"] == {"snaplen": 96}


def test_the_canonical_document_has_the_order_of_the_model():
    found = one("spec:\n  cubes: [{label: ab, ports: [{peer: v, name: p}], service-name: hub, name: c}]\n  namespaces: [h]\n"
                "metadata: {name: t}\nkind: Topology\napiVersion: polycube.network/v1\n")
    assert list(found.document) == ["apiVersion", "kind", "metadata", "spec"]
    assert list(found.document["spec"]) == ["namespaces", "cubes"]
    assert list(found.document["spec"]["cubes"][0]) == ["name", "service-name", "ports", "label"]
    assert list(found.document["spec"]["cubes"][0]["ports"][0]) == ["name", "peer"]


def schema(properties, **more):
    return {"type": "object", "properties": properties, **more}


def test_a_default_is_only_there_where_its_node_can_be():
    when = {"xpath": "../kind = 'a'", "leaf": "kind", "in": ["a"]}
    model = schema({"kind": {"type": "string", "default": "a"}, "depth": {"type": "integer", "default": 3, "x-yang-when": when}})
    assert fill(model, {}) == {"kind": "a", "depth": 3}
    assert fill(model, {"kind": "b"}) == {"kind": "b"}


def test_a_default_of_a_condition_that_nobody_can_judge_is_left_to_the_service():
    model = schema({"depth": {"type": "integer", "default": 3, "x-yang-when": {"xpath": "count(../x) > 3"}}})
    assert fill(model, {}) == {}


def test_defaults_of_a_choice_are_those_of_the_case_that_is_chosen():
    cases = {"rate": {"mandatory": False, "default": "slow", "cases": {"slow": ["pps"], "fast": ["gbps", "lanes"]}}}
    leaves = {"pps": {"type": "integer", "default": 10}, "gbps": {"type": "integer"}, "lanes": {"type": "integer", "default": 4}}
    model = schema(leaves, **{"x-yang-choice": cases})
    assert fill(model, {}) == {"pps": 10}
    assert fill(model, {"gbps": 100}) == {"gbps": 100, "lanes": 4}
    assert strip(model, {"gbps": 100, "lanes": 4}) == {"gbps": 100, "lanes": 4}


def test_zero_is_not_the_default_false():
    model = schema({"flag": {"type": "boolean", "default": False}, "count": {"type": "integer", "default": 0}})
    assert strip(model, {"flag": False, "count": 0}) == {}
    assert strip(model, {"flag": 0, "count": False}) == {"flag": 0, "count": False}


def test_a_default_list_is_not_shared_between_documents():
    model = schema({"to": {"type": "array", "items": {"type": "string"}, "default": ["a"]}})
    fill(model, {})["to"].append("b")
    assert fill(model, {}) == {"to": ["a"]}


def test_services_need_not_be_of_one_class():
    from reconciler.check import check
    from reconciler.document.load import parse
    from reconciler.service.implementation import ModuleImpl
    from tests.unit.data.documents import stand_in

    hub = stand_in("hub")
    service = SimpleNamespace(name="hub", schema=hub.schema, kind="standard", max_ports=3, floods=False, implementation=ModuleImpl())
    services = SimpleNamespace(get={"hub": service}.get, names=lambda: ["hub"], stamps=tuple)
    (found,), _ = check(parse(cube("label: ab"), "f"), services)
    assert found.cubes[0].service == "hub"
