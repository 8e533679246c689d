"""A plan as text: a line for each change, below its cube or netdev, and the totals.

Pure: the document of `present` in, text out. With `verbose` every step is a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from reconciler import pins
from reconciler.document.diagnostics import escape
from reconciler.present import COUNTS, ROWS_IN_TEXT, subject
from reconciler.present.groups import MARKS, ChangeGroup, grouped
from reconciler.present.leaves import counted

Paint = Callable[[str, str], str]
"""(style, text) to text; styles are green, yellow, red, dim, bold and plain."""
STYLES = {"+": "green", "~": "yellow", "-": "red", "!": "red"}
WORDS = {"program_loads": "program load", "map_writes": "map write", "link_changes": "link change"}
_IDLE = "Nothing to do: the kernel holds what the file says."
_WIDEST, _MOST_LINES = 76, 20


def plain(style: str, text: str) -> str:
    return text


def render(
    document: Mapping[str, Any], *, done: bool, paint: Paint = plain, verbose: bool = False, idle: str = _IDLE
) -> str:
    """The text, which ends with the line of totals. `done`: applied, not only planned; `idle`: that line without steps."""
    steps = document["steps"]
    groups = [] if verbose else grouped(steps, document["configurations"])
    if document["summary"]["pending"]:
        _mark_drift(groups, {*document["drift"]}, {*document["pending"]})
    lines = [_step_line(step, paint) for step in steps] if verbose else list(_body(groups, paint))
    if document["drift"]:
        names = ", ".join(_few(list(dict.fromkeys(map(_name, document["drift"])))))
        count = counted(len(document["drift"]), "object")
        lines.append(paint("yellow", escape(f"drift: {count} not as applied before ({names})")))
    lines += [escape(f"waiting: {said}") for said in _few([_waiting(entry) for entry in document["waiting"]])]
    lines += [escape(f"note: {note}") for note in document["notes"]]
    return "\n".join([*lines, paint("bold", totals(document, done=done) if steps else escape(idle))])


def totals(document: Mapping[str, Any], *, done: bool) -> str:
    """The line of totals."""
    summary = document["summary"]
    if not document["steps"]:
        return _IDLE
    costs = ", ".join(counted(summary[what], WORDS[what]) for what in COUNTS)
    felt = sorted(
        {
            name
            for step in document["steps"]
            if step["disruption"] != "none"
            for name in (*_names(step), *step["reaches"])
            if not pins.is_hidden(name)
        }
    )
    where = f" ({', '.join(_few(felt))})" if felt else ""
    return escape(f"{'Applied' if done else 'Plan'}: {costs}; disruption: {summary['disruption']}{where}.")


def _names(step: Mapping[str, Any]) -> list[str]:
    """The names that a step disrupts; netdevs that are deleted together have no single name."""
    name = step["subject"].partition("/")[2]
    return [name] if name else list(step["before"] or ()) if step["operation"] == "delete_links" else []


def _name(address: str) -> str:
    return subject(address).partition("/")[2] or address


def _mark_drift(groups: Sequence[ChangeGroup], drift: set[str], pending: set[str]) -> None:
    """Marks groups that repair drift, to distinguish them from pending changes."""
    for group in groups:
        if group.objects & drift:
            group.name += " (drift too)" if group.objects & pending else " (drift)"


def _body(groups: Sequence[ChangeGroup], paint: Paint) -> Iterator[str]:
    wide = min(24, max((len(escape(group.name)) for group in groups), default=0))
    heads = [_head(group, wide) for group in groups]
    edge = min(_WIDEST, max(map(len, heads), default=0))
    for group, head in zip(groups, heads, strict=True):
        cost = ", ".join(counted(group.counts[what], WORDS[what]) for what in COUNTS if group.counts.get(what))
        yield paint(STYLES[group.mark], head) + (paint("dim", f"{'':<{max(0, edge - len(head)) + 3}}{cost}") if cost else "")
        if not _is_single(group):
            kept = _bounded(group.lines)
            for mark, text in kept:
                yield paint(STYLES[mark], f"    {mark} {escape(text)}")
            if len(kept) < len(group.lines):
                yield paint("dim", f"      … and {counted(len(group.lines) - len(kept), 'more change')}, which -v shows")


def _bounded(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first 20 lines, and all lines about losses."""
    return [line for number, line in enumerate(lines) if number < _MOST_LINES or line[0] == "!"]


def _head(group: ChangeGroup, wide: int) -> str:
    said = group.lines[0][1] if _is_single(group) else group.about
    return f"{group.mark} {escape(group.name):<{wide}}  {escape(said)}".rstrip()


def _is_single(group: ChangeGroup) -> bool:
    """Whether its only line fits beside its name."""
    return len(group.lines) == 1 and not group.about and group.lines[0][0] in (group.mark, "~")


def _few(words: Sequence[str]) -> list[str]:
    return list(words) if len(words) <= ROWS_IN_TEXT else [*words[:ROWS_IN_TEXT], f"… and {len(words) - ROWS_IN_TEXT} more"]


def _waiting(entry: Mapping[str, str]) -> str:
    who = f"port {entry['port']} of {entry['cube']}" if entry["cube"] else "an attachment"
    return f"{who} for netdev {entry['netdev']}, which is not there yet"


def _step_line(step: Mapping[str, Any], paint: Paint) -> str:
    mark = MARKS.get(step["action"], "~")
    lost = f"  [{step['disruption']}]" if step["disruption"] != "none" else ""
    cost = ", ".join(counted(number, WORDS[what]) for what, number in step["counts"].items())
    text = escape(f"{mark} {step['phase']:<6}  {step['action']:<7}  {step['address']}  {step['reason']}{lost}")
    return paint(STYLES[mark], text) + (paint("dim", f"  {cost}") if cost else "")
