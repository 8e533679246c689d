"""A table of another shape comes in the place of one in which the datapath learned: the rows are carried over, under traffic."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ApplyFailed
from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx
from tests.upgrade.traffic import Traffic, udp

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: gate, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
SEEN = "cubes/c1/tables/seen"
# Stations make themselves known with a frame of EtherType 88b5; of those that are not known nothing passes.
OLD = 'BPF_TABLE("hash", u32, u32, seen, 64);'
NEW = 'struct station { u32 number, zero; };\nstruct facts { u32 count, since; };\nBPF_TABLE("hash", struct station, struct facts, seen, 64);'
BODY = """
  struct ethhdr eth;
  if (pcn_load_bytes(ctx, 0, &eth, sizeof(eth)) < 0)
    return RX_DROP;
  u32 number;
  __builtin_memcpy(&number, eth.h_source + 2, 4);
  KEY
  if (eth.h_proto == htons(0x88b5)) {
    seen.update(&key, &facts);
    return RX_DROP;
  }
  return seen.lookup(&key) ? pcn_pkt_redirect(ctx, md, md->in_port ^ 1) : RX_DROP;"""
OLD_GATE = rx(BODY.replace("KEY", "u32 key = number, facts = 1;"), OLD)
NEW_GATE = rx(BODY.replace("KEY", "struct station key = {.number = number};\n  struct facts facts = {.count = 1, .since = 99};"), NEW)
WIDEN = """
MIGRATIONS = {"seen": {(4, 4): lambda key, value: (key + bytes(4), value + b"\\x07\\0\\0\\0")}}
"""


@dataclass
class Gate:
    """The lab, and its service's versions."""

    lab: Lab
    tree: Tree

    def becomes(self, program: str, implementation: str = "") -> None:
        self.tree.add("gate", [program], implementation=implementation)
        self.lab.options.services = self.tree.load()

    def during(self, kind: str, do: Callable[[], Any]) -> None:
        """Do something ahead of the first operation of a kind in the next apply."""
        before, left = self.lab.options.before, [do]

        def also(number: int, step: Any) -> None:
            if before is not None:
                before(number, step)
            if step.operation.kind == kind and left:
                left.pop()()

        self.lab.options = replace(self.lab.options, before=also)

    def comes(self, number: int) -> None:
        """A station makes itself known."""
        known = len(self.rows())
        self.lab.send("h1", bytes(6) + b"\x02\0" + struct.pack("<I", number) + b"\x88\xb5" + bytes(50))
        assert len(self.rows()) == known + 1

    def greets(self, host: str) -> None:
        """A host makes itself known."""
        mac = bytes.fromhex(self.lab.mac(host).replace(":", ""))
        self.lab.send(host, bytes(6) + mac + b"\x88\xb5" + bytes(50))

    def rows(self) -> dict[bytes, bytes]:
        found = self.lab.reader().rows(SEEN)
        assert found is not None
        return dict(found[1])

    def forgets(self, key: bytes) -> None:
        with Bpffs(self.lab.root).opened(SEEN) as fd:
            assert maps.delete(fd, key)


@pytest.fixture(params=HOOKS)
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gate]:
    """The first version, applied; both hosts, and one that is silent, are known."""
    with Lab(SCENARIO, hook=request.param) as lab:
        found = Gate(lab, Tree(tmp_path / "services"))
        found.becomes(OLD_GATE)
        lab.apply()
        for host in ("h1", "h2"):
            found.greets(host)
        found.comes(5)
        yield found


@contextlib.contextmanager
def traffic(lab: Lab) -> Iterator[None]:
    """Packets in both directions, of which none may be lost."""
    spaces = lab.space("h1"), lab.space("h2")
    flows = Traffic([udp(*spaces, "10.0.0.2"), udp(*reversed(spaces), "10.0.0.1")])
    try:
        flows.start()
        yield
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()


def test_rows_of_an_older_layout_are_migrated_and_no_packet_is_lost(gate: Gate) -> None:
    old = gate.rows()
    gate.becomes(NEW_GATE, WIDEN)
    with traffic(gate.lab):
        result = gate.lab.apply()
    assert str(result.plan.disruption) == "none"
    assert gate.rows() == {key + bytes(4): value + b"\x07\0\0\0" for key, value in old.items()}
    assert gate.lab.plan().plan.steps == ()


def test_what_is_learned_and_forgotten_between_the_copy_and_the_exchange_is_so_afterwards(gate: Gate) -> None:
    gate.comes(6)
    gate.becomes(NEW_GATE, WIDEN)
    gate.during("load_program", lambda: (gate.forgets(struct.pack("<I", 6)), gate.comes(7)))
    gate.during("set_slot", lambda: gate.comes(8))
    gate.lab.apply()
    rows = {struct.unpack("<II", key)[0]: struct.unpack("<II", value)[1] for key, value in gate.rows().items()}
    assert {number: rows.get(number) for number in (5, 6, 7, 8)} == {5: 7, 6: None, 7: 7, 8: 7}


