"""The schema of the whole document, as an editor uses it: with the services' schemas beside it."""
from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from schemas.generate.__main__ import COMMITTED

DOCUMENT: dict[str, Any] = {
    "apiVersion": "polycube.network/v1",
    "kind": "Topology",
    "metadata": {"name": "two-hosts"},
    "spec": {
        "namespaces": ["h1", "h2"],
        "links": [
            {"name": "veth1", "kind": "veth", "peer": {
                "name": "eth0", "netns": "h1", "addresses": ["10.0.0.1/24", "2001:db8::1/64"], "mtu": 1400,
                "routes": [{"to": "default", "via": "10.0.0.254"}, {"to": "10.1.0.0/16"}]}},
            {"name": "vx", "netns": "h2", "kind": "vxlan", "id": 42, "local": "192.0.2.1", "remote": "192.0.2.2", "dstport": 8},
            {"name": "eth9.100", "kind": "vlan", "id": 100, "link": "eth9", "mac": "02:00:00:00:00:01", "up": False},
            {"name": "mv", "kind": "macvlan", "link": "eth9", "mode": "private"},
            *({"name": kind, "kind": kind} for kind in ("dummy", "bridge", "ifb")),
        ],
        "cubes": [
            {"name": "br1", "service-name": "simplebridge", "ports": [{"name": "p1", "peer": "veth1"}], "fdb": {"aging-time": 9}},
            {"name": "own", "service-name": "a-service-from-elsewhere", "anything": 1},
        ],
        "attachments": [{"netdev": "eth9", "tcubes": ["ddos1"]}],
    },
}


