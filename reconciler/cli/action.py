"""pcn action: invoke a YANG action on a live cube."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.actions import Action
    from reconciler.engine.perform import Continued
    from reconciler.engine.session import Reconciler
    from reconciler.graph.records import Live
    from reconciler.plan.steps import Plan
    from reconciler.service.registry import Services

DESCRIPTION = """\
Do an action of a cube's model, such as fdb/flush. It touches what the datapath learned or counted, never what is
configured. Without PATH, list the actions that the cube has. LEAF=VALUE is the action's input, if it has any."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cube", metavar="CUBE", help="a live cube")
    parser.add_argument("path", nargs="?", metavar="PATH", help="the action, such as fdb/flush or reset-counters")
    parser.add_argument("input", nargs="*", metavar="LEAF=VALUE", help="a leaf of the action's input; a value is JSON, or a text")
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
    output: dict[str, Any] = {}

    def make(reconciler: Reconciler, live: Live) -> Plan | Continued:
        return _plan(run, options.services, reconciler, live, chosen, output)

    if run.args.path is None:
        snapshot(options, make)
        run.terminal.print("\n".join(f"{action.usage}  {action.description}" for action in chosen) or "it has no actions")
        return 0
    refuse_while_unconfirmed(options.root)
    perform(options, make)
    output = answer(chosen[0]) | output
    if run.format != "text":
        run.emit({"format_version": "1.0", "cube": run.args.cube, "action": chosen[0].path, "output": output, "errors": []})
    elif not run.terminal.quiet:
        run.terminal.print(f"{run.args.cube}: {chosen[0].path} is done")
        for leaf, value in output.items() if not chosen[0].is_of_tables else ():
            run.terminal.print(f"  {leaf}: {value if isinstance(value, str) else json.dumps(value)}")
    return 0


def _plan(
    run: Run, services: Services, reconciler: Reconciler, live: Live, chosen: list[Action], output: dict[str, Any]
) -> Plan | Continued:
    """Plan the action; appends it to `chosen`, and its results to `output`. Raises UsageError for an unknown cube or action."""
    from reconciler.document.suggest import did_you_mean
    from reconciler.engine.actions import actions, find_action, plan_action
    from reconciler.engine.service_actions import ask, read_input
    from reconciler.graph.records import CubeRecord
    from reconciler.plan.steps import Plan

    cube, path = run.args.cube, run.args.path
    record = live.state.get(f"cube/{cube}")
    if not isinstance(record, CubeRecord):
        names = [each.name for each in live.state.values() if isinstance(each, CubeRecord)]
        hint = did_you_mean(cube, names) or (f"there are {', '.join(sorted(names)[:20])}" if names else "there are no cubes")
        aside = "".join(f"\ntopology {name} cannot be read here: {why}" for name, why in live.sealed.items())
        raise UsageError(f"there is no live cube {cube!r}; {hint}{aside}")
    service = services.get(record.service)
    if service is None:
        raise UsageError(f"{cube} is of service {record.service!r}, which is not installed here; use --services DIR")
    if path is None:
        chosen += actions(service.schema).values()
        return Plan()
    action = find_action(service, path)
    chosen.append(action)
    if action.is_of_tables or not service.implementation.acts:
        if run.args.input:
            raise UsageError(f"{action.path} takes no input")
        return plan_action(action, cube, live)
    return ask(action, read_input(action, run.args.input), record, reconciler, output)
