"""A plan as text, from steps made by hand."""
from __future__ import annotations

from dataclasses import replace

from reconciler.graph.diff import Change
from reconciler.graph.records import (
    ProgramRecord,
)
from reconciler.model import Link, LinkEnd
from reconciler.plan.operations import (
    AttachHook,
    ConfigureEnd,
    CreateLink,
    CreateNamespace,
    DeleteLinks,
    DeleteRows,
    LoadStub,
    MakeDirectory,
    SetLink,
)
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Plan, Rank, Step
from reconciler.present import Report, document
from reconciler.present.rows import Decoder
from reconciler.present.text import render
from tests.unit.data.steps import AGING, HOP, SERVICES, Compiled, entry, load, raw, session, shown, state, write


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
    gone = Step(Rank.ROWS, "cube/br1/table/fdb_static", "delete", "no longer configured", DeleteRows("", (bytes.fromhex(key),)), (), raw({key: value}), None,
                counts=MAP_WRITES, count=1)  # fmt: skip
    assert shown(gone).splitlines()[:2] == ["~ br1   1 map write", "    - fdb/entry[02:00:00:00:00:01]: port p1"]


def test_many_rows_are_summarised_and_only_those_shown_are_decoded() -> None:
    text = shown(write(dict(entry(number, 0) for number in range(1000))))
    assert text.count("fdb/entry[") == 6
    assert "    + … and 994 more rows" in text
    assert "1000 map writes" in text


def test_the_json_document_has_all_rows() -> None:
    found = session()
    steps = [write(dict(entry(number, 0) for number in range(1000)))]
    assert len(document(Report(found, Decoder(found, SERVICES), steps))["steps"][0]["after"]) == 1000


def test_rows_of_a_table_that_nobody_knows_stay_hexadecimal() -> None:
    text = shown(write({"00000000": "01000000"}, table="derived"))
    assert "0x00000000: 0x01000000" in text


def test_removed_rows_are_said_in_the_order_in_which_people_count() -> None:
    rows = dict(entry(number, 0) for number in (2, 16, 1, 9, 3, 4, 5, 6))
    gone = Step(Rank.ROWS, "cube/br1/table/fdb_static", "delete", "no longer configured", DeleteRows("", tuple(raw(rows))), (), raw(rows), None,
                counts=MAP_WRITES, count=8)  # fmt: skip
    lines = shown(gone).splitlines()
    assert [line.partition("[")[2][15:17] for line in lines[1:7]] == ["01", "02", "03", "04", "05", "06"]
    assert lines[7] == "    - … and 2 more rows"


def test_netdevs_that_go_at_once_are_named_among_what_loses_packets() -> None:
    links = tuple(Link("veth", LinkEnd(name)) for name in ("v1", "v2", "pcnf16f6ba9n"))
    step = replace(HOP, address="links", operation=DeleteLinks(links), reaches=("r1",))
    assert shown(step).endswith("disruption: packets lost (r1, v1, v2).")


def test_what_mends_drift_is_told_from_what_the_files_ask_for() -> None:
    found = session()
    hook = replace(HOP, address="hook/veth1/tcx_ingress", action="create", before=None, disruption=AGING.disruption, reaches=())
    found.drift = [Change("hook/veth1/tcx_ingress", None, None)]
    found.pending = [Change("cube/br1/table/fdb_config", None, None)]
    text = render(document(Report(found, Decoder(found, SERVICES), [AGING, hook], most=6)), done=False)
    assert "~ br1  " in text
    assert "+ veth1 (drift)  attached at tcx_ingress" in text
    assert "drift: 1 object not as applied before (veth1)" in text
    found.pending = []
    assert "(drift)" not in render(document(Report(found, steps=[hook])), done=False), "there is nothing to tell it from"


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
        Step(Rank.NAMES, f"cube/br1/port/p{number}", "create", "", SetLink("", ""), (), None, "-")
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
    noise = Step(Rank.NAMES, "cube/br1/generation/2", "commit", "in force", SetLink("", ""))
    plan = document(Report(steps=[noise, replace(AGING, before=None)]))
    assert "generation" not in render(plan, done=False)
    assert "~ commit  commit   cube/br1/generation/2  in force" in render(plan, done=False, verbose=True)


def test_a_new_cube_and_netdev_have_one_group_each() -> None:
    link = Step(
        Rank.LINK,
        "link/:veth1",
        "create",
        "in the topology",
        CreateLink(Link("veth", LinkEnd("veth1")), "t"),
        (),
        None,
        "veth to h1/eth0",
        counts=LINK_CHANGES,
        count=1,
    )
    end = LinkEnd("eth0", "h1")
    settings = Step(Rank.LINK_SETTINGS, "link/:veth1", "update", "its settings differ", ConfigureEnd(end, end), (),
                    {"addresses": ()}, {"addresses": ("10.0.0.1/24",)})  # fmt: skip
    hook = Step(
        Rank.ATTACH,
        "hook/veth1/tcx_ingress",
        "create",
        "",
        AttachHook("veth1", "tcx_ingress", "", "cubes/br1/in/0_p1"),
        (),
        None,
        "cubes/br1/in/0_p1",
        counts=LINK_CHANGES,
        count=1,
    )
    cube = Step(
        Rank.DIRECTORY, "cube/br1", "create", "in the topology", MakeDirectory("cubes/br1"), (), None, "simplebridge (TC)"
    )
    port = Step(Rank.NEW_HOP, "cube/br1/port/p1", "create", "names its peer", SetLink("", ""), (), None, "veth1")
    stub = Step(
        Rank.STUB, "stub/cubes/br1/in/0_p1", "create", "the way in", LoadStub("", "TC", 0, 0, ""), (), counts=PROGRAM_LOADS, count=1
    )
    spaces = [
        Step(Rank.NAMESPACE, f"namespace/h{number}", "create", "in the topology", CreateNamespace(f"h{number}", "t"))
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
    links = (
        Link("veth", LinkEnd("veth1"), LinkEnd("eth0", "h1")),
        Link("veth", LinkEnd("eth0", "h2"), LinkEnd("veth2")),
    )
    step = Step(
        Rank.RETIRE_LINK,
        "links",
        "delete",
        "no longer in a topology",
        DeleteLinks(links),
        counts=LINK_CHANGES,
        count=2,
    )
    assert shown(step).splitlines()[:2] == [
        "- veth1    veth to h1/eth0   1 link change",
        "- h2/eth0  veth to veth2     1 link change",
    ]


def test_what_waits_and_what_should_be_known_is_said_before_the_totals() -> None:
    found = session()
    found.plan = Plan(notes=("veth9 carries XDP traffic",))
    found.drift = [Change("hook/veth1/xdp", None, None)]
    lines = render(
        document(Report(found, steps=[AGING], waiting=[("br1", "p2", "veth9"), ("", "", "eth7")])), done=False
    ).splitlines()
    assert lines[-5:-1] == [
        "drift: 1 object not as applied before (veth1)",
        "waiting: port p2 of br1 for netdev veth9, which is not there yet",
        "waiting: an attachment for netdev eth7, which is not there yet",
        "note: veth9 carries XDP traffic",
    ]


def test_text_from_the_kernel_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown(replace(AGING, address="cube/\x1b[31m/table/fdb_config"))
