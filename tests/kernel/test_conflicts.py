"""What is somebody else's stays so: netdevs, namespaces and hooks that are held, a busy lock, and what is not permitted or not
there. Each ends with the right error, and with a kernel that holds what it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.errors import DocumentError, HookHeld, KernelError, LockBusy
from reconciler.kernel import bpf, linkwrite, netlink, netns, rtnl
from reconciler.model import Link, LinkEnd
from reconciler.plan.steps import Step
from tests.faults.bench import Bench
from tests.faults.damaged import stranger
from tests.faults.graphs import Data, cube, example, unique, unreachable
from tests.lib.kernel_state import BIN, command, first_link, untouched


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


@pytest.fixture
def wanted() -> Data:
    return unique(example("simplebridge"))


@contextmanager
def foreign_veth(name: str) -> Iterator[int]:
    """A netdev that somebody else has made; gives its index."""
    with netlink.Netlink() as writer:
        writer.create_link(Link("veth", LinkEnd(name), LinkEnd(f"{name}x")), 0)
    try:
        yield rtnl.links()[name].index
    finally:
        linkwrite.delete_link(name)


@contextmanager
def without_its_link(data: Data) -> Iterator[int]:
    """Let the topology only refer to its first link, which is somebody else's; gives its index."""
    link = data["spec"]["links"].pop(0)
    data["spec"]["namespaces"].remove(link["peer"]["netns"])
    with foreign_veth(link["name"]) as index:
        yield index


# -- names ---------------------------------------------------------------------------------------------------------------


def test_a_netdev_of_a_wanted_name_that_is_not_ours_is_left_alone(bench: Bench, wanted: Data) -> None:
    with foreign_veth(first_link(wanted)) as index:
        for run in (bench.plan, bench.apply):
            with pytest.raises(HookHeld, match=f"netdev '{first_link(wanted)}' exists and is not pcn's") as error:
                run(wanted)
            assert error.value.exit_code == 1
        assert untouched(bench, wanted) == [first_link(wanted)]
        assert rtnl.links()[first_link(wanted)].index == index
    bench.apply(wanted)
    assert unreachable(wanted) == []
    bench.delete(wanted)


def test_a_namespace_of_a_wanted_name_that_is_not_ours_is_left_alone(bench: Bench, wanted: Data) -> None:
    name = wanted["spec"]["namespaces"][1]
    netns.create(name)
    try:
        with pytest.raises(HookHeld, match=f"network namespace '{name}' exists and is not pcn's"):
            bench.apply(wanted)
        assert untouched(bench, wanted) == [name]
    finally:
        netns.delete(name)


def test_a_taken_name_at_the_far_end_is_left_alone_too(bench: Bench, wanted: Data) -> None:
    name = f"{first_link(wanted)}p"
    wanted["spec"]["links"].append({"name": f"{first_link(wanted)}q", "kind": "veth", "peer": {"name": name}})
    with foreign_veth(name) as index:
        with pytest.raises((HookHeld, KernelError), match=name):
            bench.apply(wanted)
        assert untouched(bench, wanted) == []
        assert rtnl.links()[name].index == index


def test_two_topologies_cannot_have_the_same_cube(bench: Bench, wanted: Data) -> None:
    other = {**wanted, "metadata": {"name": "other"}, "spec": {"cubes": wanted["spec"]["cubes"]}}
    bench.apply(wanted)
    try:
        with pytest.raises(DocumentError, match="br1"):
            bench.apply(other)
        assert bench.plan(wanted).plan.steps == ()
    finally:
        bench.delete(wanted)


