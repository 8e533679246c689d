"""The quick test and jsonschema agree."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from jsonschema import Draft7Validator

from reconciler.check.schema import topology_schema
from reconciler.check.schema_compiler import quick_test
from tests.unit.data.documents import stand_in
from tests.unit.data.generated import like

BUILT_IN = sorted((Path(__file__).parents[2] / "schemas" / "json").glob("*.schema.json"))
def agree(schema, data):
    assert quick_test(schema)(data) == Draft7Validator(schema).is_valid(data), data


HEAD = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "t"}}
HUB, WALL = stand_in("hub").schema, stand_in("wall").schema


@settings(deadline=None)
@given(like(HUB))
def test_they_agree_about_a_standard_cube(data):
    agree(HUB, data)


@settings(deadline=None)
@given(like(WALL))
def test_they_agree_about_a_transparent_cube(data):
    agree(WALL, data)


@settings(deadline=None)
@given(like(topology_schema()))
def test_they_agree_about_a_topology(data):
    agree(topology_schema(), data)


@settings(deadline=None)
@given(like(topology_schema()["properties"]["spec"]["properties"]["links"]["items"]))
def test_they_agree_about_links(data):
    agree(topology_schema()["properties"]["spec"]["properties"]["links"]["items"], data)


def test_valid_data_is_really_found_valid():
    assert quick_test(HUB)({"name": "c", "service-name": "hub", "ports": [{"name": "p"}], "burst": 5, "speed": "auto"})
    links = [{"name": "v", "kind": "vlan", "id": 7, "link": "eth0"}, {"name": "w", "kind": "veth", "peer": {"name": "x"}}]
    assert quick_test(topology_schema())({**HEAD, "spec": {"links": links}})


SMALL = [
    True, False, {"not": {}}, {"type": ["integer", "null"]}, {"type": "number", "maximum": 5}, {"enum": ["a", "b"]},
    {"const": "a"}, {"minLength": 1, "maxLength": 2}, {"pattern": "^a$"}, {"uniqueItems": True}, {"uniqueItems": False},
    {"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, {"allOf": [{"minimum": 1}, {"maximum": 3}]},
    {"anyOf": [{"type": "integer"}, {"pattern": "a", "type": "string"}]}, {"properties": {"a": False}},
    {"required": ["a"], "additionalProperties": False, "properties": {"a": {}}},
    {"if": {"properties": {"a": {"const": "b"}}, "required": ["a"]}, "then": {"required": ["c"]},
     "else": {"properties": {"c": {"not": {}}}}},
]
VALUES = [None, True, False, 0, 1, 1.0, 4, 0.5, "a", "b", "aaa", "", [], ["a"], ["a", "a"], ["a", "b", "c"], [1], {}, {"a": "b"},
          {"a": "b", "c": 1}, {"c": 1}, {"a": 1}]


@pytest.mark.parametrize("schema", SMALL, ids=json.dumps)
@pytest.mark.parametrize("data", VALUES, ids=repr)
def test_they_agree_about_each_keyword(schema, data):
    validator = Draft7Validator(schema)
    if schema == {"uniqueItems": True} and data == [1]:
        assert not quick_test(schema)(data)  # only lists of text are looked at; jsonschema has the last word
    else:
        assert quick_test(schema)(data) == validator.is_valid(data)


@pytest.mark.parametrize("schema", [
    {"patternProperties": {"a": {}}}, {"oneOf": [{}]}, {"enum": [1, 2]}, {"not": {"type": "null"}}, {"items": [{}]},
    {"additionalProperties": {"type": "null"}}, {"if": {"minimum": 3}, "then": {}}, {"properties": {"a": {"multipleOf": 2}}},
    {"$ref": "#"},
], ids=json.dumps)
def test_a_schema_that_is_not_fully_known_is_left_to_jsonschema(schema):
    assert not quick_test(schema)({})


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.name)
def test_the_built_in_schemas_are_fully_known(path):
    schema = json.loads(path.read_text())
    if path.name == "topology.schema.json":
        schema = topology_schema()
    known = {"name": "t", "service-name": path.name.removesuffix(".schema.json")}
    data = {**HEAD, "spec": {}} if path.name == "topology.schema.json" else known
    assert quick_test(schema)(data) == Draft7Validator(schema).is_valid(data)
