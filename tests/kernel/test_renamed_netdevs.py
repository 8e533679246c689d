"""Netdevs that are renamed, exchange their names, move to another network namespace, or come again: a hook is known by the netdev
that the kernel has it on, and not by the name that the netdev had when it was attached."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, drift, plan_for
from reconciler.errors import ApplyFailed, KernelError
from reconciler.kernel import bpf, clsact, hooks, rtnl
from reconciler.kernel.bpffs import Bpffs
from tests.lib.agent_process import Stream
from tests.lib.netns_topology import NetnsTopology, ping

HOOKS = ("TC", "clsact", "XDP_SKB", "XDP_DRV")
PLACES = ("port", "attachment")


class Bench:
    """Two hosts on a bridge, whose netdevs here belong to nobody; by `place`, a transparent cube is attached to the first."""

    def __init__(self, world: NetnsTopology, root: str, hook: str, place: str) -> None:
        self.options = Options(root=root)
        self.type = "TC" if hook == "clsact" else hook
        self.place = place
        xdp = {"gro": True, "tx_checksum": False} if hook.startswith("XDP") else {}
        self.h1, self.h2 = (world.host(name, f"10.0.0.{number}/24", **xdp) for number, name in enumerate(("h1", "h2"), 1))
        self.names = [self.h1.port, self.h2.port]

    def document(self) -> Document:
        one, two = self.names
        ports = [{"name": "p1", "peer": one}, {"name": "p2", "peer": two}]
        spec: dict[str, Any] = {"cubes": [{"name": "br", "service-name": "simplebridge", "type": self.type, "ports": ports}]}
        if self.place == "attachment":
            spec["cubes"].append({"name": "t", "service-name": "transparenthelloworld", "type": self.type})
            spec["attachments"] = [{"netdev": one, "tcubes": ["t"]}]
        data = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "renamed"}, "spec": spec}
        return parse(json.dumps(data), "renamed.yaml")[0]

    def apply(self, **options: Any) -> Any:
        for name, value in options.items():
            setattr(self.options, name, value)
        return apply([self.document()], self.options)

    def stream(self) -> Stream:
        return Stream(self.h1.netns, self.h2.netns, self.h2.ip)

    def is_settled(self) -> bool:
        return not plan_for([self.document()], self.options).plan.steps and not drift(self.options)

    def pins(self) -> set[str]:
        """Of the netdevs with names of ours."""
        root = Bpffs(self.options.root)
        return {f"{netdev}/{point}" for netdev in root.names("links") for point in root.names(f"links/{netdev}")}

    def attached(self) -> dict[str, set[int]]:
        """Programs at the hooks of each netdev, as the kernel has them."""
        found: dict[str, set[int]] = {}
        for name, state in rtnl.links().items():
            here = {state.xdp.program} if state.xdp else set()
            for point, direction in (("tcx_ingress", "ingress"), ("tcx_egress", "egress")):
                here |= set(bpf.hook_programs(state.index, hooks.ATTACH[point]))
                here |= {entry.program for entry in clsact.query(state.index, direction)}
            found[name] = here
        return found


@pytest.fixture(params=[(hook, place) for hook in HOOKS for place in PLACES], ids="-".join)
def bench(request: pytest.FixtureRequest, own_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    hook, place = request.param
    if hook == "clsact":
        monkeypatch.setattr(hooks, "has_tcx", lambda: False)
    with NetnsTopology() as world:
        bench = Bench(world, own_root, hook, place)
        bench.apply()
        assert ping(bench.h1.netns, bench.h2.ip) == 2
        try:
            yield bench
        finally:
            bench.options.before = None
            for old, new in zip(bench.names, (bench.h1.port, bench.h2.port), strict=True):
                if old != new and old in rtnl.links():
                    rename(old, f"{new}y")
            for new in (bench.h1.port, bench.h2.port):
                if f"{new}y" in rtnl.links():
                    rename(f"{new}y", new)
            apply([bench.document()], bench.options, delete=True)
            assert not any(bench.attached().values())


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def rename(old: str, new: str) -> None:
    ip("link", "set", "dev", old, "name", new)


def exchange(bench: Bench) -> None:
    """The netdevs exchange their names, and the file says so."""
    one, two = bench.names
    rename(one, f"{one}x")
    rename(two, one)
    rename(f"{one}x", two)
    bench.names = [two, one]


def test_a_renamed_netdev_is_followed_without_losing_a_packet(bench: Bench) -> None:
    before = bench.attached()[bench.names[0]]
    with bench.stream() as stream:
        rename(bench.names[0], f"{bench.names[0]}n")
        bench.names[0] += "n"
        result = bench.apply()
        stream.close()
    assert (stream.lost(), result.plan.total("program_loads")) == (0, 0)
    learned = {"purge_rows"} if bench.place == "attachment" and bench.type != "TC" else set()
    assert {step.operation.kind for step in result.plan.steps} <= {"move_hook", "set_link", "set_document", *learned}
    assert bench.is_settled()
    assert bench.attached()[bench.names[0]] == before
    assert {pin.partition("/")[0] for pin in bench.pins()} <= {*bench.names, *(n for n in rtnl.links() if n.startswith("pcn"))}


def test_netdevs_that_exchange_their_names_are_followed_without_losing_a_packet(bench: Bench) -> None:
    before = [bench.attached()[name] for name in bench.names]
    with bench.stream() as stream:
        exchange(bench)
        result = bench.apply()
        stream.close()
    assert (stream.lost(), result.plan.total("program_loads")) == (0, 0)
    assert [bench.attached()[name] for name in bench.names] == before
    assert bench.is_settled()


def test_names_exchanged_without_a_word_of_it_in_the_file_are_exchanged_ports(bench: Bench) -> None:
    exchange(bench)
    bench.names.reverse()
    bench.apply()
    assert bench.is_settled()
    assert ping(bench.h1.netns, bench.h2.ip) == 2
    exchange(bench)
    bench.names.reverse()
    bench.apply()


@pytest.mark.parametrize("edit", ["rename", "exchange"])
def test_an_apply_that_fails_after_any_step_leaves_hooks_and_pins_as_they_were(bench: Bench, edit: str) -> None:
    if edit == "exchange":
        exchange(bench)
    else:
        rename(bench.names[0], f"{bench.names[0]}n")
        bench.names[0] += "n"
    pins, attached, count = bench.pins(), bench.attached(), len(bench_plan(bench))
    for doomed in range(count):
        def fail(number: int, _: object, doomed: int = doomed) -> None:
            if number == doomed:
                raise ApplyFailed("as asked")

        with pytest.raises(ApplyFailed, match="as asked"):
            bench.apply(before=fail)
        assert (bench.pins(), bench.attached()) == (pins, attached)
    bench.apply(before=None)
    assert bench.is_settled()


def bench_plan(bench: Bench) -> list[Any]:
    return [step for step in plan_for([bench.document()], bench.options).plan.steps if step.rank.phase != "retire"]


@pytest.mark.parametrize("edit", ["rename", "exchange"])
def test_an_apply_that_is_killed_between_any_two_steps_is_completed_by_the_next(bench: Bench, edit: str) -> None:
    class Killed(BaseException):
        """Nothing is undone."""

    for doomed in range(1, 9):
        if edit == "exchange":
            exchange(bench)
        else:
            rename(bench.names[0], f"{bench.h1.port}{doomed}")
            bench.names[0] = f"{bench.h1.port}{doomed}"

        def kill(number: int, _: object, doomed: int = doomed) -> None:
            if number == doomed:
                raise Killed

        try:
            bench.apply(before=kill)
        except Killed:
            bench.apply(before=None)
        assert bench.is_settled()
        assert ping(bench.h1.netns, bench.h2.ip) == 2


def test_a_netdev_that_was_in_another_namespace_meanwhile_is_attached_again_where_the_kernel_let_it_go(bench: Bench) -> None:
    ip("link", "set", "dev", bench.names[0], "netns", bench.h2.netns)
    ip("-n", bench.h2.netns, "link", "set", "dev", bench.names[0], "netns", str(os.getpid()))
    ip("link", "set", "dev", bench.names[0], "up")
    bench.apply()
    assert bench.is_settled()
    assert ping(bench.h1.netns, bench.h2.ip, 4) >= 2


def test_a_netdev_that_left_for_another_namespace_is_not_taken_for_the_one_that_has_its_number_now(bench: Bench) -> None:
    name, index = bench.names[0], rtnl.links()[bench.names[0]].index
    ip("link", "set", "dev", name, "netns", bench.h2.netns)
    ip("link", "add", name, "index", str(index), "type", "veth", "peer", "name", f"{name}p")
    try:
        assert not bench.attached()[name]
        assert not bench.is_settled()
        bench.apply()
        assert bench.attached()[name]
        assert bench.is_settled()
    finally:
        ip("link", "delete", "dev", name)
        ip("-n", bench.h2.netns, "link", "delete", "dev", name)


def test_a_pin_of_another_netdev_s_hook_is_never_thrown_away(bench: Bench) -> None:
    """Whatever a plan says: the hook that would lose its pin would stop."""
    if bench.type == "TC" and not hooks.has_tcx():
        return  # a filter does not hang on its pin
    root, one, two = Bpffs(bench.options.root), *bench.names
    point = "tcx_ingress" if bench.type == "TC" else "xdp"
    with root.opened(f"links/{two}/{point}") as link:
        program = bpf.fd_by_id(bpf.PROG_BY_ID, bpf.link_info(link).program)
    pins = bench.pins()
    try:
        with pytest.raises(KernelError):
            hooks.attach(root, f"links/{one}/{point}", program, rtnl.links()[two].index, point)
    finally:
        os.close(program)
    with pytest.raises(KernelError):
        hooks.move(root, f"links/{one}/{point}", f"links/{two}/{point}")
    assert bench.pins() == pins
