"""pcn gc: remove the remains of an interrupted apply, and orphans."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.session import Reconciler
    from reconciler.graph.records import Live
    from reconciler.plan.steps import Plan, Step

DESCRIPTION = """\
Remove from the kernel what no applied topology accounts for: objects that a killed apply left, programs attached to
netdevs that nobody names, netdevs and namespaces that pcn made and nobody wants. The next apply does the same; this needs no
file, and changes nothing else. Nothing that pcn did not make is ever removed. What killed compilers left in the cache goes
too."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--plan", action="store_true", help="only show what would be removed; exit 2 if there is anything")
    shared.output(parser, "text", "json", "yaml")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.compiler.cache import prune
    from reconciler.engine.confirm import refuse_while_unconfirmed
    from reconciler.engine.perform import perform, snapshot
    from reconciler.present import DONE, PLANNED, Report, document, exit_code_of_plan
    from reconciler.present.text import render

    run.need("read the kernel's programs" if run.args.plan else "remove programs from the kernel", change=not run.args.plan)
    options = run.options()
    options.progress = None
    if run.args.plan:
        plan = snapshot(options, leftovers)
    else:
        refuse_while_unconfirmed(options.root)
        plan = perform(options, leftovers)
        prune()
    found = document(Report(steps=plan.steps, result=PLANNED if run.args.plan else DONE))
    if run.format != "text":
        run.emit(found)
    elif not run.terminal.quiet:
        if found["steps"]:
            run.terminal.print(render(found, done=not run.args.plan, paint=run.terminal.paint, verbose=True))
        else:
            run.terminal.print("Nothing to do: all that is there belongs to an applied topology.")
    return exit_code_of_plan(found) if run.args.plan else 0


def leftovers(reconciler: Reconciler, live: Live) -> Plan:
    """The steps of a heal that remove orphans."""
    from reconciler.plan.steps import Plan, Rank

    applied, live = reconciler.applied(live)
    session = reconciler.session(applied, applied, live)
    wanted = set(session.desired.state)
    rubbish = [step for step in session.plan.steps if _is_rubbish(step, wanted)]
    return Plan(tuple(step for step in session.plan.steps if step in rubbish or (rubbish and step.rank == Rank.GRACE)))


def _is_rubbish(step: Step, wanted: set[str]) -> bool:
    """Entire objects only: an extra row or port of a desired cube is drift, which gc does not repair."""
    from reconciler.plan.operations import DetachHook

    if isinstance(step.operation, DetachHook):
        return step.action == "delete"
    whole = step.address.partition("/")[0] in ("leftover", "link", "links", "namespace", "shared") or step.address.count("/") == 1
    return step.rank.phase == "retire" and whole and step.address not in wanted
