"""Each service's schema takes a sensible cube, and says where a wrong one is wrong."""
from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from schemas.generate.__main__ import COMMITTED


def errors(service: str, **leaves: Any) -> list[tuple[str, str]]:
    """(path in the document, broken keyword) of all errors in a cube of the service."""
    schema = json.loads((COMMITTED / f"{service}.schema.json").read_text(encoding="utf-8"))
    cube = {"name": "c1", "service-name": service, **leaves}
    found = jsonschema.Draft7Validator(schema).iter_errors(cube)
    return sorted(("/".join(map(str, error.absolute_path)), str(error.validator)) for error in found)


PORTS = [{"name": "p1", "peer": "veth1"}, {"name": "p2", "peer": "r1:to_br1", "tcubes": ["fw1", "fw2"]}, {"name": "p3"}]

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("simpleforwarder", {}),
    ("simpleforwarder", {"ports": PORTS, "type": "XDP_DRV", "loglevel": "OFF", "actions": [
        {"inport": "p1", "action": "FORWARD", "outport": "p2"}, {"inport": "p2", "action": "DROP"}]}),
    ("helloworld", {"ports": PORTS[:2], "action": "SLOWPATH"}),
    ("simplebridge", {"ports": PORTS, "fdb": {"aging-time": 120, "entry": [{"address": "02:00:00:00:AB:cd", "port": "p1"}]}}),
    ("simplebridge", {"fdb": {}}),
    ("transparenthelloworld", {"ingress-action": "PASS", "egress-action": "DROP"}),
    ("ddosmitigator", {"blacklist-src": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                       "blacklist-dst": [{"ip": "::ffff:10.0.0.1"}]}),
]

BAD: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("simpleforwarder", {"color": "red"}, [("", "additionalProperties")]),
    ("simpleforwarder", {"service-name": "helloworld"}, [("service-name", "const")]),
    ("simpleforwarder", {"name": "a b"}, [("name", "pattern")]),
    ("simpleforwarder", {"name": "br1\n"}, [("name", "pattern")]),
    ("simpleforwarder", {"name": ""}, [("name", "minLength"), ("name", "pattern")]),
    ("simpleforwarder", {"type": "tc"}, [("type", "enum")]),
    ("simpleforwarder", {"ports": {"p1": {}}}, [("ports", "type")]),
    ("simpleforwarder", {"ports": [{"peer": "veth1"}]}, [("ports/0", "required")]),
    ("simpleforwarder", {"ports": [{"name": "p1", "peer": "r1:p1:p2"}]}, [("ports/0/peer", "pattern")]),
    ("simpleforwarder", {"ports": [{"name": "p1", "peer": "a-device-with-a-long-name"}]}, [("ports/0/peer", "pattern")]),
    ("simpleforwarder", {"ports": [{"name": "p1", "tcubes": ["a", "a"]}]}, [("ports/0/tcubes", "uniqueItems")]),
    ("simpleforwarder", {"ports": [{"name": "p1", "ip": "10.0.0.1"}]}, [("ports/0", "additionalProperties")]),
    ("simpleforwarder", {"ports": [{"name": f"p{i}"} for i in range(129)]}, [("ports", "maxItems")]),
    ("simpleforwarder", {"actions": [{"inport": "p1"}]}, [("actions/0", "required")]),
    ("simpleforwarder", {"actions": [{"inport": "p1", "action": "FORWARD"}]}, [("actions/0", "required")]),
    ("simpleforwarder", {"actions": [{"inport": "p1", "action": 3}]},
     [("actions/0/action", "enum"), ("actions/0/action", "type")]),
    ("simpleforwarder", {"actions": [{"inport": "p1", "action": "DROP", "outport": "p2"}]}, [("actions/0/outport", "not")]),
    ("helloworld", {"ports": PORTS}, [("ports", "maxItems")]),
    ("helloworld", {"action": "PASS"}, [("action", "enum")]),
    ("simplebridge", {"fdb": {"aging-time": -1}}, [("fdb/aging-time", "minimum")]),
    ("simplebridge", {"fdb": {"aging-time": 2**32}}, [("fdb/aging-time", "maximum")]),
    ("simplebridge", {"fdb": {"aging-time": "300"}}, [("fdb/aging-time", "type")]),
    ("simplebridge", {"fdb": {"aging-time": True}}, [("fdb/aging-time", "type")]),
    ("simplebridge", {"fdb": {"entry": [{"address": "02:00:00:00:00", "port": "p1"}]}}, [("fdb/entry/0/address", "pattern")]),
    ("simplebridge", {"fdb": {"entry": [{"address": "02:00:00:00:00:01"}]}}, [("fdb/entry/0", "required")]),
    # State is shown, and never taken: a document cannot make the bridge have seen somebody.
    ("simplebridge", {"fdb": {"entry": [{"address": "02:00:00:00:00:01", "port": "p1", "age": 3}]}},
     [("fdb/entry/0", "additionalProperties")]),
    ("transparenthelloworld", {"ports": []}, [("", "additionalProperties")]),
    ("transparenthelloworld", {"ingress-action": "FORWARD"}, [("ingress-action", "enum")]),
    ("ddosmitigator", {"stats": {"pkts": 1}}, [("stats", "additionalProperties")]),
    ("ddosmitigator", {"blacklist-src": [{"ip": "10.0.0.256"}]}, [("blacklist-src/0/ip", "pattern")]),
    ("ddosmitigator", {"blacklist-src": [{"ip": "10.0.0.0/24"}]}, [("blacklist-src/0/ip", "pattern")]),
    ("ddosmitigator", {"blacklist-src": [{"ip": "2001:db8:::1"}]}, [("blacklist-src/0/ip", "pattern")]),
    ("ddosmitigator", {"blacklist-dst": [{}]}, [("blacklist-dst/0", "required")]),
]


@pytest.mark.parametrize(("service", "leaves"), GOOD)
def test_a_sensible_cube_is_accepted(service: str, leaves: dict[str, Any]) -> None:
    assert errors(service, **leaves) == []


@pytest.mark.parametrize(("service", "leaves", "expected"), BAD)
def test_a_wrong_cube_is_refused_at_the_right_place(
    service: str, leaves: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert errors(service, **leaves) == expected


@pytest.mark.parametrize("service", ["helloworld", "ddosmitigator"])
def test_a_cube_needs_a_name(service: str) -> None:
    schema = json.loads((COMMITTED / f"{service}.schema.json").read_text(encoding="utf-8"))
    [error] = jsonschema.Draft7Validator(schema).iter_errors({"service-name": service})
    assert error.message == "'name' is a required property"


def test_a_blacklist_may_have_four_million_addresses() -> None:
    schema = json.loads((COMMITTED / "ddosmitigator.schema.json").read_text(encoding="utf-8"))
    assert [schema["properties"][f"blacklist-{end}"]["maxItems"] for end in ("src", "dst")] == [1 << 22] * 2


def test_an_error_in_a_pattern_has_a_sentence_for_people() -> None:
    schema = json.loads((COMMITTED / "ddosmitigator.schema.json").read_text(encoding="utf-8"))
    ip = schema["properties"]["blacklist-src"]["items"]["properties"]["ip"]
    assert ip["patternErrorMessage"] == (
        "expected an IPv4 address, such as 10.0.0.1, or an IPv6 address, such as 2001:db8::1")
