"""pcn schema: the JSON Schema of a topology file, or of one service."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Print the JSON Schema (draft-07) of topology files, or of the cubes of one service, for editors and checkers; with the name
'plan', that of what 'pcn plan -o json' prints."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="a service, or 'plan'; without it, the whole topology file")
    shared.services(parser)


def run(run: Run) -> int:
    name = run.args.service
    if name is None or name == "topology":
        from importlib.resources import files

        run.terminal.print(files("schemas").joinpath("json", "topology.schema.json").read_text("utf-8"))
        return 0
    if name == "plan":
        from importlib.resources import files

        run.terminal.print(files("reconciler").joinpath("present", "present.schema.json").read_text("utf-8"))
        return 0
    services = run.services()
    service = services.get(name)
    if service is None:
        from reconciler.document.suggest import did_you_mean

        hint = did_you_mean(name, services.names())
        raise UsageError(f"there is no service {name!r}" + (f"; {hint}" if hint else "") + "\nsee 'pcn services'")
    run.terminal.print(service.files.schema.read_text("utf-8"))
    return 0
