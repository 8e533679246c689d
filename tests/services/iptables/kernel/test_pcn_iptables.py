"""pcn-iptables beside the kernel's iptables: given the same command lines, both list the same rules, and let the same packets pass."""
from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.engine.apply import apply
from tests.lib.netns_topology import run_in
from tests.services.iptables.lab import ScriptLab
from tests.services.iptables.probes import HOSTS, Probe, Probes, know_neighbours, seen

LINES = [line for line in Path(__file__).parents[1].joinpath("commands.txt").read_text().splitlines() if not line.startswith("#")]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptLab]:
    with ScriptLab(monkeypatch, tmp_path, HOSTS) as bench:
        know_neighbours()
        yield bench


def verdicts(bench: ScriptLab, probes: list[Probe]) -> list[bool]:
    return seen(probes, {host: bench.space(host) for host in bench.hosts})


def alike(lines: list[str]) -> list[str]:
    """Without the order of matches in a line, which iptables keeps as it was spoken."""
    return [" -m ".join(sorted(line.replace(" -j ", " -m -j ").split(" -m "))) for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_same_lines_make_the_same_rules_and_verdicts(bench: ScriptLab, capsys: pytest.CaptureFixture[str]) -> None:
    probes = Probes(1).some(1000)
    listed, passed = {}, []
    for variant in ("iptables-nft", "iptables-legacy"):
        for line in LINES:
            run_in(None, [variant, *shlex.split(line)])
        listed[variant] = alike(run_in(None, [variant, "-S"]).splitlines())
        passed = verdicts(bench, probes) if variant == "iptables-legacy" else []
        for words in ("-F", "-X", "-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-P OUTPUT ACCEPT"):
            run_in(None, [variant, *words.split()])
    assert 250 < sum(passed) < 750

    assert bench.run("", "pcn-iptables-init") == 0
    for line in LINES:
        assert bench.run(line) == 0, line
    own = sorted(alike(bench.said(capsys, "-S")))
    assert own == sorted(listed["iptables-legacy"])
    assert own == sorted(listed["iptables-nft"])
    found = verdicts(bench, probes)
    wrong = [(probe.way, probe.packet[20:40].hex(), old, new) for probe, old, new in zip(probes, passed, found, strict=True) if old != new]
    assert not wrong, f"{len(wrong)} differ: {wrong[:10]}"


def test_commands_find_what_others_wrote_and_fail_as_iptables_does(bench: ScriptLab, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("-S") == 2, "there is no firewall yet"
    assert bench.run("", "pcn-iptables-init") == 0
    bench.script("""
        -A INPUT -p tcp --dport 80 -j ACCEPT
        -A INPUT -s 10.0.1.1,10.0.1.2 -j ACCEPT
        -C INPUT -p tcp --dport 80 -j ACCEPT
        -D INPUT -p tcp --dport 80 -j ACCEPT
        -D INPUT -s 10.0.1.2 -j ACCEPT
        -N web
        -I INPUT 2 -j web
    """)
    wanted = ["-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-P OUTPUT ACCEPT", "-N web", "-A INPUT -s 10.0.1.1/32 -j ACCEPT", "-A INPUT -j web"]
    assert bench.said(capsys, "-S") == wanted
    for words, code in (("-C INPUT -p tcp --dport 80 -j ACCEPT", 1), ("-D INPUT -j DROP", 1), ("-A web -j web", 1), ("-A gone -j DROP", 1), ("-X web", 1),
                        ("-A INPUT -j gone", 1), ("-N web", 1), ("-P web DROP", 1), ("-P INPUT REJECT", 1), ("-I INPUT 9 -j DROP", 1),
                        ("-X INPUT", 1), ("-A INPUT -j DROP --random", 2), ("-t nat -S", 2)):  # fmt: skip
        assert bench.run(words) == code, words
    assert bench.said(capsys, "-S") == wanted, "and nothing of it is there"


def test_what_the_file_says_is_there_again_after_a_reboot(bench: ScriptLab, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run("", "pcn-iptables-init")
    bench.script("-A INPUT -p icmp -j DROP")
    apply([], replace(bench.options, drop=frozenset({"pcn-iptables"})), delete=True)
    assert bench.said(capsys, "-S INPUT") == ["-P INPUT ACCEPT", "-A INPUT -p icmp -j DROP"]
    assert bench.fails("h1", "10.0.1.254", 1)
