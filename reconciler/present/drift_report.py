"""Drift as plain data: the differences between the kernel and what was applied, by object. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reconciler.graph.diff import Change, diff_rows, differing_fields, without_parts
from reconciler.graph.records import GONE, HookRecord, LinkRecord, NamespaceRecord, ProgramRecord, Record, TableRecord
from reconciler.present import FORMAT_VERSION, differing, pretty_target, subject
from reconciler.present.drift_text import CHANGED, MISSING, UNEXPECTED

if TYPE_CHECKING:
    from reconciler.present.rows import Decoder


def drift_document(changes: Sequence[Change], decoder: Decoder | None, resets: Sequence[str] = ()) -> dict[str, Any]:
    """{"format_version", "summary": {"drift"}, "drift": [{address, subject, state, applied, live}], "state_resets", "errors"}.
    `resets`: addresses of the tables that an upgrade would recreate empty."""
    found = [_entry(change, decoder) for change in without_parts(changes)]
    summary = {"drift": len(found)}
    return {"format_version": FORMAT_VERSION, "summary": summary, "drift": found, "state_resets": list(resets), "errors": []}


def _entry(change: Change, decoder: Decoder | None) -> dict[str, Any]:
    state = MISSING if change.before is None else UNEXPECTED if change.after is None else CHANGED
    if _is_gone(change.before):
        state = MISSING
    live, applied = _sides(change, decoder) if state == CHANGED else ({}, {})
    return {"address": change.address, "subject": subject(change.address), "state": state, "applied": applied, "live": live}


def _is_gone(record: Record | None) -> bool:
    """Whether a record has no object: a hook whose netdev no longer exists, or a namespace of which only the mark remains."""
    if isinstance(record, HookRecord):
        return record.stub == GONE
    return isinstance(record, NamespaceRecord) and record.topology == GONE


def _sides(change: Change, decoder: Decoder | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of the live and of the applied record that differ."""
    live, applied = change.before, change.after
    if isinstance(live, TableRecord) and isinstance(applied, TableRecord) and decoder is not None and live.spec == applied.spec:
        return _tables(live, applied, decoder)
    if isinstance(live, ProgramRecord) and isinstance(applied, ProgramRecord):
        if decoder is not None and live.object == applied.object:
            return differing(decoder.constants(live), decoder.constants(applied))
        return {"program": _program(live)}, {"program": _program(applied)}
    if isinstance(live, LinkRecord) and isinstance(applied, LinkRecord):
        return differing(_flat(live), _flat(applied))
    fields = differing_fields(change)
    return {name: _plain(getattr(live, name)) for name in fields}, {name: _plain(getattr(applied, name)) for name in fields}


def _tables(live: TableRecord, applied: TableRecord, decoder: Decoder) -> tuple[dict[str, Any], dict[str, Any]]:
    rows = diff_rows(applied, live)
    was = decoder.rows(
        applied.cube, applied.name, {key: value for key, value in (applied.rows or {}).items() if key in rows.write}, live=False
    )
    now = decoder.rows(live.cube, live.name, rows.before, live=True)
    return now, was


def _program(record: ProgramRecord) -> str:
    return (
        f"another program ({record.object.removeprefix('foreign:')})"
        if record.object.startswith("foreign:")
        else record.object[:12]
    )


def _flat(record: LinkRecord) -> dict[str, Any]:
    """A link's properties; those of an end are named 'end property'."""
    link = record.link
    found: dict[str, Any] = {"kind": link.kind, "topology": record.topology, **link.options}
    for end in (link.end, link.peer):
        if end is not None:
            name = f"{end.netns}/{end.name}" if end.netns else end.name
            found |= {f"{name} {leaf}": _plain(value) for leaf, value in asdict(end).items() if leaf not in ("name", "netns")}
    return found


def _plain(value: Any) -> Any:
    """The value in a type that JSON can represent; targets in short."""
    if isinstance(value, str):
        return pretty_target(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | dict) else str(value)
