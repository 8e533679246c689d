"""Drift as text: by cube and netdev, what is missing, changed, and extraneous. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler import pins
from reconciler.document.diagnostics import escape
from reconciler.present.leaves import changed_leaves, counted
from reconciler.present.text import STYLES, Paint, plain

MISSING, CHANGED, UNEXPECTED = "missing", "changed", "unexpected"
_MARKS = {MISSING: "-", CHANGED: "~", UNEXPECTED: "+"}
_WAYS = {"hop": "its way out", "member": "where its copies go"}
_HOOKS = {MISSING: "nothing of pcn", CHANGED: "another program", UNEXPECTED: "what nobody applied"}
Line = tuple[str, str]


def drift_text(document: Mapping[str, Any], paint: Paint = plain, *, verbose: bool = False) -> str:
    """The document of `drift_report` as text; with `verbose`, by address."""
    entries = document["drift"]
    if not entries:
        return "\n".join(["No drift: the kernel holds what was applied.", *_upgrade(document, paint)])
    said = _by_address(entries) if verbose else _by_subject(entries)
    wide = min(40, max(len(escape(name)) for name, _ in said))
    lines = []
    for name, changes in said:
        for number, (mark, words) in enumerate(changes):
            head = f"{mark} {escape(name):<{wide}}" if number == 0 else f"{'':<{wide + 2}}"
            lines.append(paint(STYLES[mark], f"{head}  {'' if number == 0 else mark + ' '}{escape(words)}"))
    total = f"Drift: {counted(len(entries), 'object')} not as applied; the next apply mends that."
    return "\n".join([*lines, paint("bold", total), *_upgrade(document, paint)])


def _upgrade(document: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    if document["state_resets"]:
        tables = ", ".join(map(escape, document["state_resets"]))
        lost = "state reset: what was learned there would be lost"
        yield paint("yellow", f"Pending: newer code has another layout for {tables} ({lost}).")


def _by_address(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Line]]]:
    return [(entry["address"], list(_changes(entry))) for entry in entries]


def _by_subject(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Line]]]:
    """The lines by cube, netdev or other object, each line once."""
    found: dict[str, list[Line]] = {}
    for entry in entries:
        kind, _, name = entry["subject"].partition("/")
        name = "a hidden veth for copies" if kind == "netdev" and pins.is_hidden(name) else name or kind
        lines = found.setdefault(name if kind in ("cube", "netdev") else f"{kind} {name}", [])
        said = [(mark, words.removeprefix(f"{name} ")) for mark, words in _in_words(entry)]
        lines += [line for line in said if line not in lines]
    return list(found.items())


def _changes(entry: Mapping[str, Any]) -> Iterator[Line]:
    mark = _MARKS[entry["state"]]
    if entry["state"] == MISSING:
        yield mark, "is gone"
    elif entry["state"] == UNEXPECTED:
        yield mark, "was not applied"
    else:
        yield from list(changed_leaves(entry["applied"], entry["live"])) or [(mark, "is another one than was applied")]


def _in_words(entry: Mapping[str, Any]) -> Iterator[Line]:
    """The lines of one object, without its address."""
    kind, _, rest = entry["address"].partition("/")
    part, _, name = rest.partition("/")[2].partition("/")
    if kind == "hook":
        point = rest.rpartition("/")[2]
        yield _MARKS[entry["state"]], f"{_HOOKS[entry['state']]} is attached at {point}"
    elif kind == "stub":
        port = pins.unescape(rest.rpartition("_")[2])
        yield from _part(entry, "its way in" if port in ("wire", "inner") else f"the way in of port {port}")
    elif kind == "cube" and part == "table" and entry["state"] == CHANGED:
        yield from _rows(entry, name)
    elif kind == "cube" and part == "program" and "program" in entry["live"]:
        yield "~", "another program runs in the place of its own"
    elif kind == "cube" and part == "program" and entry["state"] == CHANGED:
        yield from _changes(entry)
    elif kind == "cube" and part:
        yield from _part(entry, _WAYS.get(part, f"{part} {name}"))
    else:
        yield from _changes(entry)


def _rows(entry: Mapping[str, Any], table: str) -> Iterator[Line]:
    """Rows as leaves of the model; rows that a service derives are only counted."""
    derived = dict.fromkeys("-~+", 0)
    for mark, words in _changes(entry):
        if words.startswith((f"{table}[", "0x")):
            derived[mark] += 1
        else:
            yield mark, words + {"-": " is gone", "+": " was not applied"}.get(mark, "")
    if any(derived.values()):
        said = {"-": "gone", "~": "other than applied", "+": "that nobody applied"}
        counts = ", ".join(f"{number} {said[mark]}" for mark, number in derived.items() if number)
        yield "~", f"rows that its configuration comes to: {counts}"


def _part(entry: Mapping[str, Any], what: str) -> Iterator[Line]:
    """A part of an object; a single leaf is not named: 'its way out: veth2 -> (gone)'."""
    single = len({*entry["applied"], *entry["live"]}) == 1
    for mark, words in _changes(entry):
        _, is_leaf, sides = words.partition(": ")
        yield mark, f"{what}{': ' if is_leaf else ' '}{sides if is_leaf and single else words}"
