"""pcn compile: fill the cache, so that applies need no compiler."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import CompileError, UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.builder import Builder
    from reconciler.model import BuildKey

DESCRIPTION = """\
Compile the programs that topologies need, or those of every service, into the cache ($PCN_CACHE, or /var/cache/pcn for
root). What is there already is not compiled again. A filled cache can be carried to machines that have no compiler."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="topologies: a file, a directory, or - for standard input")
    parser.add_argument("--all", action="store_true", help="every service, for TC and for XDP")
    parser.add_argument("--merge", action="store_true", help="make one topology of documents with the same name")
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.engine.builder import Builder
    from reconciler.kernel.cachedir import directory
    from reconciler.present.leaves import counted

    if bool(run.args.files) == run.args.all:
        raise UsageError("say which files, or --all\nsee 'pcn compile --help'")
    fresh: set[str] = set()

    def compiling(done: int, total: int, name: str) -> None:
        fresh.add(name)
        run.terminal.compiling(done, total, name)

    builder = Builder(run.services(), compiling)
    wanted = _wanted(run, builder)
    try:
        built = builder.ensure(wanted)
    except CompileError as error:
        error.add_note(f"what does compile is in {directory()}")
        raise
    programs = sum(len(each.objects) for each in built.values())
    if not run.terminal.quiet:
        names = ", ".join(sorted({key.service for key in built}))
        run.terminal.print(
            f"{counted(programs, 'program')} of {names or 'no service'} in {directory()}, {len(fresh)} of them compiled now"
        )
    return 0


def _wanted(run: Run, builder: Builder) -> set[BuildKey]:
    """The objects to compile: all services for TC and XDP each, or those that files need."""
    from reconciler.model import BuildKey
    from reconciler.service.registry import SHADOW

    services = run.services()
    if run.args.all:
        return {BuildKey(name, family) for name in (*services.names(), SHADOW) for family in ("TC", "XDP")}
    from reconciler.check import check

    topologies, warnings = check(run.load(run.args.files), services, merge=run.args.merge)
    run.warn(warnings)
    return builder.keys_of(topologies)