# -- hooks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["XDP_SKB", "XDP_DRV"])
def test_an_xdp_hook_that_is_held_is_left_to_its_holder_who_is_named(bench: Bench, wanted: Data, mode: str) -> None:
    cube(wanted, "br1")["type"] = mode
    with without_its_link(wanted) as index, stranger(bpf.XDP) as program:
        link = bpf.link_create(program, index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
        try:
            for run in (bench.plan, bench.apply):
                with pytest.raises(HookHeld, match=r"XDP hook is held by program \d+ \(stranger\)"):
                    run(wanted)
            assert untouched(bench, wanted) == []
            assert bpf.link_info(link).ifindex == index
        finally:
            os.close(link)
        bench.apply(wanted)  # it is free now
        bench.delete(wanted)


def test_a_hook_that_is_taken_while_an_apply_is_on_its_way_is_not_taken_over(bench: Bench, wanted: Data) -> None:
    """Planning has found it free; the kernel says otherwise, and all that was done is undone."""
    cube(wanted, "br1")["type"] = "XDP_DRV"
    held: list[int] = []
    with without_its_link(wanted) as index, stranger(bpf.XDP) as program:

        def before(_: int, step: Step) -> None:
            if step.operation.kind == "attach_hook" and not held:
                held.append(bpf.link_create(program, index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE))

        with pytest.raises(HookHeld, match="stranger"):
            bench.apply(wanted, before=before)
        assert untouched(bench, wanted) == []
        assert bpf.link_info(held[0]).ifindex == index
        os.close(held[0])


def test_a_program_of_somebody_else_s_on_a_tc_hook_goes_on_beside_ours(bench: Bench, wanted: Data) -> None:
    with stranger() as program:
        bench.apply(wanted)
        index = rtnl.links()[first_link(wanted)].index
        theirs = [bpf.link_create(program, index, point) for point in (bpf.ATTACH_TCX_INGRESS, bpf.ATTACH_TCX_EGRESS)]
        try:
            identity = bpf.link_info(theirs[0]).program
            assert identity in bpf.hook_programs(index, bpf.ATTACH_TCX_INGRESS)
            assert bench.apply(wanted).plan.steps == ()
            assert unreachable(wanted) == []
            cube(wanted, "br1")["ports"][0].pop("peer")  # ours goes, theirs stays
            bench.apply(wanted)
            assert bpf.hook_programs(index, bpf.ATTACH_TCX_INGRESS) == [identity]
            assert bpf.hook_programs(index, bpf.ATTACH_TCX_EGRESS) == [identity]
        finally:
            for link in theirs:
                os.close(link)
            bench.delete(wanted)


def test_a_program_that_was_on_a_tc_hook_before_us_is_still_there_when_we_leave(bench: Bench, wanted: Data) -> None:
    with without_its_link(wanted) as index, stranger() as program:
        link = bpf.link_create(program, index, bpf.ATTACH_TCX_INGRESS)
        try:
            identity = bpf.link_info(link).program
            bench.apply(wanted)
            programs = bpf.hook_programs(index, bpf.ATTACH_TCX_INGRESS)
            assert len(programs) == 2
            assert identity in programs
            bench.delete(wanted)
            assert bpf.hook_programs(index, bpf.ATTACH_TCX_INGRESS) == [identity]
        finally:
            os.close(link)


# -- locks ---------------------------------------------------------------------------------------------------------------

_HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from reconciler.kernel.bpffs import Bpffs
with Bpffs(sys.argv[2]).locked(1):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_writer(root: str) -> Iterator[int]:
    """A process that is changing the same root."""
    repository = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, repository, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    try:
        yield process.pid
    finally:
        process.communicate("\n")


def test_a_busy_root_is_waited_for_and_then_given_up_naming_who_is_at_work(bench: Bench, wanted: Data) -> None:
    with another_writer(bench.root) as process:
        started = time.monotonic()
        with pytest.raises(LockBusy, match=f"process {process} .*python") as error:
            bench.apply(wanted, lock_timeout=0.3)
        assert 0.3 <= time.monotonic() - started < 2
        assert error.value.exit_code == 75
        assert untouched(bench, wanted) == [bench.root]
        result = command(bench.root, wanted, "--lock-timeout", "0.1")
        assert result.returncode == 75
        assert f"process {process}" in result.stderr
    bench.apply(wanted)  # the lock went with its holder
    bench.delete(wanted)


def test_applies_at_the_same_time_come_one_after_the_other(bench: Bench) -> None:
    """Six commands on one root, of two topologies and one edit: all of them succeed, and both topologies are whole."""
    one, two = unique(example("simplebridge")), unique(example("simpleforwarder"))
    edited = {**one, "spec": {**one["spec"], "cubes": [{**one["spec"]["cubes"][0], "loglevel": "DEBUG"}]}}
    argv = [str(BIN / "pcn-apply"), "--bpffs", bench.root, "--quiet", "--lock-timeout", "30", "-"]
    try:
        running = []
        for data in (one, two, one, edited, two, edited):
            running.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            assert running[-1].stdin
            running[-1].stdin.write(json.dumps(data))
            running[-1].stdin.close()
            running[-1].stdin = None
        outcomes = [(process.communicate(timeout=60), process.returncode) for process in running]
        assert [outcome for outcome in outcomes if outcome[1]] == []
        bench.apply(one, two)
        assert bench.plan(one, two).plan.steps == ()
        assert unreachable(one) + unreachable(two) == []
    finally:
        bench.delete(one, two)


