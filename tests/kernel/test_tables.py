"""Whose a table is, and how long it lives: private, shared by µCubes, public; each seen with packets."""
from __future__ import annotations

import errno
import os
import struct

import pytest

from reconciler.errors import DocumentError
from reconciler.kernel import bpf, maps
from reconciler.kernel.percpu import fold_cpus
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: many, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
PAIR = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: owner, ports: [{name: p1, peer: v1}, {name: up, peer: "c2:down"}]}
  - {name: c2, service-name: guest, ports: [{name: down, peer: "c1:up"}, {name: p2, peer: v2}]}
"""
ACROSS = "return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);"
PRIVATE = 'BPF_TABLE("array", u32, u64, count, 4);'
PUBLIC = 'BPF_TABLE_PUBLIC("array", u32, u64, count, 4);'


def shared(namespace, kind="array"):
    return f'BPF_TABLE_SHARED("{kind}", u32, u64, count, 4, "{namespace}");'


def add(row, then, table):
    """Count in one row of the table, then go on."""
    return rx(f"u32 row = {row};\nu64 *seen = count.lookup(&row);\nif (seen)\n  __sync_fetch_and_add(seen, 1);\n{then}", table)


CALL = "call_ingress_program(ctx, 1);\nreturn RX_DROP;"


@pytest.fixture
def made(tmp_path):
    tree, opened = Tree(tmp_path / "services"), []

    def make(scenario=SCENARIO, hook="TC", **services):
        for name, texts in services.items():
            tree.add(name, texts)
        lab = Lab(scenario, hook=hook)
        lab.__enter__()
        opened.append(lab)
        lab.tree, lab.options.services = tree, tree.load()
        return lab

    yield make
    for lab in opened:
        lab.__exit__(None, None, None)


def count(lab, path):
    """The rows of a table of counters, None if there is no such table."""
    found = lab.reader().rows(path)
    return None if found is None else [struct.unpack("<Q", fold_cpus(found[0], value))[0] for value in found[1].values()]


def send(lab, packets=1):
    macs = [bytes.fromhex(lab.mac(host).replace(":", "")) for host in ("h2", "h1")]
    with lab.sniff("h2") as there:
        lab.send("h1", *[b"".join(macs) + b"\x88\xb5" + bytes(50)] * packets)
        return len(there.all(0.3, lambda each: each[12:14] == b"\x88\xb5"))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_private_table_is_its_cubes_own(made, hook):
    """Both µCubes of a cube have it; another cube of the service has its own."""
    scenario = PAIR.replace("owner", "many").replace("guest", "many")
    lab = made(scenario, hook, many=[add(0, CALL, PRIVATE), add(1, ACROSS, PRIVATE)])
    lab.apply()
    assert send(lab, 3) == 3
    assert count(lab, "cubes/c1/tables/count") == count(lab, "cubes/c2/tables/count") == [3, 3, 0, 0]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_shared_table_belongs_to_the_microcubes_that_name_its_namespace(made, hook):
    programs = [
        add(0, CALL, shared("a")),
        add(1, "call_ingress_program(ctx, 2);\nreturn RX_DROP;", shared("a", "extern")),
        add(2, "call_ingress_program(ctx, 3);\nreturn RX_DROP;", shared("b")),
        add(3, ACROSS, PRIVATE),
    ]
    lab = made(hook=hook, many=programs)
    lab.apply()
    assert send(lab, 2) == 2
    assert count(lab, "cubes/c1/tables/a:count") == [2, 2, 0, 0]
    assert count(lab, "cubes/c1/tables/b:count") == [0, 0, 2, 0]
    assert count(lab, "cubes/c1/tables/count") == [0, 0, 0, 2]
    assert not lab.drift()
    assert lab.plan().plan.steps == ()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_public_table_is_every_cubes_and_lives_as_long_as_the_cube_that_declares_it(made, hook):
    extern = 'BPF_TABLE("extern", u32, u64, count, 4);'
    lab = made(PAIR, hook, owner=[add(0, ACROSS, PUBLIC)], guest=[add(1, ACROSS, extern)])
    lab.apply()
    assert send(lab, 4) == 4
    assert count(lab, "public/count") == [4, 4, 0, 0]
    assert not lab.drift()
    assert lab.plan().plan.steps == ()
    lab.spec["cubes"] = [lab.cube("c1") | {"ports": [{"name": "p1", "peer": "v1"}, {"name": "up", "peer": "v2"}]}]
    lab.apply()
    assert send(lab) == 1
    assert count(lab, "public/count") == [5, 4, 0, 0]  # the guest went, its words stay
    lab.spec["cubes"] = []
    lab.apply()
    assert count(lab, "public/count") is None


def test_a_public_table_that_two_cubes_declare_lives_as_long_as_either(made):
    lab = made(PAIR, owner=[add(0, ACROSS, PUBLIC)], guest=[add(1, ACROSS, PUBLIC)])
    lab.apply()
    assert send(lab, 2) == 2
    lab.spec["cubes"] = [lab.cube("c2") | {"ports": [{"name": "down", "peer": "v1"}, {"name": "p2", "peer": "v2"}]}]
    lab.apply()
    assert send(lab) == 1
    assert count(lab, "public/count") == [2, 3, 0, 0]


def test_a_table_outlives_a_change_of_the_programs_that_use_it(made):
    lab = made(many=[add(0, CALL, shared("a")), add(1, ACROSS, shared("a", "extern"))])
    lab.apply()
    send(lab)
    lab.tree.add("many", [add(2, CALL, shared("a")), add(1, ACROSS, shared("a", "extern"))])
    lab.options.services = lab.tree.load()
    lab.apply()
    send(lab)
    assert count(lab, "cubes/c1/tables/a:count") == [1, 2, 1, 0]


def test_a_public_table_of_another_shape_takes_its_users_along(made):
    extern = 'BPF_TABLE("extern", u32, u64, count, 4);'
    lab = made(PAIR, owner=[add(0, ACROSS, PUBLIC)], guest=[add(1, ACROSS, extern)])
    lab.apply()
    assert send(lab, 2) == 2
    lab.tree.add("owner", [add(0, ACROSS, PUBLIC.replace("4)", "8)"))])
    lab.options.services = lab.tree.load()
    result = lab.apply()
    assert str(result.plan.disruption) == "none"
    assert send(lab) == 1
    assert count(lab, "public/count") == [3, 3, 0, 0, 0, 0, 0, 0]


def test_an_extern_that_nobody_declares_is_an_error_that_names_its_user(made):
    lab = made(PAIR, owner=[rx(ACROSS)], guest=[add(1, ACROSS, 'BPF_TABLE("extern", u32, u64, count, 4);')])
    with pytest.raises(DocumentError, match=r"guest_ingress_0\.c uses table count, which no cube declares as public") as caught:
        lab.apply()
    assert caught.value.problems[0].path == "/spec/cubes/c2"


def test_deleting_the_owner_of_a_public_table_that_is_used_is_an_error(made):
    extern = 'BPF_TABLE("extern", u32, u64, count, 4);'
    lab = made(PAIR, owner=[add(0, ACROSS, PUBLIC)], guest=[add(1, ACROSS, extern)])
    lab.apply()
    lab.spec["cubes"] = [lab.cube("c2") | {"ports": [{"name": "p2", "peer": "v2"}]}]
    with pytest.raises(DocumentError, match="which no cube declares as public"):
        lab.apply()
    assert send(lab) == 1


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ('BPF_TABLE("extern", u32, u32, count, 4);', ("extern, key of 4 bytes, value of 4", "array of 4 entries, flags 0, key of 4 bytes, value of 8")),
        ('BPF_TABLE_PUBLIC("array", u32, u64, count, 8);', ("array of 8 entries", "array of 4 entries")),
    ],
)  # fmt: skip
def test_declarations_that_do_not_fit_are_an_error_that_names_both_sides(made, other, said):
    program = rx("u32 row = 0;\nvoid *seen = count.lookup(&row);\nif (!seen)\n  return RX_DROP;\n" + ACROSS, other)
    lab = made(PAIR, owner=[add(0, ACROSS, PUBLIC)], guest=[program])
    with pytest.raises(DocumentError) as caught:
        lab.apply()
    sentence = str(caught.value)
    assert all(words in sentence for words in (*said, "owner_ingress_0.c (cube c1)", "guest_ingress_0.c (cube c2)")), sentence


def test_microcubes_that_declare_one_table_in_two_ways_are_an_error(made):
    lab = made(many=[add(0, CALL, PRIVATE), add(1, ACROSS, PRIVATE.replace("4)", "5)"))])
    with pytest.raises(DocumentError, match=r"count is declared in two ways: many_ingress_0\.c .* many_ingress_1\.c"):
        lab.apply()


def test_rows_for_which_there_is_no_memory_at_once_are_written_after_a_wait(monkeypatch):
    """The kernel's stock runs empty once in a hundred thousand rows, so here it is the call that stops half-way, at two rows."""
    spec, calls, real = maps.MapSpec(maps.PERCPU_HASH, 4, 8, 16, 1), [], bpf.bpf

    def at_most_two(command, attributes):
        count = struct.unpack_from("<I", attributes, 32)[0]
        calls.append(count)
        if count > 2:
            struct.pack_into("<I", attributes, 32, 2)
            real(command, attributes)
            raise OSError(errno.ENOMEM, "no memory")
        return real(command, attributes)

    fd = maps.create(spec, "stock")
    try:
        wanted = {struct.pack("<I", key): struct.pack("<Q", key) * maps.cpus() for key in range(7)}
        with monkeypatch.context() as patch:
            patch.setattr(bpf, "bpf", at_most_two)
            maps.update_many(fd, spec, wanted)
        assert maps.rows(fd, spec) == wanted
        assert calls == [7, 5, 3, 1]
    finally:
        os.close(fd)


def test_a_table_of_tables_is_refused_where_the_cube_is_written(made):
    both = 'BPF_TABLE("array", u32, u64, inner, 4);\nBPF_ARRAY_OF_MAPS(outer, "inner", 4);'
    body = f"u32 row = 0;\nif (!outer.lookup(&row))\n  return RX_DROP;\n{ACROSS}"
    lab = made(many=[rx(body, both)])
    with pytest.raises(DocumentError) as refused:
        lab.apply()
    (problem,) = refused.value.problems
    assert "table outer holds tables, which no plan can fill" in problem.message
    assert problem.where is not None
