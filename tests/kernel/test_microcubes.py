"""Cubes of several programs: how they go on in one another, and how one is exchanged while packets pass."""
from __future__ import annotations

import threading
import time

import pytest

from reconciler.engine.reload import reload
from reconciler.errors import CompileError, UsageError, VerifierError
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: many, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
ACROSS = "return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);"
MARK = """
  u8 mark = '%s';
  if (pcn_store_bytes(ctx, %d, &mark, 1) < 0)
    return RX_DROP;
"""


def mark(letter, at, then):
    """Write a letter into the packet on the way, then go on."""
    return rx(MARK % (letter, at) + then)


def call(direction, index):
    return f"call_{direction}_program(ctx, {index});\nreturn RX_DROP;"


@pytest.fixture
def made(tmp_path):
    tree, opened = Tree(tmp_path / "services"), []

    def make(ingress, egress=(), hook="TC", scenario=SCENARIO):
        tree.add("many", ingress, egress)
        lab = Lab(scenario, hook=hook)
        lab.__enter__()
        opened.append(lab)
        lab.tree, lab.options.services = tree, tree.load()
        lab.apply()
        return lab

    yield make
    for lab in opened:
        lab.__exit__(None, None, None)


def frame(lab, source="h1", target="h2"):
    macs = [bytes.fromhex(lab.mac(host).replace(":", "")) for host in (target, source)]
    return b"".join(macs) + b"\x88\xb5" + b"......" + bytes(44)


def got(lab, source="h1", target="h2"):
    """The marks on a packet that was sent across."""
    with lab.sniff(target) as there:
        lab.send(source, frame(lab, source, target))
        found = there.next(0.5, lambda each: each[12:14] == b"\x88\xb5")
        return found and found[14:20]


@pytest.mark.parametrize("hook", HOOKS)
def test_programs_go_on_in_one_another_and_keep_the_port_of_arrival(made, hook):
    """0 goes on in 2, 2 in 1, and 1, which calls nobody, sends the packet on."""
    lab = made([mark("a", 14, call("ingress", 2)), mark("c", 16, ACROSS), mark("b", 15, call("ingress", 1))], hook=hook)
    assert got(lab) == b"abc..."
    assert got(lab, "h2", "h1") == b"abc..."
    assert lab.plan().plan.steps == ()


@pytest.mark.parametrize("hook", HOOKS)
def test_egress_programs_go_on_in_one_another(made, hook):
    lab = made(
        [mark("a", 14, ACROSS)],
        [mark("b", 15, call("egress", 2)), mark("d", 17, "return RX_OK;"), mark("c", 16, call("egress", 1))],
        hook=hook,
    )
    assert got(lab) == b"abcd.."


@pytest.mark.parametrize("hook", HOOKS)
def test_a_program_that_is_not_there_is_fallen_through(made, hook):
    lab = made([rx("call_ingress_program(ctx, 31);\n" + MARK % ("x", 14) + ACROSS)], hook=hook)
    assert got(lab) == b"x....."


@pytest.mark.parametrize("hook", HOOKS)
def test_one_program_is_reloaded_under_traffic_without_a_lost_packet(made, hook):
    counting = """
  u32 zero = 0;
  u64 *seen = count.lookup(&zero);
  if (seen)
    __sync_fetch_and_add(seen, 1);"""
    table = 'BPF_TABLE("array", u32, u64, count, 1);'
    lab = made([rx(counting + call("ingress", 1), table), mark("1", 14, ACROSS)], hook=hook)
    assert got(lab)[:1] == b"1"
    stop, sent, seen = threading.Event(), [], []

    def traffic():
        each = frame(lab)
        while not stop.is_set():
            lab.send("h1", *[each] * 10)
            sent.append(10)
            seen.extend(there.all(0.001, ours))  # or there is no room for more

    def ours(each):
        return each[12:14] == b"\x88\xb5"

    with lab.sniff("h2") as there:
        running = threading.Thread(target=traffic)
        running.start()
        try:
            for number in range(2, 6):
                result = reload("c1", mark(str(number), 14, ACROSS), 1, options=lab.options)
                assert str(result.plan.disruption) == "none"
                before = len(sent)  # now, for all before may have met the one before
                while len(sent) < before + 5 and running.is_alive():
                    time.sleep(0.005)
        finally:
            stop.set()
            running.join()
        seen += there.all(0.5, ours)
    marks = [each[14:15] for each in seen]
    assert len(marks) == sum(sent)
    assert marks == sorted(marks)  # the old program until the new one, and never again after it
    assert set(marks) == {str(number).encode() for number in range(1, 6)}
    (value,) = lab.reader().rows("cubes/c1/tables/count")[1].values()
    assert int.from_bytes(value, "little") == sum(sent) + 1  # the table went on


def test_what_was_reloaded_is_drift_until_the_source_says_the_same(made):
    second = mark("2", 15, ACROSS)
    lab = made([mark("a", 14, call("ingress", 1)), mark("1", 15, ACROSS)])
    assert not lab.drift()
    reload("c1", second, 1, options=lab.options)
    assert [change.address for change in lab.drift()] == ["cube/c1/program/ingress_1"]
    assert got(lab) == b"a2...."
    lab.tree.add("many", [mark("a", 14, call("ingress", 1)), second])
    lab.options.services = lab.tree.load()
    assert not lab.drift()
    assert lab.plan().plan.steps == ()
    lab.tree.add("many", [mark("a", 14, call("ingress", 1)), mark("1", 15, ACROSS)])
    lab.options.services = lab.tree.load()
    lab.apply()
    assert not lab.drift()
    assert got(lab) == b"a1...."


def test_a_reload_may_bring_tables_and_finds_those_that_are_there(made):
    table = 'BPF_TABLE("array", u32, u64, seen, 1);\nBPF_TABLE("array", u32, u64, %s, 1);'
    counting = "u32 zero = 0;\nu64 *one = seen.lookup(&zero), *two = %s.lookup(&zero);\nif (one) (*one)++;\nif (two) (*two)++;\n"
    lab = made([rx(counting % "first" + ACROSS, table % "first")])
    got(lab)
    reload("c1", rx(counting % "other" + ACROSS, table % "other"), 0, options=lab.options)
    got(lab)
    values = {name: next(iter(lab.reader().rows(f"cubes/c1/tables/{name}")[1].values()))[0] for name in ("seen", "first", "other")}
    assert values == {"seen": 2, "first": 1, "other": 1}
    lab.apply()
    assert not lab.drift()
    assert "other" not in lab.reader().names("cubes/c1/tables")


def test_a_reload_that_cannot_be_leaves_all_as_it_was(made):
    lab = made([mark("a", 14, call("ingress", 1)), mark("1", 15, ACROSS)])
    with pytest.raises(CompileError, match=r"many_ingress_1\.c:3"):
        reload("c1", rx("return nonsense;"), 1, options=lab.options)
    with pytest.raises(VerifierError):
        reload("c1", rx("return *(u8 *)(long)ctx->data;"), 1, options=lab.options)
    for cube, index, direction in (("c1", 2, "ingress"), ("c1", 0, "egress"), ("c9", 0, "ingress")):
        with pytest.raises(UsageError):
            reload(cube, rx("return RX_OK;"), index, direction, options=lab.options)
    assert not lab.drift()
    assert got(lab) == b"a1...."
