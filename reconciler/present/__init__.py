"""A plan, or its outcome, as one plain document: the output of `-o json`, and the source of the text.

All output and the exit code are derived from this document, so that they always agree. The format is stable
(docs/commands.md): keys may be added; none is removed or changes its meaning without a new major format version.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.errors import DocumentError, PcnError, Problem
from reconciler.graph.records import GONE, ProgramRecord
from reconciler.model import Link, LinkEnd
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Disruption, Step

if TYPE_CHECKING:
    from reconciler.engine.session import Session
    from reconciler.present.rows import Decoder

FORMAT_VERSION = "1.1"
COUNTS = (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)
PLANNED, DONE, UNDONE, UNSURE = "planned", "done", "undone", "unsure"
"""Results of a step. 'unsure': the rollback failed in part, so that the state is uncertain."""
HINTED = 20  # problems whose hints are computed: as many as text shows
ROWS_IN_TEXT = 6
SORTED = 256  # deleted rows that are decoded and sorted, so that the first ones are shown
ROWS = ("write_rows", "delete_rows")
"""Operations on rows of a cube's table."""


@dataclass(slots=True)
class Report:
    """The contents of a report. `most` bounds how many rows of a table are decoded; None: all."""

    session: Session | None = None
    decoder: Decoder | None = None
    steps: Sequence[Step] = ()
    result: str = PLANNED
    warnings: Sequence[Problem] = ()
    error: PcnError | None = None
    waiting: Sequence[tuple[str, str, str]] = field(default_factory=tuple)
    most: int | None = None


def document(report: Report) -> dict[str, Any]:
    """The report in the format of docs/commands.md."""
    from reconciler.graph.diff import without_parts

    session, configurations = report.session, {}
    drift = without_parts(session.drift) if session else []
    if session is not None and report.decoder is not None:
        from reconciler.present.configs import configurations_of

        configurations = configurations_of(session, report.decoder, report.steps)
    steps = [step_data(step, report, told=configurations) for step in report.steps]
    return {
        "format_version": FORMAT_VERSION,
        "summary": summary(steps, len(session.pending) if session else 0, len(drift)),
        "steps": steps,
        "configurations": configurations,
        "waiting": [{"cube": cube, "port": port, "netdev": netdev} for cube, port, netdev in report.waiting],
        "pending": [change.address for change in session.pending] if session else [],
        "drift": [change.address for change in drift],
        "notes": list(session.plan.notes) if session else [],
        "warnings": [problem_data(problem) for problem in report.warnings],
        "errors": error_data(report.error) if report.error is not None else [],
    }


def summary(steps: Iterable[Mapping[str, Any]], pending: int, drift: int) -> dict[str, Any]:
    """Totals and the worst disruption of the steps that were not undone."""
    counted = [step for step in steps if step["result"] != UNDONE]
    worst = max((Disruption[step["disruption"].upper().replace(" ", "_")] for step in counted), default=Disruption.NONE)
    totals: dict[str, Any] = {what: sum(step["counts"].get(what, 0) for step in counted) for what in COUNTS}
    return totals | {"pending": pending, "drift": drift, "disruption": str(worst)}


def exit_code_of_plan(planned: Mapping[str, Any]) -> int:
    """0: no steps; 3: only drift, nothing pending; else 2."""
    if not planned["steps"]:
        return 0
    return 3 if planned["summary"]["drift"] and not planned["summary"]["pending"] else 2


def step_data(step: Step, report: Report, *, told: Collection[str] = ()) -> dict[str, Any]:
    """`told`: the cubes whose configuration change is reported completely; a text then only counts their derived rows."""
    before, after = _sides(step, report, told)
    return {
        "phase": step.rank.phase,
        "address": step.address,
        "subject": subject(step.address),
        "action": step.action,
        "reason": step.reason,
        "operation": step.operation.kind,
        "before": before,
        "after": after,
        "disruption": str(step.disruption),
        "reaches": list(step.reaches),
        "cuts": step.cuts,
        "counts": {step.counts: step.count} if step.counts and step.count else {},
        "result": report.result,
    }


def subject(address: str) -> str:
    """The object of an address: 'cube/<name>', 'netdev/[<netns>/]<name>', 'namespace/<name>', 'topology/<name>', …"""
    kind, _, rest = address.partition("/")
    if kind == "cube":
        return f"cube/{rest.split('/')[0]}"
    if kind == "stub":
        from reconciler.pins import unescape

        return f"cube/{unescape(rest.split('/')[1])}"
    if kind in ("link", "offload"):
        netns, _, name = rest.partition(":")
        return f"netdev/{netns}/{name}" if netns else f"netdev/{name}"
    if kind == "promiscuous":
        return f"netdev/{rest}"
    if kind == "hook":
        return f"netdev/{rest.rpartition('/')[0]}"
    return address


