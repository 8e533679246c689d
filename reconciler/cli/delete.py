"""pcn delete: remove topologies, by name or by file."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import apply as apply_verb
from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.apply import Options

DESCRIPTION = """\
Remove topologies with all that they own: cubes, links, namespaces. A topology is named by a file, or by its name alone,
as what was applied is kept in the kernel."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "topologies", nargs="+", metavar="TOPOLOGY|FILE", help="the name of a live topology, a file, a directory, or -"
    )
    parser.add_argument("--plan", action="store_true", help="only show what would be done; exit 2 if there is anything")
    parser.add_argument("--merge", action="store_true", help="make one topology of documents with the same name")
    shared.output(parser, "text", "json", "yaml")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)
    parser.set_defaults(delete=True, wait=None)


def run(run: Run) -> int:
    run.need("read the kernel's programs" if run.args.plan else "change the kernel's programs", change=not run.args.plan)
    options = run.options()
    files = [word for word in run.args.topologies if run.is_file(word)]
    options.drop = frozenset(word for word in run.args.topologies if not run.is_file(word))
    known(options)
    documents = run.load(files) if files else []
    return apply_verb.plan(run, documents, options) if run.args.plan else apply_verb.carry_out(run, documents, options)


def known(options: Options) -> None:
    """Raises UsageError for a name in `options.drop` of no live topology."""
    from reconciler.document.suggest import did_you_mean
    from reconciler.engine.perform import snapshot
    from reconciler.live.applied import applied_documents, name_of

    if not options.drop:
        return
    kept = snapshot(options, lambda _, live: {*map(name_of, applied_documents(live)), *live.unreadable})
    for name in sorted(options.drop - kept):
        hint = did_you_mean(name, kept) or (f"there are {', '.join(sorted(kept)[:20])}" if kept else "nothing is applied")
        raise UsageError(f"there is no live topology {name!r}; {hint}")
