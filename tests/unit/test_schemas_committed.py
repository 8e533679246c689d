"""The JSON Schemas in the repository are what the models say, and are schemas at all."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.generate.__main__ import COMMITTED, as_text, built_in_schemas, main, out_of_date
from schemas.generate.kernel import ENCODINGS

SERVICES = ["ddosmitigator", "helloworld", "simplebridge", "simpleforwarder", "transparenthelloworld"]
FILES = [f"{name}.schema.json" for name in [*SERVICES, "topology"]]


def read(name: str) -> dict[str, Any]:
    return json.loads((COMMITTED / name).read_text(encoding="utf-8"))


def schemas_below(node: Any) -> Iterator[dict[str, Any]]:
    """All objects in a schema file: subschemas, and a few things that are none and look like none. Not conditions, which describe
    nothing."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key != "definitions":
                yield from schemas_below(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas_below(value)


def test_the_committed_schemas_are_what_the_models_give() -> None:
    assert out_of_date(built_in_schemas(), COMMITTED) == []


@pytest.mark.parametrize("home", ["services/doorman", "services/tokenbucket", "package/pcn_turnstile", "remote"])
def test_the_schemas_of_the_sample_services_are_what_their_models_give(home: str) -> None:
    assert main(["--services", str(COMMITTED.parents[1] / "examples" / home), "--check"]) == 0


def test_check_finds_a_changed_a_missing_and_a_left_over_file(tmp_path: Path) -> None:
    files = {"a.schema.json": "1", "b.schema.json": "2"}
    (tmp_path / "a.schema.json").write_text("changed")
    (tmp_path / "old.schema.json").write_text("3")
    assert [path.name for path in out_of_date(files, tmp_path)] == ["a.schema.json", "b.schema.json", "old.schema.json"]


def test_generating_twice_gives_the_same_bytes() -> None:
    assert built_in_schemas() == built_in_schemas()
    assert all(as_text(read(name)) == text for name, text in built_in_schemas().items())


def test_check_mode_writes_nothing_and_says_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in COMMITTED.iterdir()}
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""
    assert {path: path.stat().st_mtime_ns for path in COMMITTED.iterdir()} == before


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_a_draft_07_schema(name: str) -> None:
    schema = read(name)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("name", FILES)
def test_every_pattern_compiles_and_every_object_is_closed(name: str) -> None:
    for schema in schemas_below(read(name)):
        if isinstance(schema.get("pattern"), str):
            re.compile(schema["pattern"])
        if schema.get("type") == "object":
            assert "additionalProperties" in schema


@pytest.mark.parametrize("name", FILES)
def test_every_property_is_described(name: str) -> None:
    for schema in schemas_below(read(name)):
        if schema.get("type") == "object":
            undescribed = [key for key, value in schema["properties"].items() if not value.get("description")]
            assert undescribed == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_leaf_that_reaches_the_kernel_says_how(service: str) -> None:
    reaching = [node for node in schemas_below(read(f"{service}.schema.json"))
                if {"x-pcn-key", "x-pcn-value", "x-pcn-const"} & node.keys()]
    assert reaching
    for node in reaching:
        assert node["x-pcn-encoding"] in ENCODINGS
        assert ("x-pcn-enum" in node) == (node["x-pcn-encoding"] == "enum")


@pytest.mark.parametrize(
    ("service", "kind", "ports", "ingress", "egress", "floods"),
    [
        ("simpleforwarder", "standard", 128, ["simpleforwarder.c"], [], False),
        ("helloworld", "standard", 2, ["helloworld.c"], ["helloworld.c"], False),
        ("simplebridge", "standard", 128, ["simplebridge.c"], [], True),
        ("transparenthelloworld", "transparent", 0, ["transparenthelloworld.c"], ["transparenthelloworld.c"], False),
        ("ddosmitigator", "transparent", 0, ["ddosmitigator.c"], [], False),
    ],
)
def test_what_each_service_is_made_of(
    service: str, kind: str, ports: int, ingress: list[str], egress: list[str], floods: bool
) -> None:
    schema = read(f"{service}.schema.json")
    about = schema["x-pcn-service"]
    assert (about["name"], about["kind"], about["max-ports"]) == (service, kind, ports)
    assert (about["ingress"], about["egress"], about["floods"]) == (ingress, egress, floods)
    assert ("ports" in schema["properties"]) == (kind == "standard")
    assert schema["title"] == service


def test_where_the_bridge_keeps_its_leaves() -> None:
    fdb = read("simplebridge.schema.json")["properties"]["fdb"]
    entry = fdb["properties"]["entry"]
    assert (entry["x-yang-key"], entry["x-pcn-table"], entry["x-pcn-learned"]) == (["address"], "fdb_static", "fwdtable")
    assert entry["x-pcn-const-any"] == "STATIC"
    leaves = entry["items"]["properties"]
    assert (leaves["address"]["x-pcn-key"], leaves["address"]["x-pcn-encoding"]) == ("mac", "mac")
    assert (leaves["port"]["x-pcn-value"], leaves["port"]["x-pcn-encoding"], leaves["port"]["x-pcn-ref"]) == ("port",) * 3
    age = entry["items"]["x-state"]["age"]
    assert (age["x-pcn-value"], age["x-pcn-encoding"]) == ("seen", "age")
    assert fdb["x-actions"]["flush"]["x-pcn-flush"] == "fwdtable"
    assert fdb["x-actions"]["flush"]["input"] is None
    assert fdb["x-actions"]["flush"]["output"]["required"] == ["flushed"]
    aging = fdb["properties"]["aging-time"]
    assert (aging["default"], aging["x-units"], aging["x-pcn-table"]) == (300, "seconds", "fdb_config")


def test_numbers_of_enums_are_those_of_the_models() -> None:
    forwarder = read("simpleforwarder.schema.json")["properties"]["actions"]["items"]["properties"]
    assert forwarder["action"]["x-pcn-enum"] == {"DROP": 1, "SLOWPATH": 2, "FORWARD": 3}
    assert read("helloworld.schema.json")["properties"]["action"]["x-pcn-enum"] == {"DROP": 0, "SLOWPATH": 1, "FORWARD": 2}
    transparent = read("transparenthelloworld.schema.json")
    assert transparent["properties"]["egress-action"]["x-pcn-enum"] == {"PASS": 0, "DROP": 1, "SLOWPATH": 2}
    assert transparent["x-pcn-table"] == "action_map"


def test_an_action_can_zero_several_tables() -> None:
    actions = read("ddosmitigator.schema.json")["x-actions"]
    assert actions["reset-counters"]["x-pcn-zero"] == ["dropcnt", "srcblacklist", "dstblacklist"]
