"""What a packet costs in this release, and in the one that hosts run today.

Programs alone, by BPF_PROG_TEST_RUN, in turns: the release of before is built from the history (as tests/upgrade does), and both
hold the same topology on the same machine at the same time. *firewall* is a known connection's packet through a firewall on a
forwarder's port; its chain drops what it does not know. A router takes the TTL down at each repeat, so its turns are short. What
a new check costs is seen in the minimum of the turns, since what else the machine does can only make one longer. Two loads of one
program differ by up to 25 ns, by where the kernel puts their code and rows: several copies of each release are held, and a turn
is the quickest of them.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import yaml
from scapy.all import IP, TCP, UDP, Ether, IPv6, raw  # type: ignore[attr-defined, unused-ignore]

from benchmarks.compare import Effort, Table, Turn, compare
from benchmarks.testrun import alone
from reconciler.kernel import bpf, programs
from reconciler.kernel.bpffs import Bpffs
from tests.upgrade.release import Release, old_release, this_release

KINDS = {"TC": "TC", "XDP": "XDP_DRV"}
HOOKS = {"TC": "tcx_ingress", "XDP_DRV": "xdp"}
REPEAT, ROUTED = 500, 200
COPIES = 3
FORWARDED = (4, 7)  # XDP_REDIRECT, TC_ACT_REDIRECT
NEAR, FAR = "02:00:00:00:01:01", "02:00:00:00:01:02"
GATEWAY = "02:00:00:00:02:01"


def run(effort: Effort) -> list[Table]:
    effort = replace(effort, rounds=max(effort.rounds, 101) if not effort.quick else effort.rounds)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pcn-bench-releases-")))
        releases = {"before": old_release(directory, directory / "cache-old"), "now": this_release(directory / "cache-now")}
        copies: dict[str, dict[str, list[Turn]]] = {}
        for copy, (age, release), (kind, hook) in product(range(COPIES), releases.items(), KINDS.items()):
            at = stack.enter_context(_holding(release, f"{age[0]}{hook[0].lower()}{copy}", hook))
            for what, turn in _turns(at).items():
                copies.setdefault(f"{what}, {kind}", {}).setdefault(age, []).append(turn)
        turns = {what: {age: partial(_quickest, each) for age, each in ages.items()} for what, ages in copies.items()}
        return [_with_minimum(compare(what, each, effort, against="before", unit="ns a packet")) for what, each in turns.items()]


def _quickest(copies: list[Turn]) -> float:
    return min(turn() for turn in copies)


def _with_minimum(table: Table) -> Table:
    """The minimum as a row of one turn, beside the median."""
    least = {row.name: min(row.turns) for row in table.rows}
    words = f"Minimum of {len(table.rows[0].turns)} turns: {least['before']:.0f} before, {least['now']:.0f} now, "
    turns = zip(table.row("before").turns, table.row("now").turns, strict=True)
    middle = statistics.median(now - before for before, now in turns)
    return replace(table, note=f"{words}{least['now'] - least['before']:+.0f} ns; median of the differences {middle:+.0f} ns.")


@contextlib.contextmanager
def _holding(release: Release, tag: str, hook: str) -> Iterator[Callable[[str], int]]:
    """The release holds the topology, on netdevs whose names begin with `tag`; gives what gives the program at the way in of a
    netdev, by the end of its name."""
    root = f"/sys/fs/bpf/pcn-bench-{tag}"
    netdevs = [f"{tag}{name}" for name in ("f1", "f2", "b1", "b2", "r1", "r2")]
    for name in netdevs:
        subprocess.run(["ip", "link", "add", name, "up", "type", "veth", "peer", "name", f"{name}-end"], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(_topology(tag, netdevs, hook), file)
        file.flush()
        release.run(root, "pcn-apply", file.name, timeout=600)
        try:
            with contextlib.ExitStack() as opened:
                yield lambda end: _program_at(opened, root, f"links/{tag}{end}/{HOOKS[hook]}")
        finally:
            release.run(root, "pcn-apply", "--delete", file.name)
            for name in netdevs:
                subprocess.run(["ip", "link", "del", name], check=True)


def _topology(tag: str, netdevs: list[str], hook: str) -> dict[str, object]:
    f1, f2, b1, b2, r1, r2 = netdevs
    rule = [{"id": 1, "conntrack": "NEW", "action": "ACCEPT"}]
    chains = [{"name": name, "default": "DROP", "rule": rule} for name in ("INGRESS", "EGRESS")]
    both = [{"inport": "a", "action": "FORWARD", "outport": "b"}, {"inport": "b", "action": "FORWARD", "outport": "a"}]
    common = {"type": hook, "loglevel": "OFF"}
    cubes: list[dict[str, object]] = [
        {"name": "wall", "service-name": "firewall", "chain": chains, **common},
        {"name": "line", "service-name": "simpleforwarder", "actions": both, **common,
         "ports": [{"name": "a", "peer": f1, "tcubes": ["wall"]}, {"name": "b", "peer": f2}]},
        {"name": "floor", "service-name": "simplebridge", **common,
         "ports": [{"name": "a", "peer": b1}, {"name": "b", "peer": b2}]},
        {"name": f"gw{tag}", "service-name": "router", **common,
         "ports": [{"name": "a", "peer": r1, "ip": "10.1.0.254/24", "mac": GATEWAY},
                   {"name": "b", "peer": r2, "ip": "10.2.0.254/24", "mac": "02:00:00:00:02:02"}],
         "arp-table": [{"address": "10.2.0.1", "interface": "b", "mac": FAR}]},
    ]  # fmt: skip
    head: dict[str, object] = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "price"}}
    return head | {"spec": {"cubes": cubes}}


def _program_at(stack: contextlib.ExitStack, root: str, pin: str) -> int:
    with Bpffs(root).opened(pin) as link:
        program = bpf.fd_by_id(bpf.PROG_BY_ID, bpf.link_info(link).program)
    stack.callback(os.close, program)
    return program


def _turns(at: Callable[[str], int]) -> dict[str, Turn]:
    near, far = at("f1"), at("f2")
    found: dict[str, Turn] = {}
    for name, there, back in _connections():
        for number, frame in enumerate((there[0], back[0], there[1], back[1], there[2])):
            alone(far if number in (1, 3) else near, frame, 1)()
        _forwarded(near, there[2])
        found[f"firewall, {name}"] = partial(_turn, near, there[2], REPEAT)
    bridge = at("b1"), at("b2")
    frame = raw(Ether(src=NEAR, dst=FAR) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / bytes(18))
    alone(bridge[1], raw(Ether(src=FAR, dst=NEAR) / IP() / UDP() / bytes(18)), 1)()
    _forwarded(bridge[0], frame)
    found["bridge"] = partial(_turn, bridge[0], frame, REPEAT)
    routed = raw(Ether(src=NEAR, dst=GATEWAY) / IP(src="10.1.0.1", dst="10.2.0.1", ttl=255) / UDP(sport=1, dport=2) / bytes(18))
    gateway = at("r1")
    _forwarded(gateway, routed)
    found["router, IPv4"] = partial(_several, gateway, routed)
    return found


def _forwarded(program: int, frame: bytes) -> None:
    """A packet that is dropped costs little: see to it that the measured one is none."""
    verdict = programs.test_run(program, frame)[0]
    if verdict not in FORWARDED:
        raise RuntimeError(f"the packet to measure is not forwarded: verdict {verdict}")


def _turn(program: int, frame: bytes, repeat: int) -> float:
    return alone(program, frame, repeat)()


def _several(program: int, frame: bytes) -> float:
    return min(alone(program, frame, ROUTED)() for _ in range(3))


def _connections() -> Iterator[tuple[str, list[bytes], list[bytes]]]:
    """Name, frames there, frames back: a handshake, or two datagrams each way, then what is measured."""
    for version, ip, one, other in ((4, IP, "10.0.0.1", "10.0.0.2"), (6, IPv6, "fd00::1", "fd00::2")):
        to, fro = Ether(src=NEAR, dst=FAR) / ip(src=one, dst=other), Ether(src=FAR, dst=NEAR) / ip(src=other, dst=one)
        go, come = partial(TCP, sport=4000, dport=80, window=60000), partial(TCP, sport=80, dport=4000, window=60000)
        acknowledge = to / go(flags="A", seq=101, ack=501)
        there = [to / go(flags="S", seq=100), acknowledge, acknowledge / bytes(6)]
        back = [fro / come(flags="SA", seq=500, ack=101), fro / come(flags="A", seq=501, ack=101)]
        yield f"TCP over IPv{version}", [raw(each) for each in there], [raw(each) for each in back]
        asked, answered = to / UDP(sport=4000, dport=53) / bytes(18), fro / UDP(sport=53, dport=4000) / bytes(18)
        yield f"UDP over IPv{version}", [raw(asked)] * 3, [raw(answered)] * 2
