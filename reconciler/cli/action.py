"""pcn action: do a YANG action on a live cube."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.actions import Action
    from reconciler.engine.session import Reconciler
    from reconciler.graph.records import Live
    from reconciler.plan.steps import Plan
    from reconciler.service.registry import Services

DESCRIPTION = """\
Do an action of a cube's model, such as fdb/flush. It touches what the datapath learned or counted, never what is
configured. Without PATH, list the actions that the cube has."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cube", metavar="CUBE", help="a live cube")
    parser.add_argument("path", nargs="?", metavar="PATH", help="the action, such as fdb/flush or reset-counters")
    shared.output(parser, "text", "json", "yaml")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.engine.actions import answer
    from reconciler.engine.confirm import refuse_while_unconfirmed
    from reconciler.engine.perform import perform, snapshot

    run.need("change the kernel's tables", change=True)
    options = run.options()
    options.progress = None
    chosen: list[Action] = []

    def make(reconciler: Reconciler, live: Live) -> Plan:
        return _plan(run.args.cube, run.args.path, options.services, live, chosen)

    if run.args.path is None:
        snapshot(options, make)
        run.terminal.print("\n".join(f"{action.path}  {action.description}" for action in chosen) or "it has no actions")
        return 0
    refuse_while_unconfirmed(options.root)
    perform(options, make)
    output = answer(chosen[0])
    if run.format != "text":
        run.emit({"format_version": "1.0", "cube": run.args.cube, "action": chosen[0].path, "output": output, "errors": []})
    elif not run.terminal.quiet:
        run.terminal.print(f"{run.args.cube}: {chosen[0].path} is done")
    return 0


def _plan(cube: str, path: str | None, services: Services, live: Live, chosen: list[Action]) -> Plan:
    """Raises UsageError for a cube or an action that is not there. `chosen` is filled with what was found."""
    from reconciler.document.suggest import did_you_mean
    from reconciler.engine.actions import actions, find_action, plan_action
    from reconciler.graph.records import CubeRecord
    from reconciler.plan.steps import Plan

    record = live.state.get(f"cube/{cube}")
    if not isinstance(record, CubeRecord):
        names = [each.name for each in live.state.values() if isinstance(each, CubeRecord)]
        hint = did_you_mean(cube, names) or (f"there are {', '.join(sorted(names)[:20])}" if names else "there are no cubes")
        raise UsageError(f"there is no live cube {cube!r}; {hint}")
    service = services.get(record.service)
    if service is None:
        raise UsageError(f"{cube} is of service {record.service!r}, which is not installed here; use --services DIR")
    if path is None:
        chosen += actions(service.schema).values()
        return Plan()
    chosen.append(find_action(service, path))
    return plan_action(chosen[0], cube, live)
