"""One edit, from the save to its effect.

A file is put in place with one thing changed, and the clock runs until the kernel's table has it: a forwarder's action among
1,000 cubes in a ring, an address among 100,000 rows of a blacklist, a rule among 10,000 of a firewall, an address among 100,000
of a firewall's set, a route among 60,000. *pcn-agent* watches the file, and waits until it has been quiet for a moment before it
reads it; the line below has that taken off. *In a running process* is the apply alone, from the document's text. *pcn-apply* is
the command, started anew.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import topologies
from benchmarks.compare import Effort, Goal, Row, Table, Turn, compare
from benchmarks.topologies import Watched
from reconciler.agent.main import QUIET
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply
from tests.lib.agent_process import ROOT, AgentProcess

_PATIENCE = 120.0  # seconds until an agent has read 100,000 rows, on a machine that is busy
AGENT, WITHOUT = "pcn-agent", "pcn-agent, without its waiting"
COMMAND = "import sys; from reconciler.cli.main import apply_main; sys.exit(apply_main())"
Text = Callable[[bool], str]


def run(effort: Effort) -> list[Table]:
    effort = effort.at_most(2 if effort.quick else 5)
    root, cubes, rows = os.environ["PCN_BPFFS"], effort.amount(1000), effort.amount(100_000)
    rules, routes = effort.amount(10_000), effort.amount(60_000)
    return [
        table(
            f"Among {cubes:,} cubes",
            lambda edited: topologies.ring(cubes, dropping=edited),
            topologies.of_ring(root, cubes),
            effort,
        ),
        table(
            f"Among {rows:,} rows",
            lambda edited: topologies.lists(rows, longer=edited),
            topologies.of_lists(root),
            effort.at_most(3),
        ),
        table(
            f"Among {rules:,} rules of a firewall",
            lambda edited: topologies.rules(rules, longer=edited),
            topologies.of_rules(root),
            effort,
        ),
        table(
            f"Among {rows:,} entries of a firewall's set",
            lambda edited: topologies.address_set(rows, longer=edited),
            topologies.of_address_set(root),
            effort.at_most(3),
        ),
        table(
            f"Among {routes:,} routes",
            lambda edited: topologies.routes(routes, longer=edited),
            topologies.of_routes(root),
            effort.at_most(5),
        ),
    ]


def table(title: str, text: Text, watched: Watched, effort: Effort) -> Table:
    options = Options(root=watched.root)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pcn-bench-")))
        file = directory / "files" / "bench.yaml"
        file.parent.mkdir()
        file.write_text(text(False))
        apply(parse(text(False), "bench"), options)
        stack.callback(lambda: apply(parse(text(False), "bench"), options, delete=True))
        stack.enter_context(watched.opened())
        edits = Edits(text, watched)
        inside = {
            "in a running process": edits.by(lambda said: apply(parse(said, "bench"), options)),
            "pcn-apply": edits.by(lambda said: command(file, said)),
        }
        plain = compare(title, inside, effort, against="", unit="milliseconds")
        topologies.save(str(file), text(False))
        with AgentProcess(watched.root, directory / "log", str(file.parent), patience=_PATIENCE) as agent:
            agent.until(lambda said: said["healthy"], _PATIENCE)

            def write(said: str) -> None:
                agent.status()  # is told once what the last edit set going is over
                topologies.write_draft(str(file), said)

            saved = {AGENT: edits.by(lambda _: topologies.put_in_place(str(file)), write)}
            watching = compare(title, saved, effort, against="", unit="milliseconds")
        sooner = Row(WITHOUT, tuple(taken - 1000 * QUIET for taken in watching.rows[0].turns))
        return Table(title, "milliseconds", (*watching.rows, sooner, *plain.rows), goals=(Goal(WITHOUT, at_most=50, of="value"),))


def command(file: Path, said: str) -> None:
    topologies.save(str(file), said)
    started_anew(file)


def started_anew(file: Path) -> None:
    """`pcn-apply FILE` in a process of its own, of a Python that keeps what it compiles."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", COMMAND, str(file)], check=True, capture_output=True, cwd=ROOT, env=usual)


class Edits:
    """There and back again: every turn is an edit."""

    def __init__(self, text: Text, watched: Watched) -> None:
        self._texts, self._watched = {edited: text(edited) for edited in (False, True)}, watched

    def by(self, change: Callable[[str], object], before: Callable[[str], object] = str) -> Turn:
        """`before` has the text too, and its time does not count."""

        def turn() -> float:
            wanted = not self._watched.seen()
            before(self._texts[wanted])
            began = time.perf_counter_ns()
            change(self._texts[wanted])
            while self._watched.seen() != wanted:
                if time.perf_counter_ns() - began > 60e9:
                    raise RuntimeError("the edit has no effect")
                time.sleep(0.0005)
            return (time.perf_counter_ns() - began) / 1e6

        return turn
