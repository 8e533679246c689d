"""pcn drift: differences between the kernel and what was last applied."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import ApplyFailed

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Show what the kernel holds otherwise than it was last applied, and exit 3 if there is anything. Reads only, and needs
no file: what was applied is kept in the kernel. An upgrade that would reset state is no drift, but pending (exit 2)."""


def arguments(parser: ArgumentParser) -> None:
    shared.output(parser, "text", "json", "yaml")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.engine.apply import drift_session
    from reconciler.present.drift_report import drift_document
    from reconciler.present.drift_text import drift_text
    from reconciler.present.rows import Decoder

    run.need("read the kernel's programs")
    options = run.options()
    session = drift_session(options)
    document = drift_document(session.drift, Decoder(session, options.services), session.plan.resets)
    if run.format != "text":
        run.emit(document)
    elif not run.terminal.quiet:
        run.terminal.print(drift_text(document, run.terminal.paint, verbose=run.terminal.verbose))
    if document["drift"]:
        return 3
    return 2 if session.plan.resets else ApplyFailed.exit_code if session.live.sealed else 0
