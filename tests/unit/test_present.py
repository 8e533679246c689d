"""A plan as a document and as text, from steps made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import ClassVar

import pytest
from jsonschema import Draft7Validator

from reconciler.errors import ApplyFailed, DocumentError, Position, Problem
from reconciler.graph.diff import Change
from reconciler.graph.intend import Built, Desired
from reconciler.graph.records import (
    GONE,
    CubeRecord,
    HookRecord,
    HopRecord,
    Live,
    PortRecord,
    ProgramRecord,
    State,
    TableRecord,
)
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Disruption, Operation, Plan, Rank, Step
from reconciler.present import DONE, UNDONE, Report, document, exit_code_of_plan, pretty_target, subject
from reconciler.present.drift import drift_document, drift_text
from reconciler.present.rows import Decoder, entries
from reconciler.present.text import render
from reconciler.service import Services
from reconciler.service.codec import Env
from reconciler.survey import Survey

SERVICES = Services()
SCHEMA = json.loads(files("reconciler").joinpath("present", "present.schema.json").read_text())


class Layout:
    def __init__(self, size: int, *fields: tuple[str, int, int]) -> None:
        self.size = size
        self.fields = [type("Field", (), {"name": name, "offset": offset, "size": width}) for name, offset, width in fields]


class Table:
    def __init__(self, type: int, key: Layout, value: Layout) -> None:
        self.type, self.key, self.value, self.max_entries = type, key, value, 16


class Compiled:
    """As much of a compiled bridge as rows and constants need."""

    digest = "d1" * 32
    constants: ClassVar = {"CUBE": 0, "LOGLEVEL": 4, "STATIC": 8}
    tables: ClassVar = {
        "fdb_config": Table(2, Layout(4), Layout(4, ("aging_time", 0, 4))),
        "fdb_static": Table(1, Layout(8, ("mac", 0, 6)), Layout(8, ("port", 0, 4), ("seen", 4, 4))),
    }


def state(*records) -> State:
    return {record.address: record for record in records}


BRIDGE = (CubeRecord("br1", "simplebridge", "t", "TC"), PortRecord("br1", "p1", 0, "veth1"), PortRecord("br1", "p2", 1, "veth2"))


def survey(live: State | None = None, desired: State | None = None, **rest) -> Survey:
    return Survey(
        Desired(state(*BRIDGE) | (desired or {})), Live(state(*BRIDGE) | (live or {})), Plan(), built={("simplebridge", "TC"): Built({0: Compiled()})},
        objects={Compiled.digest: Compiled()}, **rest,
    )  # fmt: skip


def shown(*steps: Step, done: bool = False, most: int | None = 6, **rest) -> str:
    found = survey(**rest)
    return render(document(Report(found, Decoder(found, SERVICES), steps, most=most)), done=done)


def write(rows: dict[str, str], before: dict[str, str] | None = None, table: str = "fdb_static") -> Step:
    args = {"path": f"cubes/br1/tables/{table}", "rows": rows, "mask": "ffffffff00000000"}
    address = f"cube/br1/table/{table}"
    return Step(
        Rank.ROWS,
        address,
        "write",
        "configuration",
        Operation("write_rows", args),
        (),
        before,
        rows,
        counts=MAP_WRITES,
        count=len(rows),
    )


def entry(number: int, port: int) -> tuple[str, str]:
    return f"02000000{number:04x}0000", f"{port.to_bytes(4, 'little').hex()}00000000"


AGING = write({"00000000": "3c000000"}, {"00000000": "78000000"}, "fdb_config")
HOP = Step(Rank.UNHOP, "cube/br1/hop/1", "delete", "leads nowhere now", Operation("set_hop", {}), (), "netdev veth2", None, Disruption.PACKETS_LOST,
           LINK_CHANGES, 1, ("r1",))  # fmt: skip


def load(before: str, after: str) -> Step:
    return Step(Rank.PROGRAM, "cube/br1/program/ingress_0", "update", "its constants change", Operation("load_program", {}), (), before, after,
                counts=PROGRAM_LOADS, count=1)  # fmt: skip


# -- text --------------------------------------------------------------------------------------------------------------------


def test_one_change_is_one_line_in_the_words_of_the_model_with_its_cost() -> None:
    assert shown(AGING) == (
        "~ br1  fdb/aging-time: 120 -> 60   1 map write\n"
        "Plan: 0 program loads, 1 map write, 0 link changes; disruption: none."
    )  # fmt: skip


def test_an_empty_plan_says_that_there_is_nothing_to_do() -> None:
    assert shown() == "Nothing to do: the kernel holds what the file says."


def test_what_was_done_is_said_to_be_done() -> None:
    assert shown(AGING, done=True).splitlines()[-1].startswith("Applied: 0 program loads, 1 map write")


def test_entries_of_a_list_are_named_by_their_key_and_shown_by_what_changes() -> None:
    (old, was), (new, value) = entry(1, 0), entry(2, 1)
    text = shown(write({old: entry(1, 1)[1], new: value}, {old: was}))
    assert "    ~ fdb/entry[02:00:00:00:00:01]/port: p1 -> p2\n" in text
    assert "    + fdb/entry[02:00:00:00:00:02]: port p2\n" in text


def test_removed_entries_are_shown_with_what_they_said() -> None:
    key, value = entry(1, 0)
    gone = Step(Rank.ROWS, "cube/br1/table/fdb_static", "delete", "no longer configured", Operation("delete_rows", {"keys": [key]}), (), {key: value}, None,
                counts=MAP_WRITES, count=1)  # fmt: skip
    assert shown(gone).splitlines()[:2] == ["~ br1   1 map write", "    - fdb/entry[02:00:00:00:00:01]: port p1"]


def test_many_rows_are_summarised_and_only_those_shown_are_decoded() -> None:
    text = shown(write(dict(entry(number, 0) for number in range(1000))))
    assert text.count("fdb/entry[") == 6
    assert "    + … and 994 more rows of fdb_static" in text
    assert "1000 map writes" in text


def test_the_json_document_has_all_rows() -> None:
    found = survey()
    steps = [write(dict(entry(number, 0) for number in range(1000)))]
    assert len(document(Report(found, Decoder(found, SERVICES), steps))["steps"][0]["after"]) == 1000


def test_rows_of_a_table_that_nobody_knows_stay_hexadecimal() -> None:
    text = shown(write({"00000000": "01000000"}, table="derived"))
    assert "0x00000000: 0x01000000" in text


def test_a_program_swap_names_the_leaf_that_it_is_for() -> None:
    words = [bytes(4) + level.to_bytes(4, "little") + any_.to_bytes(4, "little") for level, any_ in ((2, 0), (1, 1))]
    old, new = (ProgramRecord("br1", "", "ingress", 0, Compiled.digest, each) for each in words)
    text = shown(load(old.object, new.object), live=state(old), desired=state(new))
    assert "    ~ loglevel: INFO -> DEBUG\n" in text
    assert "    ~ fdb/entry has entries: false -> true\n" in text


def test_a_program_swap_for_new_code_says_so() -> None:
    assert "~ br1  program ingress_0 its constants change   1 program load" in shown(load("a", "b"))


def test_a_cube_with_very_many_changes_says_how_many_more_there_are_and_hides_nothing_that_costs() -> None:
    ports = [
        Step(Rank.NAMES, f"cube/br1/port/p{number}", "create", "", Operation("set_link", {}), (), None, "-")
        for number in range(128)
    ]
    lines = shown(*ports, HOP).splitlines()
    assert len(lines) == 24
    assert lines[-3:-1] == ["    ! next hop 1 leads nowhere now (packets lost)", "      … and 108 more changes, which -v shows"]


def test_what_disrupts_is_never_hidden_and_says_who_feels_it() -> None:
    text = shown(AGING, HOP)
    assert "    ! next hop 1 leads nowhere now (packets lost)\n" in text
    assert text.endswith("disruption: packets lost (br1, r1).")


def test_noise_is_left_out_and_shown_only_in_full() -> None:
    noise = Step(Rank.NAMES, "cube/br1/generation/2", "commit", "in force", Operation("set_link", {}))
    plan = document(Report(steps=[noise, replace(AGING, before=None)]))
    assert "generation" not in render(plan, done=False)
    assert "~ commit  commit   cube/br1/generation/2  in force" in render(plan, done=False, verbose=True)


def test_a_new_cube_and_netdev_have_one_group_each() -> None:
    link = Step(
        Rank.LINK,
        "link/:veth1",
        "create",
        "in the topology",
        Operation("create_link", {}),
        (),
        None,
        "veth to h1/eth0",
        counts=LINK_CHANGES,
        count=1,
    )
    end = {"name": "eth0", "netns": "h1"}
    settings = Step(Rank.LINK_SETTINGS, "link/:veth1", "update", "its settings differ", Operation("configure_end", {"end": end}), (),
                    {"addresses": ()}, {"addresses": ("10.0.0.1/24",)})  # fmt: skip
    hook = Step(
        Rank.ATTACH,
        "hook/veth1/tcx_ingress",
        "create",
        "",
        Operation("attach_hook", {}),
        (),
        None,
        "cubes/br1/in/0_p1",
        counts=LINK_CHANGES,
        count=1,
    )
    cube = Step(
        Rank.DIRECTORY, "cube/br1", "create", "in the topology", Operation("make_directory", {}), (), None, "simplebridge (TC)"
    )
    port = Step(Rank.NEW_HOP, "cube/br1/port/p1", "create", "names its peer", Operation("set_link", {}), (), None, "veth1")
    stub = Step(
        Rank.STUB, "stub/cubes/br1/in/0_p1", "create", "the way in", Operation("load_stub", {}), (), counts=PROGRAM_LOADS, count=1
    )
    spaces = [
        Step(Rank.NAMESPACE, f"namespace/h{number}", "create", "in the topology", Operation("create_namespace", {}))
        for number in (1, 2)
    ]
    assert shown(*spaces, link, settings, cube, port, stub, hook) == (
        "+ namespaces  h1, h2\n"
        "+ veth1       veth to h1/eth0     2 link changes\n"
        "    + h1/eth0: 10.0.0.1/24\n"
        "+ br1         simplebridge (TC)   1 program load\n"
        "    + port p1 -> veth1\n"
        "Plan: 1 program load, 0 map writes, 2 link changes; disruption: none."
    )


def test_netdevs_that_go_at_once_are_named_one_by_one() -> None:
    links = [
        {"kind": "veth", "end": {"name": "veth1", "netns": None}, "peer": {"name": "eth0", "netns": "h1"}},
        {"kind": "veth", "end": {"name": "eth0", "netns": "h2"}, "peer": {"name": "veth2", "netns": None}},
    ]
    step = Step(
        Rank.RETIRE_LINK,
        "links",
        "delete",
        "no longer in a topology",
        Operation("delete_links", {"links": links}),
        counts=LINK_CHANGES,
        count=2,
    )
    assert shown(step).splitlines()[:2] == [
        "- veth1    veth to h1/eth0   1 link change",
        "- h2/eth0  veth to veth2     1 link change",
    ]


def test_what_waits_and_what_should_be_known_is_said_before_the_totals() -> None:
    found = survey()
    found.plan = Plan(notes=("veth9 carries XDP traffic",))
    found.drift = [Change("hook/veth1/xdp", None, None)]
    lines = render(
        document(Report(found, steps=[AGING], waiting=[("br1", "p2", "veth9"), ("", "", "eth7")])), done=False
    ).splitlines()
    assert lines[-5:-1] == [
        "drift: 1 object not as applied before",
        "waiting: port p2 of br1 for netdev veth9, which is not there yet",
        "waiting: an attachment for netdev eth7, which is not there yet",
        "note: veth9 carries XDP traffic",
    ]


def test_text_from_the_kernel_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown(replace(AGING, address="cube/\x1b[31m/table/fdb_config"))


# -- the document ------------------------------------------------------------------------------------------------------------


def full_report() -> Report:
    found = survey(pending=[Change("cube/br1", None, None)])
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
    found = survey(pending=[Change("x", None, None)] * pending, drift=[Change("y", None, None)] * drift)
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


# -- drift -------------------------------------------------------------------------------------------------------------------


def drift_of(*changes: Change) -> dict:
    return drift_document(changes, Decoder(survey(), SERVICES))


def test_no_drift_is_said_in_one_line() -> None:
    assert drift_text(drift_of()) == "No drift: the kernel holds what was applied."


def test_a_row_that_was_changed_is_said_in_leaves() -> None:
    def table(value: str) -> TableRecord:
        return TableRecord(
            "br1", "fdb_config", "cubes/br1/tables/fdb_config", (2, 4, 4, 1, 0), {bytes(4): bytes.fromhex(value)}, b"\xff" * 4
        )

    found = drift_of(Change("cube/br1/table/fdb_config", table("09000000"), table("78000000")))
    assert found["drift"][0]["applied"] == {"fdb/aging-time": 120}
    assert found["drift"][0]["live"] == {"fdb/aging-time": 9}
    assert drift_text(found).splitlines()[0] == "~ cube/br1/table/fdb_config  fdb/aging-time: 120 -> 9"


def test_a_cube_that_is_gone_is_one_thing() -> None:
    parts = [Change(record.address, None, record) for record in BRIDGE]
    assert [(each["address"], each["state"]) for each in drift_of(*parts)["drift"]] == [("cube/br1", "missing")]


def test_each_kind_of_damage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hop = HopRecord("br1", "", 1, "netdev", "veth2")
    hook = HookRecord("veth1", "tcx_ingress", "cubes/br1/in/0_p1")
    program = ProgramRecord("br1", "", "ingress", 0, Compiled.digest, bytes(12))
    text = drift_text(drift_of(
        Change(hop.address, replace(hop, target="veth1"), hop), Change(hook.address, replace(hook, stub=GONE), hook),
        Change(program.address, replace(program, object="foreign:0a/7"), program), Change("hook/eth9/xdp", HookRecord("eth9", "xdp", "x"), None),
    )).splitlines()  # fmt: skip
    assert text[0] == "~ cube/br1/hop/1              target: veth2 -> veth1"
    assert text[1] == "- hook/veth1/tcx_ingress      is gone"
    assert text[2].endswith("program: d1d1d1d1d1d1 -> another program (0a/7)")
    assert text[3] == "+ hook/eth9/xdp               was not applied"
    assert text[4].startswith("Drift: 4 objects")


def test_ports_are_named_by_those_that_are_live() -> None:
    found = survey(live=state(replace(BRIDGE[1], name="old")), desired=state())
    decoder = Decoder(found, SERVICES)
    key, value = (bytes.fromhex(each) for each in entry(1, 0))
    assert decoder.rows("br1", "fdb_static", {key: value}, live=False) == {"fdb/entry[02:00:00:00:00:01]": {"port": "p1"}}
    assert decoder.rows("nosuch", "fdb_static", {key: value}, live=False) == {f"0x{key.hex()}": f"0x{value.hex()}"}
    assert Env().port_name(3) == "#3"
