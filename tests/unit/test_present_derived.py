"""Rows that a Python half derives, as a person reads them."""
from __future__ import annotations

import json

from reconciler.compiler.struct_layout import Field, StructLayout
from reconciler.engine.session import Session
from reconciler.graph.parts import Built, Desired
from reconciler.graph.records import CubeRecord, Live, State, TopologyRecord
from reconciler.model import BuildKey
from reconciler.plan.operations import SetDocument, WriteRows
from reconciler.plan.steps import MAP_WRITES, Plan, Rank, Step
from reconciler.present import Report, document
from reconciler.present.fields import name, said
from reconciler.present.renumbered import changed_entries
from reconciler.present.rows import Decoder
from reconciler.present.text import render
from reconciler.service.registry import Services

PREFIX = StructLayout("struct", 8, "prefix", (Field("length", 0, 4), Field("address", 4, 4, 4)))
INNER = StructLayout("struct", 4, "life", (Field("born", 0, 2), Field("dies", 2, 2, signed=True)))
ROW = StructLayout("struct", 44, "row", (
    Field("mac", 0, 6, 6), Field("port", 6, 2), Field("via", 8, 16, 16), Field("flags", 24, 4, 4), Field("lives", 28, 8, 2, nested=INNER),
    Field("odd", 36, 3, 3), Field("zero", 39, 1), Field("words", 40, 4, 2),
))  # fmt: skip


def test_a_row_is_said_in_the_fields_of_its_struct():
    raw = bytes.fromhex("020000000001 0700 00000000000000000000ffff0a000001 01020304 0500ffff 00000000 aabbcc 00 01000000")
    assert said(ROW, raw) == {
        "mac": "02:00:00:00:00:01", "port": 7, "via": "10.0.0.1", "flags": "1.2.3.4", "lives[0]/born": 5, "lives[0]/dies": -1,
        "odd": "0xaabbcc", "zero": 0, "words[0]": 1,
    }  # fmt: skip


def test_a_row_is_called_by_its_key():
    assert name("fib4", PREFIX, bytes.fromhex("180000000a000200")) == "fib4[length 24, address 10.0.2.0]"
    assert name("counters", StructLayout("scalar", 8), (7).to_bytes(8, "little")) == "counters[7]"
    assert said(StructLayout("bytes", 12), bytes(12)) == {"value": "0x" + "00" * 12}


class Table:
    type, max_entries, key, value = 1, 16, PREFIX, StructLayout("scalar", 4)


class Compiled:
    digest, constants, tables = "d1" * 32, {}, {"cells4": Table, "versions": Table}


def side(rules: list[dict[str, object]]) -> State:
    cube = {"name": "fw", "service-name": "firewall", "chain": [{"name": "INGRESS", "rule": rules}]}
    records = (CubeRecord("fw", "firewall", "t", "TC"), TopologyRecord("t", json.dumps({"spec": {"cubes": [cube]}})))
    return {record.address: record for record in records}


def plan(before: list[dict[str, object]], after: list[dict[str, object]], most: int | None) -> dict[str, object]:
    rows = {table: {number.to_bytes(8, "big"): b"\1\0\0\0" for number in range(count)} for table, count in (("cells4", 9), ("versions", 1))}
    steps = [Step(Rank.ROWS, f"cube/fw/table/{table}", "write", "configuration", WriteRows("", each, b""), (), {}, each,
                  counts=MAP_WRITES, count=len(each)) for table, each in rows.items()]  # fmt: skip
    built = {BuildKey("firewall", "TC"): Built({0: Compiled()})}
    session = Session(Desired(side(after)), Live(side(before)), Plan(), built=built, objects={Compiled.digest: Compiled()})
    return document(Report(session, Decoder(session, Services()), steps, most=most))


OLD = [{"id": 1, "dport": 80}, {"id": 2}]
NEW = [{"id": 1, "dport": 81}, {"id": 3, "src": "10.0.0.1"}]


def test_a_rule_that_is_many_rows_is_said_as_it_is_written():
    assert render(plan(OLD, NEW, 6), done=False).splitlines()[:-1] == [
        "~ fw   10 map writes",
        "    ~ chain[INGRESS]/rule[1]/dport: 80 -> 81",
        "    - chain[INGRESS]/rule[2]",
        "    + chain[INGRESS]/rule[3]: src 10.0.0.1",
    ]


def test_derived_rows_that_change_without_the_configuration_are_counted_and_their_tables_shown_in_full_only():
    assert render(plan(OLD, OLD, 6), done=False).splitlines()[0] == "~ fw  10 rows that its configuration comes to   10 map writes"
    assert "cube/fw/table/cells4" in render(plan(OLD, OLD, 6), done=False, verbose=True)


def test_a_rule_before_many_others_is_one_rule_and_not_a_change_of_all():
    rules = [{"id": number, "dport": number + 80, "description": f"rule {number}"} for number in range(600)]
    after = [{"id": 0, "src": "9.9.9.9"}, *({**rule, "id": rule["id"] + 1} for rule in rules)]
    after[300]["action"] = "DROP"
    assert render(plan(rules, after, 6), done=False).splitlines()[1:-1] == [
        "    + chain[INGRESS]/rule[0]: src 9.9.9.9",
        "    + chain[INGRESS]/rule[300] (was [299])/action: DROP",
        "    ~ chain[INGRESS]/rule: 599 with another number only ([0] to [599] are [1] to [600] now)",
    ]


def test_numbered_entries_are_said_in_their_order_and_what_goes_between_two_is_gone():
    rules = {f"chain[INGRESS]/rule[{number}]": {"dport": number + 80} for number in range(12)}
    less = dict(rules)
    del less["chain[INGRESS]/rule[10]"], less["chain[INGRESS]/rule[9]"]
    assert list(changed_entries(rules, less)) == [("-", f"chain[INGRESS]/rule[{n}]: dport {n + 80}") for n in (9, 10)]
    assert list(changed_entries({"a[2]": {"x": 1}, "b": 1}, {"a[3]": {"x": 1}, "b": 2})) == [
        ("~", "b: 1 -> 2"), ("~", "a: 1 with another number only ([2] is [3] now)"),
    ]  # fmt: skip


def test_very_many_entries_that_differ_are_compared_by_their_numbers_and_in_time():
    old, new = ({f"r[{number}]": {"dport": number + shift} for number in range(5000)} for shift in (0, 10000))
    assert len(list(changed_entries(old, new))) == 5000


def test_a_description_that_changes_is_said_although_nothing_in_the_kernel_does():
    def described(text: str) -> State:
        return side([{"id": 1, "dport": 80, "description": text}])

    record = Step(Rank.DOCUMENT, "topology/t", "update", "the applied document", SetDocument("topologies/t", ""), (), None, None)
    session = Session(Desired(described("new")), Live(described("old")), Plan())
    found = document(Report(session, Decoder(session, Services()), [record], most=6))
    assert render(found, done=False).splitlines()[0] == "~ fw  chain[INGRESS]/rule[1]/description: old -> new"
    same = Session(Desired(described("old")), Live(described("old")), Plan())
    text = render(document(Report(same, Decoder(same, Services()), [record], most=6)), done=False)
    assert text.splitlines()[0] == "~ t  its text alone, of which nothing in the kernel depends"


def test_the_json_document_has_the_change_and_all_rows():
    found = plan(OLD, NEW, None)
    assert found["configurations"]["fw"]["after"] == {"chain[INGRESS]/rule[1]": {"dport": 81}, "chain[INGRESS]/rule[3]": {"src": "10.0.0.1"}}
    assert len(found["steps"][0]["after"]) == 9
