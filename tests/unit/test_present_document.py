"""A plan as a document, from steps made by hand."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest
from jsonschema import Draft7Validator

from reconciler.errors import ApplyFailed, DocumentError, Position, Problem
from reconciler.graph.diff import Change
from reconciler.graph.records import (
    GONE,
)
from reconciler.plan.steps import Step
from reconciler.present import DONE, UNDONE, Report, document, exit_code_of_plan, pretty_target, subject
from reconciler.present.rows import Decoder, entries
from tests.unit.data.steps import AGING, HOP, SCHEMA, SERVICES, load, session


def full_report() -> Report:
    found = session(pending=[Change("cube/br1", None, None)])
    error = DocumentError([Problem("no such port", "/spec/cubes/br1", Position("a.yaml", 3, 4), "did you mean p1?")])
    warning = Problem("odd", severity="warning")
    return Report(
        found, Decoder(found, SERVICES), [AGING, HOP, load("a", "b")], UNDONE, [warning], error, [("br1", "p2", "veth9")]
    )


@pytest.mark.parametrize("report", [Report(), full_report(), replace(full_report(), result=DONE, error=ApplyFailed("no"))])
def test_every_document_is_as_its_schema_says(report: Report) -> None:
    Draft7Validator.check_schema(SCHEMA)
    made = json.loads(json.dumps(document(report)))
    assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(made)] == []


def test_the_schema_would_find_a_key_that_nobody_declared() -> None:
    assert list(Draft7Validator(SCHEMA).iter_errors(document(Report()) | {"extra": 1}))


def test_the_summary_counts_what_was_not_undone() -> None:
    done = document(replace(full_report(), result=DONE))["summary"]
    assert done == {
        "program_loads": 1,
        "map_writes": 1,
        "link_changes": 1,
        "pending": 1,
        "drift": 0,
        "disruption": "packets lost",
    }
    undone = document(full_report())["summary"]
    assert (undone["program_loads"], undone["map_writes"], undone["link_changes"], undone["disruption"]) == (0, 0, 0, "none")


def test_an_error_with_notes_says_them_too() -> None:
    error = ApplyFailed("cannot write rows")
    error.add_note("at step 3: write cube/br1/table/fdb_config")
    (problem,) = document(Report(error=error))["errors"]
    assert problem["message"] == "cannot write rows\nat step 3: write cube/br1/table/fdb_config"
    assert (problem["file"], problem["line"], problem["severity"]) == (None, None, "error")


@pytest.mark.parametrize(
    ("pending", "drift", "steps", "code"),
    [(0, 0, [], 0), (1, 0, [AGING], 2), (1, 1, [AGING], 2), (0, 1, [AGING], 3), (0, 0, [AGING], 2), (1, 1, [], 0)],
)
def test_the_exit_code_of_a_plan_follows_from_what_is_printed(pending: int, drift: int, steps: list[Step], code: int) -> None:
    found = session(pending=[Change("x", None, None)] * pending, drift=[Change("y", None, None)] * drift)
    assert exit_code_of_plan(document(Report(found, steps=steps))) == code


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("cube/br1/hop/0", "cube/br1"), ("stub/cubes/eth0%2E1/in/0_p1", "cube/eth0.1"), ("link/:veth1", "netdev/veth1"), ("link/h1:eth0", "netdev/h1/eth0"),
        ("hook/veth1/xdp", "netdev/veth1"), ("offload/h1:eth0", "netdev/h1/eth0"), ("namespace/h1", "namespace/h1"),
    ],
)  # fmt: skip
def test_an_address_belongs_to_what_people_named(address: str, owner: str) -> None:
    assert subject(address) == owner


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("program cubes/br1/in/0_p1", "br1:p1"), ("cubes/br1~old/twin/out/12_a%2Eb", "br1:a.b"), ("cubes/d1/in/0_wire", "d1"), ("netdev veth1", "veth1"),
        ("program program 17", "program 17"), ("program 17", "program 17"), (f"netdev {GONE}#9", GONE), ("pass", "pass"), ("", ""),
    ],
)  # fmt: skip
def test_where_something_leads_is_said_in_names(target: str, words: str) -> None:
    assert pretty_target(target) == words


def test_entries_of_nested_lists_have_a_path_of_their_own() -> None:
    rule = {"type": "array", "x-yang-key": ["id"], "items": {"properties": {"id": {}, "action": {}}}}
    schema = {
        "properties": {
            "chain": {"type": "array", "x-yang-key": ["name"], "items": {"properties": {"name": {}, "default": {}, "rule": rule}}}
        }
    }
    data = {"chain": [{"name": "IN", "default": "DROP", "rule": [{"id": 7, "action": "ACCEPT"}]}], "top": 1}
    assert dict(entries(schema, data)) == {
        "chain[IN]": {"default": "DROP"},
        "chain[IN]/rule[7]": {"action": "ACCEPT"},
        "": {"top": 1},
    }
