"""Cubes whose C depends on their configuration: two of one service side by side, edited, read back, and taken away."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.reload import reload
from reconciler.errors import ApplyFailed, CompileError, DocumentError, VerifierError
from tests.lib.commands import with_fault
from tests.lib.lab import HOOKS, Counts, Lab, own_counts
from tests.lib.services import Tree, rx
from tests.upgrade.traffic import Traffic, udp

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.1.1/24, h4: 10.0.1.2/24}
cubes:
  - {name: c1, service-name: own, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
  - {name: c2, service-name: own, ports: [{name: p1, peer: v3}, {name: p2, peer: v4}]}
  - {name: c3, service-name: own}
"""
ACROSS = "return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);"
TABLE = 'BPF_TABLE("array", u32, u64, %s, 1);'
COUNT = "u32 zero = 0;\nu64 *seen = %s.lookup(&zero);\nif (seen)\n  __sync_fetch_and_add(seen, 1);\n"
DROP = "return RX_DROP;"
# `code` is a whole program of the user's; `limit` an array's size in C that is made here, out of a number.
HALF = """
def sources(config):
    found = []
    if "code" in config:
        found.append((config.get("file", "user.c"), config["code"]))
    if "limit" in config:
        found.append(("limit.c", "#define LIMIT %d\\n#include \\"own.h\\"\\n" % config["limit"]))
    return {"ingress": found} if found else {}
"""
LEAVES: dict[str, Any] = {name: {"type": "string"} for name in ("code", "file")} | {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "level": {"type": "integer", "minimum": 0, "maximum": 9, "x-pcn-const": "LEVEL", "default": 0},
}


def counting(table: str, then: str = ACROSS) -> str:
    return rx(COUNT % table + then, TABLE % table)


