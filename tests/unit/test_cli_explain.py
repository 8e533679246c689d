"""What `pcn explain`, `action`, `services` and `schema` say of models, read off the models and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reconciler.check import check
from reconciler.cli.main import main
from reconciler.document.load import parse
from reconciler.engine.actions import actions, answer, find_action, plan_action
from reconciler.errors import DocumentError, UsageError
from reconciler.graph.records import Live, TableRecord
from reconciler.present.explain import explain
from reconciler.service.registry import Service, ServiceFiles, Services

SERVICES = Services()


def service(tmp_path: Path, schema: dict[str, object]) -> Service:
    (tmp_path / "odd.schema.json").write_text(json.dumps(schema))
    return Service(ServiceFiles("odd", tmp_path / "odd.schema.json", tmp_path, tmp_path / "odd.py"))


def test_a_leaf_is_explained_with_its_type_its_default_and_its_cost() -> None:
    found = explain("simplebridge.fdb.aging-time", SERVICES)
    assert found["default"] == 300
    assert found["type"] == "a whole number, 0..4294967295"
    assert found["units"] == "seconds"
    assert found["cost"] == ["One map write; no packet is lost."]


@pytest.mark.parametrize(
    "path", ["simplebridge/fdb/entry/port", "simplebridge.fdb.entry[02:00:00:00:00:01].port", "simplebridge.fdb.entry.port."]
)
def test_a_path_may_have_slashes_dots_and_keys(path: str) -> None:
    assert explain(path, SERVICES)["path"] == "simplebridge.fdb.entry.port"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("simplebridge.loglevel", "Programs are loaded anew and exchanged"),
        ("simplebridge.type", "The cube is made anew"),
        ("simplebridge.name", "another cube"),
        ("simplebridge.ports.peer", "no other program is loaded"),
        ("simplebridge.fdb.entry.address", "one entry is removed and one is added"),
        ("ddosmitigator.blacklist-src", "With the first entry"),
        ("ddosmitigator.stats.pkts", "never in a file"),
        ("spec.links.mtu", "Changed in place"),
        ("spec.links.kind", "made anew"),
        ("links.peer.addresses", "Changed in place"),
    ],
)
def test_the_cost_follows_from_the_model(path: str, words: str) -> None:
    assert words in " ".join(explain(path, SERVICES)["cost"])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("simplebridge.fdb.agin-time", 'did you mean "aging-time"?'),
        ("simplebrigde", 'did you mean "simplebridge"?'),
        ("spec.cubes.fdb", "depend on its service"),
        ("", "say what to explain"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_went_wrong(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        explain(path, SERVICES)


def test_every_key_of_every_model_can_be_explained() -> None:
    def walk(path: str) -> int:
        found = explain(path, SERVICES)
        return 1 + sum(walk(f"{path}.{child['name']}") for kind in ("children", "state") for child in found.get(kind, ()))

    assert sum(walk(name) for name in [*SERVICES.names(), "spec.links", "metadata"]) > 80


def test_actions_are_found_by_path_wherever_they_stand_in_the_model(tmp_path: Path) -> None:
    inner = {"type": "object", "properties": {}, "x-actions": {"reset": {"x-pcn-zero": ["a", "b"]}}}
    chain = {"type": "array", "items": {"type": "object", "properties": {"name": {}, "rule": {"type": "array", "items": inner}}}}
    odd = service(tmp_path, {"properties": {"chain": chain}, "x-actions": {"clear": {"x-pcn-flush": "c"}, "odd": {}}})
    assert set(actions(odd.schema)) == {"clear", "odd", "chain/rule/reset"}
    assert find_action(odd, "chain.rule.reset").zero == ("a", "b")
    with pytest.raises(UsageError, match='did you mean "clear"'):
        find_action(odd, "claer")
    with pytest.raises(UsageError, match="does not say what odd does"):
        plan_action(find_action(odd, "odd"), "c1", Live())


def test_zeroing_a_table_keeps_the_bits_that_are_configuration() -> None:
    chosen = find_action(SERVICES.get("ddosmitigator"), "reset-counters")  # type: ignore[arg-type]
    record = TableRecord("d1", "srcblacklist", "cubes/d1/tables/srcblacklist", (1, 4, 8, 9, 0), {}, b"\xff\xff\0\0\0\0\0\0")
    plan = plan_action(chosen, "d1", Live({record.address: record}))
    kept = {step.address.rpartition("/")[2]: step.operation.keep.hex() for step in plan.steps}
    assert kept["srcblacklist"] == "ffff000000000000"
    assert {step.operation.kind for step in plan.steps} == {"zero_rows"}


def test_an_action_answers_as_its_model_says() -> None:
    assert answer(find_action(SERVICES.get("simplebridge"), "fdb/flush")) == {"flushed": True}  # type: ignore[arg-type]


def test_a_directory_of_services_is_listed_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = {"name": "odd", "kind": "standard", "version": "9", "description": "An odd one", "ingress": [], "egress": []}
    service(tmp_path, {"title": "odd", "properties": {}, "x-pcn-service": meta})
    assert main(["services", "--services", str(tmp_path)]) == 0
    assert ["odd", "standard", "9", "An", "odd", "one"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["schema", "odd", "--services", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "odd"


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "plan"], ["schema", "simplebridge"], ["services", "-o", "json"]])
def test_schemas_and_lists_are_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_key_among_others_says_its_type_whether_it_is_required_its_default_and_an_example() -> None:
    keys = {child["name"]: child for child in explain("simplebridge", SERVICES)["children"]}
    assert keys["name"]["required"] is True
    assert keys["type"]["default"] == "TC"
    assert explain("simplebridge.fdb", SERVICES)["children"][0]["example"] == 300


@pytest.mark.parametrize("name", SERVICES.names())
def test_a_service_says_how_it_is_attached_and_what_it_says_can_be_applied(name: str) -> None:
    lines = explain(name, SERVICES)["usage"]
    text = "\n".join(f"  {line}" for line in lines).replace("NETDEV", "veth1").replace("'CUBE:PORT'", "veth2")
    head = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n"
    assert complaints(head + text) == []


def complaints(text: str) -> list[str]:
    try:
        check(parse(text, "t.yaml"), SERVICES)
    except DocumentError as error:
        return [str(problem.message) for problem in error.problems]
    return []


def test_a_key_that_takes_several_kinds_of_values_says_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "firewall.chain.rule.dport"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "type: a whole number, 0..65535; or a range such as 1000-2000, a service such as https" in said
    assert "or a list of such" in said