def _sides(step: Step, report: Report, told: Collection[str]) -> tuple[Any, Any]:
    """Before and after, as the model's leaves where it has them."""
    operation = step.operation
    from reconciler.plan.operations import ConfigureEnd, DeleteLinks, LoadProgram

    if operation.kind in ROWS:
        _, cube, _, table = step.address.split("/", 3)
        if report.most is not None and cube in told and report.decoder is not None and not report.decoder.is_bound(cube, table):
            return {}, {}
        return _rows(step.before, step, report, live=True), _rows(step.after, step, report, live=False)
    if isinstance(operation, ConfigureEnd):
        return {_end_words(operation.end): step.before}, {_end_words(operation.end): step.after}
    if isinstance(operation, DeleteLinks):
        return {_end_words(link.end): _link_words(link) for link in operation.links}, None
    swaps = isinstance(operation, LoadProgram) and step.action == "update"
    if swaps and report.session is not None and report.decoder is not None:
        old, new = (state.get(step.address) for state in (report.session.live.state, report.session.desired.state))
        if isinstance(old, ProgramRecord) and isinstance(new, ProgramRecord) and old.object == new.object:
            return differing(report.decoder.constants(old), report.decoder.constants(new))
    return _words(step.before), _words(step.after)


def _link_words(link: Link) -> str:
    return link.kind if link.peer is None else f"{link.kind} to {_end_words(link.peer)}"


def _end_words(end: LinkEnd) -> str:
    return f"{end.netns}/{end.name}" if end.netns else end.name


def _rows(rows: Mapping[bytes, bytes] | None, step: Step, report: Report, *, live: bool) -> Any:
    if rows is None:
        return None
    if report.decoder is None:
        return {key.hex(): value.hex() for key, value in rows.items()}
    most = report.most if step.after else report.most and SORTED
    chosen = list(rows if report.most is None else step.after or sorted(step.before or ()))[:most]
    raw = {key: rows[key] for key in chosen if key in rows}
    _, cube, _, table = step.address.split("/", 3)
    found = report.decoder.rows(cube, table, raw, live=live, written=report.most is not None)
    return found if step.after else dict(sorted(found.items(), key=lambda entry: in_order(entry[0]))[: report.most])


def in_order(name: str) -> list[tuple[str, int]]:
    """Sort key for natural order: rule[9] before rule[10]."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of each mapping, the entries that the other lacks or has with another value."""
    return (
        {name: value for name, value in old.items() if name not in new or new[name] != value},
        {name: value for name, value in new.items() if name not in old or old[name] != value},
    )


def _words(value: Any) -> Any:
    """A string as by `pretty_target`; any other value unchanged."""
    return pretty_target(value) if isinstance(value, str) else value


def pretty_target(text: str) -> str:
    """A target in short: 'br1:p1' for 'program cubes/br1/in/0_p1' and 'cubes/br1/in/0_p1'."""
    from reconciler.pins import unescape

    if GONE in text:
        return GONE
    kind, _, path = text.rpartition(" ")
    parts = path.split("/")
    if kind == "netdev":
        return path
    if kind not in ("", "program") or len(parts) < 4 or parts[0] != "cubes":
        return text.removeprefix("program ") if text.startswith("program program ") else text
    cube, port = unescape(parts[1].split("~")[0]), unescape(parts[-1].partition("_")[2])
    return f"{cube}:{port}" if port not in ("wire", "inner") else cube


def problem_data(problem: Problem, *, hinted: bool = True) -> dict[str, Any]:
    where = problem.where
    return {
        "message": problem.message,
        "path": problem.path,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "hint": str(problem.hint) if hinted else "",
        "severity": problem.severity,
    }


def error_data(error: PcnError) -> list[dict[str, Any]]:
    """The `errors` of a report: one for each problem of a DocumentError, or one for any other error."""
    if isinstance(error, DocumentError):
        return [problem_data(problem, hinted=number < HINTED) for number, problem in enumerate(error.problems)]
    notes = [note for note in getattr(error, "__notes__", ()) if note]
    return [problem_data(Problem("\n".join([str(error), *notes])))]
