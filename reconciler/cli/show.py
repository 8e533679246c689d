"""pcn show: the live topologies as files; applying them changes nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.errors import ApplyFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.run import Run

DESCRIPTION = """\
Print what the kernel holds as topology files, read back from its tables and programs: 'pcn show | pcn apply -' changes
nothing. With the name of a cube, only its part. With --state, also what cubes learned and counted; that is for reading, not
for applying. With --facts, what rows depend on and no file says: the host's netdevs and addresses, and what workers published."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("topologies", nargs="*", metavar="TOPOLOGY|CUBE", help="only these")
    parser.add_argument("--state", action="store_true", help="also what was learned and counted")
    parser.add_argument("--facts", action="store_true", help="the facts of now in place of topologies, each with its version")
    shared.output(parser, "yaml", "json")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.present.show import shown

    run.need("read the kernel's programs")
    if run.args.facts:
        return _facts(run)
    topologies, cubes = _sorted_out(run)
    answer = shown(run.options(), topologies, state=run.args.state)
    found = [_cubes_of(document, cubes) if cubes else document for document in answer.documents]
    if found or run.format == "json":
        run.terminal.print(as_text(found, run.format))
    elif not answer.sealed:
        run.terminal.say("nothing is applied")
    return ApplyFailed.exit_code if answer.sealed.keys() & (topologies or answer.sealed.keys()) else 0


def _sorted_out(run: Run) -> tuple[list[str], frozenset[str]]:
    """Splits arguments into topologies to read (empty: all) and cubes to print (empty: entire topologies). Raises UsageError."""
    from reconciler.cli.names import live_names

    words: list[str] = run.args.topologies
    if not words:
        return [], frozenset()
    there = live_names(run.options())
    cubes = frozenset(word for word in words if word not in there.topologies)
    for word in cubes:
        there.topology_of(word)  # raises for a name of neither
    if cubes and len(cubes) < len(words):
        raise UsageError("name either topologies or cubes: cubes are printed as parts of their topologies")
    return sorted({there.topology_of(word) for word in words}), cubes


def _cubes_of(document: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Some cubes of a topology: an excerpt that cannot be applied."""
    return {"cubes": [cube for cube in document["spec"]["cubes"] if cube["name"] in names]}


def _facts(run: Run) -> int:
    from reconciler.cli.run import dumped
    from reconciler.present.facts import facts_now

    if run.args.topologies or run.args.state:
        raise UsageError("--facts goes with neither topologies nor --state")
    found = facts_now(run.options())
    run.terminal.print(dumped(found if run.format == "json" else {"facts": found}, run.format))
    return 0


def as_text(documents: Sequence[dict[str, Any]], form: str) -> str:
    """As YAML documents, or a JSON array."""
    from reconciler.cli.run import dumped

    if form == "json":
        return dumped(list(documents), "json")
    return "---\n".join(dumped(document, "yaml") for document in documents)
