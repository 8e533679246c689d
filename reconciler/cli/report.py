"""Prints what an apply did, or would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.apply import ApplyResult


def report(run: Run, results: list[ApplyResult], *, done: bool) -> dict[str, Any]:
    """Print the results, or the plan; returns the printed document."""
    from reconciler.present import DONE, PLANNED, ROWS_IN_TEXT, Report, document
    from reconciler.present.rows import Decoder

    last = results[-1]
    text = run.format in ("text", "markdown")
    made = [
        document(
            Report(
                result.session,
                Decoder(result.session, run.services()),
                result.plan.steps,
                DONE if done else PLANNED,
                last.warnings,
                None,
                last.plan.pending,
                ROWS_IN_TEXT if text else None,
            )
        )
        for result in results
    ]
    whole = together(made)
    if not text:
        run.emit(whole)
        return whole
    run.warn(last.warnings)
    if run.format == "markdown":
        from reconciler.present.markdown import render_markdown

        run.terminal.print(render_markdown(whole))
        return whole
    if not run.terminal.quiet:
        from reconciler.present.text import render

        paint, verbose = run.terminal.paint, run.terminal.verbose
        run.terminal.print(render(whole, done=done, paint=paint, verbose=verbose, idle=_idle(run, last)))
    return whole


def _idle(run: Run, result: ApplyResult) -> str:
    """The message if there are no steps."""
    if not getattr(run.args, "delete", False):
        return "Nothing to do: the kernel holds what the file says."
    there = ", ".join(sorted(record.name for record in result.session.live.documents))
    return f"Nothing to delete: it is not applied; {f'what is: {there}' if there else 'nothing is'}."


def together(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Successive applies as one document."""
    from reconciler.present import summary

    if len(documents) == 1:
        return documents[0]
    steps = [step for document in documents for step in document["steps"]]
    first = documents[0]["summary"]
    return documents[-1] | {"summary": summary(steps, first["pending"], first["drift"]), "steps": steps}