def test_what_the_new_programs_have_learned_is_not_overwritten_by_what_the_old_ones_knew(gate: Gate) -> None:
    gate.becomes(NEW_GATE, WIDEN)
    gate.during("grace", lambda: gate.lab.send("h1", bytes(6) + b"\x02\0" + struct.pack("<I", 5) + b"\x88\xb5" + bytes(50)))
    gate.lab.apply()
    assert gate.rows()[struct.pack("<II", 5, 0)] == struct.pack("<II", 1, 99)


@pytest.mark.parametrize("entries", [128, 16])
def test_a_table_of_another_size_keeps_its_rows_without_a_word_of_the_service(gate: Gate, entries: int) -> None:
    old = gate.rows()
    gate.becomes(OLD_GATE.replace("seen, 64", f"seen, {entries}"))
    gate.during("set_slot", lambda: gate.comes(8))
    with traffic(gate.lab):
        result = gate.lab.apply()
    assert str(result.plan.disruption) == "none"
    assert gate.rows() == old | {struct.pack("<I", 8): struct.pack("<I", 1)}


TURNED = rx(
    BODY.replace("KEY", "u32 key = number;\n  struct facts facts = {.count = 1, .since = 2};"),
    'struct facts { FIELDS };\nBPF_TABLE("hash", u32, struct facts, seen, 64);',
)


@pytest.mark.parametrize(("fields", "disruption"), [
    ("u32 since, count;", "state reset"), ("u32 count; u16 since, more;", "state reset"), ("u32 count, until;", "none"),
])  # fmt: skip
def test_another_layout_of_the_same_size_is_seen_and_a_renamed_field_is_none(gate: Gate, fields: str, disruption: str) -> None:
    gate.becomes(TURNED.replace("FIELDS", "u32 count, since;"))
    gate.lab.apply()
    gate.comes(6)
    old = gate.rows()
    program = TURNED.replace("FIELDS", fields).replace(".since", ".until" if "until" in fields else ".since")
    gate.becomes(program.replace("= 2}", "= 3}"))  # and the program is another one
    assert str(gate.lab.plan().plan.disruption) == disruption
    gate.lab.apply()
    assert gate.rows() == ({} if disruption != "none" else old)
    assert gate.lab.plan().plan.steps == ()


def test_rows_of_another_layout_of_the_same_size_are_migrated(gate: Gate) -> None:
    gate.becomes(TURNED.replace("FIELDS", "u32 count, since;"))
    gate.lab.apply()
    gate.greets("h1")
    gate.greets("h2")
    old = gate.rows()
    turn = "MIGRATIONS = {'seen': {(4, 8): lambda key, value: (key, value[4:] + value[:4])}}"
    gate.becomes(TURNED.replace("FIELDS", "u32 since, count;"), turn)
    with traffic(gate.lab):
        result = gate.lab.apply()
    assert str(result.plan.disruption) == "none"
    assert gate.rows() == {key: struct.pack("<II", 2, 1) for key in old}


@pytest.mark.parametrize("program", [NEW_GATE, TURNED.replace("FIELDS", "u32 since, count;")], ids=["of another size", "of the same"])
def test_a_table_that_is_for_a_moment_only_is_no_state_to_reset(gate: Gate, program: str) -> None:
    gate.becomes(TURNED.replace("FIELDS", "u32 count, since;"))
    gate.lab.apply()
    gate.becomes(program, "SCRATCH = frozenset({'seen'})")
    assert str(gate.lab.apply().plan.disruption) == "none"


def test_rows_that_do_not_fit_in_a_smaller_table_are_a_state_reset_and_said(gate: Gate) -> None:
    gate.becomes(OLD_GATE.replace("seen, 64", "seen, 2"))
    assert str(gate.lab.plan().plan.disruption) == "state reset"
    result = gate.lab.apply()
    assert len(gate.rows()) == 2
    assert any("1 rows of table seen do not fit" in warning.message for warning in result.warnings)


def test_a_row_that_the_service_does_not_keep_goes(gate: Gate) -> None:
    gate.becomes(NEW_GATE, WIDEN.replace("value: (", "value: None if key == bytes([5, 0, 0, 0]) else ("))
    old = gate.rows()
    gate.lab.apply()
    assert len(gate.rows()) == len(old) - 1


def test_without_a_migration_another_layout_is_a_state_reset(gate: Gate) -> None:
    gate.becomes(NEW_GATE)
    assert str(gate.lab.plan().plan.disruption) == "state reset"
    gate.lab.apply()
    assert gate.rows() == {}


@pytest.mark.parametrize("migrate", ["(key, value)", "1 / 0"], ids=["of the old sizes", "that fails"])
def test_a_migration_that_is_wrong_fails_the_apply_and_all_is_as_before(gate: Gate, migrate: str) -> None:
    old = gate.rows()
    gate.becomes(NEW_GATE, f"MIGRATIONS = {{'seen': {{(4, 4): lambda key, value: {migrate}}}}}")
    with traffic(gate.lab), pytest.raises(ApplyFailed):
        gate.lab.apply()
    assert gate.rows() == old
    gate.becomes(OLD_GATE)
    assert gate.lab.plan().plan.steps == ()
