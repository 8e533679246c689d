"""Drift, in words."""
from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.graph.diff import Change
from reconciler.graph.records import (
    GONE,
    HookRecord,
    LinkRecord,
    NextHopRecord,
    ProgramRecord,
    TableRecord,
    TrampolineRecord,
)
from reconciler.model import Link, LinkEnd
from reconciler.present.drift_report import drift_document
from reconciler.present.drift_text import drift_text
from reconciler.present.rows import Decoder
from reconciler.service.model.codec import Env
from tests.unit.data.steps import BRIDGE, SERVICES, Compiled, entry, session, state


def drift_of(*changes: Change) -> dict:
    return drift_document(changes, Decoder(session(), SERVICES))


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
    assert drift_text(found).splitlines()[0] == "~ br1  fdb/aging-time: 120 -> 9"
    assert drift_text(found, verbose=True).splitlines()[0] == "~ cube/br1/table/fdb_config  fdb/aging-time: 120 -> 9"


def test_a_row_that_is_missing_and_one_that_nobody_applied_look_different() -> None:
    rows = [dict([tuple(bytes.fromhex(each) for each in entry(number, 0))]) for number in (1, 2)]
    here, there = (TableRecord("br1", "fdb_static", "cubes/br1/tables/fdb_static", (1, 8, 8, 16, 0), each) for each in rows)
    text = drift_text(drift_of(Change("cube/br1/table/fdb_static", here, there))).splitlines()
    assert text[0] == "+ br1  fdb/entry[02:00:00:00:00:01]: port p1 was not applied"
    assert text[1] == "       - fdb/entry[02:00:00:00:00:02]: port p1 is gone"


def test_a_cube_that_is_gone_is_one_thing() -> None:
    parts = [Change(record.address, None, record) for record in BRIDGE]
    assert [(each["address"], each["state"]) for each in drift_of(*parts)["drift"]] == [("cube/br1", "missing")]


def test_each_kind_of_damage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hop = NextHopRecord("br1", "", 1, "netdev", "veth2")
    hook = HookRecord("veth1", "tcx_ingress", "cubes/br1/in/0_p1")
    program = ProgramRecord("br1", "", "ingress", 0, Compiled.digest, bytes(12))
    stub = TrampolineRecord("br1", "", "ingress", 0, "p1", "")
    changes = (
        Change(hop.address, replace(hop, target="veth1"), hop), Change(hook.address, replace(hook, stub=GONE), hook),
        Change(program.address, replace(program, object="foreign:0a/7"), program), Change("hook/eth9/xdp", HookRecord("eth9", "xdp", "x"), None),
        Change("stub/cubes/br1/in/0_p1", None, stub),
    )  # fmt: skip
    assert drift_text(drift_of(*changes)).splitlines() == [
        "~ br1    its way out: veth2 -> veth1",
        "         ~ another program runs in the place of its own",
        "         - the way in of port p1 is gone",
        "- veth1  nothing of pcn is attached at tcx_ingress",
        "+ eth9   what nobody applied is attached at xdp",
        "Drift: 5 objects not as applied; the next apply mends that.",
    ]
    text = drift_text(drift_of(*changes), verbose=True).splitlines()
    assert text[0] == "~ cube/br1/hop/1              target: veth2 -> veth1"
    assert text[2].endswith("program: d1d1d1d1d1d1 -> another program (0a/7)")


def test_a_netdev_is_named_once_and_its_other_end_beside_it() -> None:
    up, down = (
        LinkRecord(Link("veth", LinkEnd("veth2", up=here), LinkEnd("eth0", "h2", mtu=mtu)), "t") for here, mtu in ((True, 1500), (False, 1400))
    )
    lines = drift_text(drift_of(Change(up.address, down, up))).splitlines()
    assert lines[0] == "~ veth2  up: true -> false"
    assert "eth0" in lines[1]


def test_ports_are_named_by_those_that_are_live() -> None:
    found = session(live=state(replace(BRIDGE[1], name="old")), desired=state())
    decoder = Decoder(found, SERVICES)
    key, value = (bytes.fromhex(each) for each in entry(1, 0))
    assert decoder.rows("br1", "fdb_static", {key: value}, live=False) == {"fdb/entry[02:00:00:00:00:01]": {"port": "p1"}}
    assert decoder.rows("nosuch", "fdb_static", {key: value}, live=False) == {f"0x{key.hex()}": f"0x{value.hex()}"}
    assert Env().port_name(3) == "#3"