@pytest.fixture(params=["TC"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    tree = Tree(tmp_path / "services")
    tree.add("own", [rx(ACROSS)], implementation=HALF, leaves=LEAVES)
    (tree.directory / "own.h").write_text(counting("limited").replace("limited, 1)", "limited, LIMIT)"))
    with Lab(SCENARIO, hook=request.param) as found:
        found.options.services = tree.load()
        yield found


def count(lab: Lab, cube: str, table: str) -> int:
    return int.from_bytes(lab.table(cube, table)[bytes(4)], "little")


def both(lab: Lab) -> bool:
    return lab.ok("h1", "10.0.0.2") and lab.ok("h3", "10.0.1.2")


@pytest.mark.parametrize("lab", HOOKS, indirect=True)
def test_cubes_of_one_service_with_other_sources_run_side_by_side_and_one_is_edited_alone(lab: Lab) -> None:
    lab.cube("c1")["code"] = counting("first")
    lab.cube("c2")["limit"] = 3
    lab.apply()
    assert both(lab)
    assert count(lab, "c1", "first") > 0
    assert len(lab.table("c2", "limited")) == 3
    assert lab.plan().plan.steps == ()
    assert not lab.drift()
    assert [lab.live_cube(name).get("code") for name in ("c1", "c2", "c3")] == [counting("first"), None, None]

    before = lab.loaded("c2"), lab.loaded("c3"), lab.hooked()
    lab.cube("c1")["code"] = counting("other")
    flows = Traffic([udp(lab.space("h1"), lab.space("h2"), "10.0.0.2"), udp(lab.space("h4"), lab.space("h3"), "10.0.1.1")])
    try:
        flows.start()
        result = lab.apply()
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()
    assert own_counts(result) == Counts(program_loads=1)
    assert str(result.plan.disruption) == "none"
    assert (lab.loaded("c2"), lab.loaded("c3"), lab.hooked()) == before
    assert count(lab, "c1", "other") > 0
    assert "first" not in lab.reader().names("cubes/c1/tables")
    assert not lab.drift()

    del lab.cube("c1")["code"]
    assert own_counts(lab.apply()) == Counts(program_loads=1)
    assert both(lab)
    assert lab.plan().plan.steps == ()
    assert "sources" not in (lab.reader().link_text("cubes/c1/about") or "")


def test_a_table_that_both_versions_have_keeps_its_rows(lab: Lab) -> None:
    lab.cube("c1")["code"] = counting("tally")
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    seen = count(lab, "c1", "tally")
    lab.cube("c1")["code"] = counting("tally", DROP)
    lab.apply()
    assert lab.fails("h1", "10.0.0.2")
    assert count(lab, "c1", "tally") > seen > 0


def test_other_leaves_are_edited_without_a_compilation_and_the_same_text_is_compiled_once(lab: Lab) -> None:
    compiled: list[str] = []
    lab.options.compiling = lambda _done, _total, name: compiled.append(name)
    text = rx(f"if (PCN_CONST(LEVEL) > 4)\n  {DROP}\n{ACROSS} /* {os.urandom(4).hex()} */")
    lab.cube("c1")["code"] = lab.cube("c2")["code"] = text
    lab.apply()
    assert compiled == ["user.c (TC, ingress)"]
    lab.cube("c1")["level"] = 5
    lab.apply()
    assert len(compiled) == 1
    assert lab.fails("h1", "10.0.0.2")
    assert lab.ok("h3", "10.0.1.2")


BARE = """
import os, sys
os.environ["PCN_CACHE"] = "/nonexistent"
sys.modules["bcc"] = sys.modules["reconciler.compiler.driver"] = None
"""


def test_showing_comparing_and_deleting_take_no_compiler(lab: Lab, tmp_path: Path) -> None:
    lab.cube("c1")["code"] = counting("first")
    lab.apply()
    shown = lab.live()
    services = str(lab.options.services.directories[0])

    def bare(*arguments: str, code: int = 0) -> str:
        found = with_fault(BARE, *arguments, "--bpffs", lab.root, "--services", services)
        assert found.returncode == code, found.stderr
        return found.stdout

    assert json.loads(bare("show", "-o", "json"))[0]["spec"] == shown
    bare("drift")
    lab.write("c1", "first", bytes(4), bytes(8))
    bare("drift")
    bare("delete", "lab")
    assert not Path(lab.root).exists()


def test_what_is_kept_of_a_text_goes_with_it_and_a_root_that_lost_it_is_read_by_the_document(lab: Lab) -> None:
    def kept() -> set[str]:
        return {re.sub("[0-9a-f]{16}", "X", name) for name in os.listdir(f"{lab.root}/built")}

    lab.cube("c1")["code"] = counting("first")
    lab.apply()
    assert kept() == {"own:TC:X", "own:TC+X:X"}
    shown = lab.live()
    for name in os.listdir(f"{lab.root}/built"):
        os.unlink(f"{lab.root}/built/{name}")
    assert lab.live() == shown
    assert not lab.drift()
    assert lab.plan().plan.steps == ()
    assert lab.apply().plan.steps == ()
    assert kept() == {"own:TC:X", "own:TC+X:X"}
    del lab.cube("c1")["code"]
    lab.apply()
    assert kept() == {"own:TC:X"}


@pytest.mark.parametrize(("leaf", "said", "error"), [
    ("code", "int nonsense;", CompileError), ("code", rx("return *(u8 *)(long)ctx->data;"), VerifierError),
    ("code", '#include "/etc/passwd"\n' + rx(ACROSS), CompileError), ("code", "x" * (1 << 18) + "y", DocumentError),
])  # fmt: skip
def test_a_text_that_cannot_be_leaves_all_as_it_was_and_the_message_names_cube_and_line(
    lab: Lab, leaf: str, said: str, error: type[Exception]
) -> None:
    lab.cube("c1")["code"] = counting("first")
    lab.apply()
    before = lab.loaded("c1")
    lab.cube("c1")[leaf] = said
    with pytest.raises((error, ApplyFailed)) as caught:
        lab.apply()
    words = str(caught.value) + str(caught.value.__cause__)
    assert "c1" in words
    assert "user.c" in words
    assert lab.loaded("c1") == before
    lab.cube("c1")["code"] = counting("first")
    assert lab.plan().plan.steps == ()


@pytest.mark.parametrize("file", ["../user.c", "a/b.c", "user.h", "user.c\n", "", ".c"])
def test_a_name_that_is_no_plain_one_is_refused_where_the_cube_is_written(lab: Lab, file: str) -> None:
    lab.cube("c1")["code"], lab.cube("c1")["file"] = rx(ACROSS), file
    with pytest.raises(DocumentError, match="no plain name") as caught:
        lab.plan()
    assert caught.value.problems[0].where is not None


def test_an_apply_that_fails_after_the_swap_is_undone(lab: Lab) -> None:
    lab.cube("c1")["code"] = counting("first")
    lab.apply()
    shown, before = lab.live(), lab.loaded("c2")
    lab.cube("c1")["code"] = counting("other", DROP)
    steps = lab.plan().plan.steps
    last = max(number for number, step in enumerate(steps) if step.rank.phase == "commit")
    was, chosen = lab.options.before, lab.options

    def fail(number: int, step: Any) -> None:
        if was:
            was(number, step)
        if step == steps[last]:
            raise OSError(5, "on purpose")

    chosen.before = fail
    with pytest.raises(ApplyFailed):
        lab.apply()
    chosen.before = was
    assert lab.live() == shown
    assert not lab.drift()
    assert lab.ok("h1", "10.0.0.2")
    assert lab.loaded("c2") == before


def test_a_reload_takes_the_place_of_one_cube_s_text(lab: Lab) -> None:
    lab.cube("c1")["code"] = counting("first")
    lab.apply()
    reload("c1", counting("first", DROP), 0, options=lab.options)
    assert lab.fails("h1", "10.0.0.2")
    assert lab.ok("h3", "10.0.1.2")
    assert [change.address for change in lab.drift()] == ["cube/c1/program/ingress_0"]
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")


def test_a_lost_program_is_healed(lab: Lab) -> None:
    lab.cube("c1")["code"] = counting("first")
    lab.apply()
    current = lab.reader().link_text("cubes/c1/current")
    os.unlink(f"{lab.root}/cubes/c1/{current}/ingress_0")
    assert lab.drift()
    lab.apply()
    assert not lab.drift()
    assert lab.ok("h1", "10.0.0.2")
