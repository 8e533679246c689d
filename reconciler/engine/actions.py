"""YANG actions on a live cube: looked up in its model by path, and planned as steps of one kind.

    br1 fdb/flush           deletes the rows of the tables that the model names (x-pcn-flush)
    fw1 reset-counters      sets them to zero and keeps their keys (x-pcn-zero)
    lb1 session/forget      implemented by the service's own `actions` (engine/service_actions.py)

Pure: the caller has the lock and performs the plan. Bits of a row that are configuration are preserved (`keep` is their mask).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler import pins
from reconciler.document.suggest import did_you_mean
from reconciler.errors import UsageError
from reconciler.graph.records import Live, TableRecord
from reconciler.plan.operations import FlushRows, ZeroRows
from reconciler.plan.steps import Disruption, Plan, Rank, Step
from reconciler.service.registry import Service


@dataclass(frozen=True, slots=True)
class Action:
    """An action of a model. `path` has no list keys: fdb/flush."""

    path: str
    description: str
    flush: tuple[str, ...]
    zero: tuple[str, ...]
    output: Mapping[str, Any] | None = field(default=None, hash=False)
    input: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def usage(self) -> str:
        """Its syntax: 'forget src=… [packets=…]'."""
        needed = (self.input or {}).get("required", ())
        leaves = [f"{leaf}=…" if leaf in needed else f"[{leaf}=…]" for leaf in (self.input or {}).get("properties", {})]
        return " ".join((self.path, *leaves))

    @property
    def is_of_tables(self) -> bool:
        """Whether the model alone defines its effect."""
        return bool(self.flush or self.zero)


def actions(schema: Mapping[str, Any]) -> dict[str, Action]:
    """All actions of a service's model by path."""
    return {action.path: action for action in _actions(schema, ())}


def _actions(node: Mapping[str, Any], segments: tuple[str, ...]) -> Iterator[Action]:
    for name, about in node.get("x-actions", {}).items():
        if "x-pcn-edit" in about:  # it edits the configuration, which is in a file here
            continue
        yield Action(
            "/".join((*segments, name)),
            str(about.get("description", "")),
            _names(about.get("x-pcn-flush")),
            _names(about.get("x-pcn-zero")),
            about.get("output"),
            about.get("input"),
        )
    for name, member in node.get("properties", {}).items():
        inner = member.get("items", {}) if member.get("type") == "array" else member
        if inner.get("type") == "object":
            yield from _actions(inner, (*segments, name))


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def find_action(service: Service, path: str) -> Action:
    """Raises UsageError, with the most similar action, or else all of them."""
    known = actions(service.schema)
    wanted = path.strip("/").replace(".", "/")
    if wanted in known:
        return known[wanted]
    hint = did_you_mean(wanted, known) or (f"it has {', '.join(known)}" if known else "it has no actions")
    raise UsageError(f"service {service.name} has no action {path!r}; {hint}")


def plan_action(action: Action, cube: str, live: Live) -> Plan:
    """Raises UsageError for an action without an implementation in the model."""
    if not action.is_of_tables:
        words = "and its service has no 'actions', so pcn cannot do it"
        raise UsageError(f"the model does not say what {action.path} does (x-pcn-flush, x-pcn-zero), {words}")
    steps = [
        Step(
            Rank.ROWS,
            f"cube/{cube}/table/{name}",
            "flush",
            action.path,
            FlushRows(pins.table(cube, name)),
            disruption=Disruption.STATE_RESET,
        )
        for name in action.flush
    ]
    steps += [
        Step(
            Rank.ROWS,
            f"cube/{cube}/table/{name}",
            "zero",
            action.path,
            ZeroRows(pins.table(cube, name), _mask(live, cube, name)),
        )
        for name in action.zero
    ]
    return Plan(tuple(steps))


def _mask(live: Live, cube: str, table: str) -> bytes:
    """The mask of the bits of the table's values that are configuration; b'' for none."""
    record = live.state.get(f"cube/{cube}/table/{table}")
    return record.mask if isinstance(record, TableRecord) else b""


def answer(action: Action) -> dict[str, Any]:
    """The output of an action that succeeded: every boolean leaf is true."""
    members = (action.output or {}).get("properties", {})
    return {name: True for name, member in members.items() if member.get("type") == "boolean"}
