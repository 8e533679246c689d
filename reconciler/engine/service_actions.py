"""Actions that a service's own code implements: its input, and its result as a plan of rows. The code itself is pure.

It may set and delete rows of the cube's state tables. Rows of configuration belong to the document, and are refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from reconciler import pins
from reconciler.check.defaults import fill
from reconciler.engine.actions import Action
from reconciler.engine.perform import Continued
from reconciler.engine.session import Reconciler
from reconciler.errors import PcnError, UsageError, of_code
from reconciler.facts import of_cube
from reconciler.graph.cube_part import full_config
from reconciler.graph.records import CubeRecord, Live, TableRecord
from reconciler.model import Cube
from reconciler.plan.operations import DeleteRows, WriteRows
from reconciler.plan.steps import MAP_WRITES, Plan, Rank, Step
from reconciler.service.implementation import ActionCall, ActionDone
from reconciler.service.model.codec import Env
from reconciler.service.registry import Service


def read_input(action: Action, words: Sequence[str]) -> dict[str, Any]:
    """Parse `leaf=value` arguments as the action's input; a value is JSON or plain text. Raises UsageError."""
    given: dict[str, Any] = {}
    for word in words:
        leaf, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is no input of {action.path}: write LEAF=VALUE")
        try:
            given[leaf] = text if _is_text(action, leaf) and not text.startswith('"') else json.loads(text)
        except ValueError:
            given[leaf] = text
    return given


def _is_text(action: Action, leaf: str) -> bool:
    """Whether the leaf is a string, like an address: 10 is then text, not a number."""
    return bool((action.input or {}).get("properties", {}).get(leaf, {}).get("type") == "string")


def checked_input(action: Action, given: Mapping[str, Any]) -> dict[str, Any]:
    """An action's input, validated and with defaults. Raises UsageError."""
    schema = action.input or {"type": "object", "additionalProperties": False, "properties": {}}
    from jsonschema import Draft7Validator

    from reconciler.check.messages import findings

    for error in Draft7Validator(schema).iter_errors(given):
        for found in findings(error, schema, given):
            where = "/".join(map(str, found.path[:-1] if found.key else found.path))
            hint = f"; {found.hint}" if found.hint else ""
            raise UsageError(f"input of {action.path}: {where + ': ' if where else ''}{found.message}{hint}")
    filled: dict[str, Any] = fill(schema, given)
    return filled


def ask(
    action: Action, given: Mapping[str, Any], record: CubeRecord, reconciler: Reconciler, output: dict[str, Any]
) -> Plan | Continued:
    """The plan of an action, from the service's own code. The action's output is added to `output`. The caller has the lock.
    Raises UsageError, and PcnError for an exception of the service's code."""
    service, said = reconciler.services.get(record.service), checked_input(action, given)
    if service is None:
        raise UsageError(f"what was applied of {record.name} cannot be read here")
    return _asked(action, said, record, service.implementation.actions, output, reconciler)


def _asked(
    action: Action, said: Mapping[str, Any], record: CubeRecord, answer: Callable[[ActionCall], ActionDone],
    output: dict[str, Any], reconciler: Reconciler,
) -> Plan | Continued:
    service = reconciler.services.get(record.service)
    live = reconciler.live(state=True)
    topologies, live = reconciler.applied(live)
    cube = next((each for topology in topologies for each in topology.cubes if each.name == record.name), None)
    if cube is None or service is None:
        raise UsageError(f"what was applied of {record.name} cannot be read here")
    built = reconciler.builder.one(record.build_key)
    call = _call(action, said, cube, service, built.tables if built else {}, live, reconciler.facts(topologies, live))
    try:
        done = answer(call)
    except PcnError:
        raise
    except Exception as error:
        raise PcnError(f"{action.path} of {record.name}: the service's code failed: {of_code(error)}") from error
    output |= done.output
    plan, then = plan_done(action, call, done, live), done.then
    if then is None:
        return plan
    return Continued(plan, lambda reconciler, _: _asked(action, said, record, then, output, reconciler))


def _call(
    action: Action, said: Mapping[str, Any], cube: Cube, service: Service, tables: Mapping[str, Any], live: Live,
    facts: Mapping[str, Any],
) -> ActionCall:
    """`live` was read with state; `facts` are the host's, `tables` the layouts of the cube's tables."""
    rows, config = live.tables.get(cube.name, {}), full_config(cube)
    wanted = of_cube(service.facts, facts, live.published.get(cube.name, {}))
    now, ports = int(time.clock_gettime(time.CLOCK_MONOTONIC)), live.ports.get(cube.name, {})
    env = Env(ports, now, cube.name, wanted, rows)
    return ActionCall(action.path, said, config, service.config(rows, tables, env, state=True, said=config), env, tables)


def plan_done(action: Action, call: ActionCall, done: ActionDone, live: Live) -> Plan:
    """The plan of an action's rows. Raises UsageError for rows of wrong sizes, or of tables that are not the datapath's."""
    return Plan(tuple(step for name, rows in done.rows.items() for step in _steps(action, call, name, rows, live)))


def _steps(
    action: Action, call: ActionCall, name: str, rows: Mapping[bytes, bytes | None], live: Live
) -> Iterator[Step]:
    cube, layout = call.env.cube, call.tables.get(name)
    if layout is None:
        raise UsageError(f"{action.path} of {cube} writes to {name}, which is none of its tables")
    record = live.state.get(f"cube/{cube}/table/{name}")
    if isinstance(record, TableRecord) and record.rows is not None:
        raise UsageError(f"{action.path} of {cube} writes to {name}, which is configuration: that is the document's")
    for key, value in rows.items():
        if len(key) != layout.key.size or (value is not None and len(value) != layout.value.size):
            raise UsageError(f"{action.path} of {cube} writes a row to {name} that does not fit its key and value")
    path, there = pins.table(cube, name, layout.scope), call.env.live.get(name, {})
    before = {key: there[key] for key in rows if key in there}
    written = {key: value for key, value in rows.items() if value is not None and there.get(key) != value}
    deleted = [key for key, value in rows.items() if value is None and key in there]
    mask = b"\xff" * layout.value.size
    address = f"cube/{cube}/table/{name}"
    if written:
        old = {key: before[key] for key in written if key in before}
        undo = (WriteRows(path, old, mask), DeleteRows(path, tuple(key for key in written if key not in before)))
        write = WriteRows(path, written, mask)
        yield Step(Rank.ROWS, address, "write", action.path, write, undo, counts=MAP_WRITES, count=len(written))
    if deleted:
        back = (WriteRows(path, {key: before[key] for key in deleted}, mask),)
        delete = DeleteRows(path, tuple(deleted))
        yield Step(Rank.ROWS, address, "delete", action.path, delete, back, counts=MAP_WRITES, count=len(deleted))
