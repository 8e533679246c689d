"""One rule among 10,000, while packets pass.

A host sends more than 100,000 datagrams a second through a firewall of 10,000 rules, which drops all else, and uses a connection
that began before; the rules do not let such a one begin any more. *pcn-agent* watches the firewall's file. A rule comes or
goes at the top, in the middle or at the end, and the clock runs from when the file is put in place until the new rules are in
force, without the time that the agent waits for the file to be quiet. Each datagram is counted where it arrives. The sender is
bound to one CPU, and nobody else is to any.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import topologies
from benchmarks.compare import Effort, Goal, Row, Table, Turn
from benchmarks.edit import Edits
from reconciler.agent.main import QUIET
from reconciler.document.emitter import dump_yaml
from tests.lib.agent_process import AgentProcess
from tests.services.firewall.lab import HOOKS, FirewallLab
from tests.services.firewall.rate import PORT, TALK_PORT, Rate, Talk

_RATE = 120_000  # a second; what is missed for want of a CPU is made up for
_PATIENCE = 60.0
Rule = dict[str, Any]


def run(effort: Effort) -> list[Table]:
    effort = effort.at_most(2 if effort.quick else 5)
    return [table for hook in HOOKS for table in _tables(hook, effort, effort.amount(10_000))]


def _tables(hook: str, effort: Effort, count: int) -> list[Table]:
    rules = [{"src": f"10.1.{n >> 8}.{n & 255}", "l4proto": "TCP", "dport": n + 1, "action": "DROP"} for n in range(count)]
    begins = {"l4proto": "TCP", "dport": TALK_PORT, "conntrack": "NEW"}
    rules.append({"l4proto": "UDP", "dport": PORT})
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pcn-bench-")))
        lab = stack.enter_context(FirewallLab(hook=hook))
        lab.chain("INGRESS", *rules, begins, step=10)
        lab.chain("EGRESS")
        lab.apply()
        talk = stack.enter_context(Talk(lab))
        document = Document(lab, rules, directory / "files" / "firewall.yaml")
        lab.apply()
        watched = stack.enter_context(topologies.of_rules(lab.root).opened())
        agent = stack.enter_context(AgentProcess(lab.root, directory / "log", str(document.file.parent), patience=_PATIENCE))
        agent.until(lambda said: said["healthy"], _PATIENCE)
        places = {"at the top": 0, "in the middle": count // 2, "at the end": count + 1}
        with Rate(lab, _RATE) as rate:
            turns = {name: document.turn(place, watched, agent) for name, place in places.items()}
            rounds = [{name: turn() - 1000 * QUIET for name, turn in turns.items()} for _ in range(1 + effort.rounds)][1:]
        rows = tuple(Row(name, tuple(took[name] for took in rounds)) for name in places)
        goals = tuple(Goal(name, at_most=50, of="value") for name in places)
        return [Table(f"One rule, {hook}", "milliseconds", rows, goals=goals), _meanwhile(hook, rate, talk)]


def _meanwhile(hook: str, rate: Rate, talk: Talk) -> Table:
    rows = {
        "sent": rate.sent / rate.seconds,
        "lost, of all": rate.lost(),
        "a byte there and back, ms at the longest": 1e3 * talk.longest,
    }
    goals = (Goal("sent", at_least=100_000, of="value"), Goal("lost, of all", at_most=0, of="value"))
    named = tuple(Row(name, (value,)) for name, value in rows.items())
    return Table(f"Meanwhile, {hook}", "datagrams a second", named, note=f"{rate.sent:,} were sent in all.", goals=goals)


class Document:
    """The lab's document as a file, with rules that come and go at some places."""

    def __init__(self, lab: FirewallLab, rules: list[Rule], file: Path) -> None:
        self._lab, self._rules, self.file = lab, rules, file
        self._there: set[int] = set()
        file.parent.mkdir()
        file.write_text(self._text())

    def _text(self) -> str:
        """A rule's id follows from its place among those that never go, so that of these none gets another one."""
        entries = [{"id": 10 * place + 10, **rule} for place, rule in enumerate(self._rules)]
        for place in sorted(self._there, reverse=True):
            rule = {"src": "172.16.0.1", "l4proto": "UDP", "dport": place + 1, "action": "DROP"}
            entries.insert(place, {"id": 10 * place + 5, **rule})
        self._lab.chain("INGRESS")
        self._lab.rules("INGRESS").extend(entries)
        return dump_yaml(self._lab.document().data)

    def turn(self, place: int, watched: topologies.Watched, agent: AgentProcess) -> Turn:
        def text(there: bool) -> str:
            self._there = self._there | {place} if there else self._there - {place}
            return self._text()

        def write(_: str) -> None:
            agent.status()  # is told once what the last edit set going is over
            topologies.write_draft(os.fspath(self.file), text(place not in self._there))

        return Edits(lambda _: "", watched).by(lambda _: topologies.put_in_place(os.fspath(self.file)), write)
