"""Steps and surveys made by hand, of a bridge br1 with the ports p1 and p2."""
from __future__ import annotations

import json
from importlib.resources import files
from typing import ClassVar

from reconciler.engine.session import Session
from reconciler.graph.parts import Built, Desired
from reconciler.graph.records import (
    CubeRecord,
    Live,
    PortRecord,
    State,
)
from reconciler.model import BuildKey
from reconciler.plan.operations import LoadProgram, SetHop, WriteRows
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Disruption, Plan, Rank, Step
from reconciler.present import Report, document
from reconciler.present.rows import Decoder
from reconciler.present.text import render
from reconciler.service.registry import Services

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


def session(live: State | None = None, desired: State | None = None, **rest) -> Session:
    return Session(
        Desired(state(*BRIDGE) | (desired or {})), Live(state(*BRIDGE) | (live or {})), Plan(), built={BuildKey("simplebridge", "TC"): Built({0: Compiled()})},
        objects={Compiled.digest: Compiled()}, **rest,
    )  # fmt: skip


def shown(*steps: Step, done: bool = False, most: int | None = 6, **rest) -> str:
    found = session(**rest)
    return render(document(Report(found, Decoder(found, SERVICES), steps, most=most)), done=done)


def raw(rows: dict[str, str]) -> dict[bytes, bytes]:
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows.items()}


def write(rows: dict[str, str], before: dict[str, str] | None = None, table: str = "fdb_static") -> Step:
    address = f"cube/br1/table/{table}"
    return Step(
        Rank.ROWS,
        address,
        "write",
        "configuration",
        WriteRows(f"cubes/br1/tables/{table}", raw(rows), bytes.fromhex("ffffffff00000000")),
        (),
        None if before is None else raw(before),
        raw(rows),
        counts=MAP_WRITES,
        count=len(rows),
    )


def entry(number: int, port: int) -> tuple[str, str]:
    return f"02000000{number:04x}0000", f"{port.to_bytes(4, 'little').hex()}00000000"


AGING = write({"00000000": "3c000000"}, {"00000000": "78000000"}, "fdb_config")
HOP = Step(Rank.REMOVE_NEXT_HOP, "cube/br1/hop/1", "delete", "leads nowhere now", SetHop("cubes/br1/", 1, "none"), (), "netdev veth2", None, Disruption.PACKETS_LOST,
           LINK_CHANGES, 1, ("r1",))  # fmt: skip


def load(before: str, after: str) -> Step:
    return Step(Rank.PROGRAM, "cube/br1/program/ingress_0", "update", "its constants change",
                LoadProgram("cubes/br1/g2/ingress_0", after, b"", {}, "", 0, "br1_ingress_0"), (), before, after, counts=PROGRAM_LOADS, count=1)  # fmt: skip
