"""The instruments of benchmarks say the truth: every packet is counted, and what is replayed is what an apply makes."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import full_table, linux, programs
from benchmarks.bed import Bed
from benchmarks.control import Ring
from benchmarks.flows import counting, flows, frame
from benchmarks.testrun import alone
from benchmarks.two_cpus import turner
from reconciler.kernel import bpf, maps
from reconciler.kernel import programs as kernel_programs
from tests.lib.packets import checksum, sniff
from tests.lib.scapy_packets import IP


@pytest.mark.parametrize("into", ["TC", "XDP"])
def test_every_packet_of_a_flow_is_counted_once(into: str) -> None:
    with Bed(["h1", "h2"]) as bed:
        linux.bridge(bed)
        bed.say("h2")
        with bed.flow("h1", "h2", bed.udp("h1", "h2"), into=into) as flow:
            assert flow.send(10_000) == 10_000
            assert 50 < flow.turn(10_000) < 1_000_000


def test_a_turn_in_which_packets_are_lost_is_an_error() -> None:
    with (
        Bed(["h1", "h2"]) as bed,
        bed.flow("h1", "h2", bed.udp("h1", "h2"), into="TC") as flow,
        pytest.raises(RuntimeError, match="of 1000 packets 0 arrived"),
    ):
        flow.turn(1000)


def test_a_flow_that_is_many_is_of_each_in_turn_and_its_checksums_are_right() -> None:
    with Bed(["h1", "h2"], subnets=True) as bed:
        linux.forwarding(bed)
        first = frame(bed, "h1", "h2", bed.address("h2"), 2000)
        with sniff(bed.space("h2"), "eth0") as seen, flows(bed, "h1", "h2", first, 4, ports=2) as flow:
            assert flow.send(5) == 5
            found = [IP(each[14:]) for each in seen.all(0.3)]
    assert [(each.src, each.sport) for each in found] == [
        ("10.0.1.1", 1024), ("10.0.1.1", 1025), ("10.0.1.2", 1024), ("10.0.1.2", 1025), ("10.0.1.1", 1024),
    ]  # fmt: skip
    assert all(checksum(bytes(each)[:20]) == 0 for each in found)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_two_cpus_carry_flows_of_their_own_at_once_and_losses_are_an_error() -> None:
    with Bed(["h1", "h2", "h3"], subnets=True) as bed, counting(bed, "h2") as counter, contextlib.ExitStack() as stack:
        senders = ("h1", "h3")
        sent = {host: frame(bed, host, "h2", bed.address("h2"), 2000) for host in senders}
        ways = [stack.enter_context(flows(bed, host, "h2", sent[host], 4, counter=counter)) for host in senders]
        turn = turner(ways, 500)
        with pytest.raises(RuntimeError, match="of 1000 packets 0 arrived"):
            turn()
        linux.forwarding(bed)
        assert turn() > 50
        assert counter.value() == 1000


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_a_router_is_held_against_the_model_with_every_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_table, "EDITS", 1)
    found = full_table.phases("XDP", 300)
    assert [phase.name for phase in found] == ["nothing applied", "all loaded", "all replaced", "one changed (1)", "all removed"]
    assert all(phase.sent >= 20_000 and phase.lost == phase.wrong == 0 for phase in found), found
    right = full_table.hops_of
    monkeypatch.setattr(full_table, "hops_of", lambda *given: [1 + hop % 10 for hop in right(*given)])
    wrong = full_table.phases("XDP", 300)
    assert all(phase.wrong for phase in wrong), wrong


def test_a_jump_goes_on_in_the_other_program() -> None:
    with programs.written("int run(struct xdp_md *ctx) { return 2; }", "XDP") as last, programs.jump("XDP", last) as first:
        assert kernel_programs.test_run(first, bytes(60))[0] == 2
        assert alone(first, bytes(60), 10_000)() > 1


def test_a_replay_makes_what_the_apply_made(own_root: str, tmp_path: Path) -> None:
    ring = Ring(3, tmp_path / "ring.yaml")
    made = everything(own_root)
    ring.remove()
    ring.calls.run()
    assert everything(own_root) == made
    shutil.rmtree(own_root)


def everything(root: str) -> dict[str, str]:
    """Paths, and what is at each: a text, the size of a program, what a map is and its rows (but for descriptors' numbers)."""
    found = {}
    for directory, _, names in os.walk(root):
        for path in (os.path.join(directory, name) for name in names):
            found[path.removeprefix(root)] = os.readlink(path) if os.path.islink(path) else _described(path)
    return found


def _described(path: str) -> str:
    fd = bpf.open_pin(path)
    try:
        if re.search(r"/in/|/(in|e)gress_\d+$", path):
            return f"program of {kernel_programs.info(fd).xlated} bytes"
        spec = maps.info(fd).spec
        if spec.type == maps.RINGBUF:
            return f"{spec}"
        return f"{spec} {sorted(maps.keys(fd, spec)) if spec.type == maps.PROG_ARRAY else maps.rows(fd, spec)}"
    finally:
        os.close(fd)