def load(name: str) -> dict[str, Any]:
    return json.loads((COMMITTED / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    registry = Registry(retrieve=lambda uri: Resource.from_contents(load(uri)))
    return jsonschema.Draft7Validator(load("topology.schema.json"), registry=registry)


def errors(validator: jsonschema.Draft7Validator, document: Any) -> list[tuple[str, str]]:
    found = validator.iter_errors(document)
    return sorted(("/".join(map(str, error.absolute_path)), str(error.validator)) for error in found)


def with_link(**link: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["spec"]["links"] = [{"name": "l", **link}]
    return document


def test_a_full_document_is_accepted(validator: jsonschema.Draft7Validator) -> None:
    assert errors(validator, DOCUMENT) == []


def test_an_empty_spec_is_a_document_but_no_spec_is_none(validator: jsonschema.Draft7Validator) -> None:
    assert errors(validator, {**DOCUMENT, "spec": {}}) == []
    assert errors(validator, {key: value for key, value in DOCUMENT.items() if key != "spec"}) == [("", "required")]
    assert errors(validator, {**DOCUMENT, "spec": None}) == [("spec", "type")]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("apiVersion", "polycube.network/v2", [("apiVersion", "enum")]),
        ("kind", "topology", [("kind", "enum")]),
        ("metadata", {}, [("metadata", "required")]),
        ("metadata", {"name": "a/b"}, [("metadata/name", "pattern")]),
        ("sepc", {}, [("", "additionalProperties")]),
    ],
)
def test_the_head_is_checked(validator: jsonschema.Draft7Validator, key: str, value: Any, expected: list[Any]) -> None:
    assert errors(validator, {**DOCUMENT, key: value}) == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ({"kind": "veth"}, [("spec/links/0", "required")]),
        ({"kind": "veth", "peer": {}}, [("spec/links/0/peer", "required")]),
        ({"kind": "veth", "peer": {"name": "p"}, "id": 3}, [("spec/links/0/id", "not")]),
        ({"kind": "dummy", "peer": {"name": "p"}}, [("spec/links/0/peer", "not")]),
        ({"kind": "dummy", "link": "eth0"}, [("spec/links/0/link", "not")]),
        ({"kind": "tun"}, [("spec/links/0/kind", "enum")]),
        ({}, [("spec/links/0", "required")]),
        ({"kind": "vlan", "link": "eth0"}, [("spec/links/0", "required")]),
        ({"kind": "vlan", "id": 5}, [("spec/links/0", "required")]),
        ({"kind": "vlan", "id": 0, "link": "eth0"}, [("spec/links/0/id", "minimum")]),
        ({"kind": "vlan", "id": 4095, "link": "eth0"}, [("spec/links/0/id", "maximum")]),
        ({"kind": "vxlan", "id": 2**24}, [("spec/links/0/id", "maximum")]),
        ({"kind": "vxlan", "id": 1, "remote": "nowhere"}, [("spec/links/0/remote", "pattern")]),
        ({"kind": "macvlan"}, [("spec/links/0", "required")]),
        ({"kind": "macvlan", "link": "eth0", "mode": "open"}, [("spec/links/0/mode", "enum")]),
        ({"kind": "dummy", "addresses": ["10.0.0.1"]}, [("spec/links/0/addresses/0", "pattern")]),
        ({"kind": "dummy", "mtu": 67}, [("spec/links/0/mtu", "minimum")]),
        ({"kind": "dummy", "routes": [{"to": "all"}]}, [("spec/links/0/routes/0/to", "pattern")]),
    ],
)
def test_a_link_has_what_its_kind_needs_and_nothing_else(
    validator: jsonschema.Draft7Validator, link: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert errors(validator, with_link(**link)) == expected


def test_what_a_kind_needs_is_said_in_words(validator: jsonschema.Draft7Validator) -> None:
    def reasons(**link: Any) -> list[str]:
        return [error.schema["errorMessage"] for error in validator.iter_errors(with_link(**link))]

    assert reasons(kind="veth") == ["a veth needs a peer"]
    assert reasons(kind="vlan", id=4095, link="eth0") == ["a VLAN id is between 1 and 4094"]
    assert reasons(kind="dummy", id=1) == ["'id' is only for kind vxlan or vlan"]


def test_a_cube_is_checked_by_the_schema_of_its_service(validator: jsonschema.Draft7Validator) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["spec"]["cubes"][0]["fdb"]["aging-tine"] = 1
    assert errors(validator, document) == [("spec/cubes/0/fdb", "additionalProperties")]


def test_a_cube_with_shared_lists_is_left_to_validate(validator: jsonschema.Draft7Validator) -> None:
    rule = {"id": 1, "shared": "web", "src-set": "office"}
    firewall = {"name": "fw", "service-name": "firewall", "set": [{"name": "office", "prefix": {"shared": "office"}}],
                "chain": [{"name": "INGRESS", "rule": [rule]}]}  # fmt: skip
    shared = [{"name": "office", "entries": ["192.0.2.7"]}, {"name": "web", "entries": [{"action": "DROP"}]}]
    assert errors(validator, {**DOCUMENT, "spec": {"shared": shared, "cubes": [firewall]}}) == []
    assert errors(validator, {**DOCUMENT, "spec": {"shared": shared, "cubes": [{**firewall, "set": [], "name": 1}]}}) != []
    del rule["shared"]
    firewall["set"] = [{"name": "office", "prefix": 1}]
    assert errors(validator, {**DOCUMENT, "spec": {"cubes": [firewall]}}) != []


def test_a_cube_has_a_name_and_a_service(validator: jsonschema.Draft7Validator) -> None:
    assert errors(validator, {**DOCUMENT, "spec": {"cubes": [{}]}}) == [("spec/cubes/0", "required")] * 2


def test_an_attachment_has_at_least_one_cube(validator: jsonschema.Draft7Validator) -> None:
    document = {**DOCUMENT, "spec": {"attachments": [{"netdev": "eth0", "tcubes": []}, {"netdev": "eth1"}]}}
    assert errors(validator, document) == [("spec/attachments/0/tcubes", "minItems"), ("spec/attachments/1", "required")]


def test_the_order_of_transparent_cubes_counts_and_that_of_addresses_does_not() -> None:
    spec = load("topology.schema.json")["properties"]["spec"]["properties"]
    assert spec["attachments"]["items"]["properties"]["tcubes"]["x-yang-ordered-by"] == "user"
    assert "x-yang-ordered-by" not in spec["links"]["items"]["properties"]["addresses"]


def test_an_option_says_which_kind_it_is_of() -> None:
    link = load("topology.schema.json")["properties"]["spec"]["properties"]["links"]["items"]["properties"]
    assert link["dstport"]["x-yang-when"] == {"xpath": "../kind = 'vxlan'", "leaf": "kind", "in": ["vxlan"]}
    assert link["id"]["x-yang-when"]["in"] == ["vxlan", "vlan"]
