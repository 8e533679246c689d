"""pcn fleet: the status of all hosts that follow a source, and the cost of a change on each."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.cli import feeds
from reconciler.errors import PcnError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.run import Run
    from reconciler.document import Document
    from reconciler.document.hosts import Host
    from reconciler.sources.source import Source

DESCRIPTION = """\
status    how each host does, as it has reported it to Git or etcd (pcn-agent --report); exit 1 if one does badly
plan DIR  which hosts the files of a directory would touch, and what it costs on each: from what they last reported, without
          reaching them; exit 2 if there is anything to do"""


def arguments(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="status|plan")
    status = verbs.add_parser("status", help="how each host does", description=DESCRIPTION)
    plan = verbs.add_parser("plan", help="which hosts a change would touch, and what it costs", description=DESCRIPTION)
    plan.add_argument("files", nargs="+", metavar="DIR", help="the files as they would be")
    for verb in (status, plan):
        feeds.arguments(verb)
        shared.output(verb, "text", "json", "yaml")
        shared.services(verb)
        shared.common(verb)


def run(run: Run) -> int:
    from reconciler.sources import fleet

    sources = feeds.sources(run.args)
    if len(sources) != 1:
        raise UsageError("say where the hosts report to: --git URL or --etcd URL")
    try:
        statuses = sources[0].statuses()
        found = fleet.rows(statuses, time.time(), forgets=sources[0].forgets)
        return _status(run, found) if run.args.what == "status" else _plan(run, sources[0], found)
    finally:
        sources[0].close()


def _status(run: Run, found: Sequence[Mapping[str, Any]]) -> int:
    from reconciler.sources import fleet

    if run.format == "text":
        for line in fleet.as_text(found) or ["no host has reported"]:
            run.terminal.print(line)
    else:
        run.emit({"format_version": "1.0", "hosts": list(found), "errors": []})
    return 0 if found and all(row["state"] in ("InSync", "Pending") for row in found) else 1


def _plan(run: Run, source: Source, found: Sequence[Mapping[str, Any]]) -> int:
    from reconciler.document.hosts import Host

    after, old = run.load(run.args.files), {}
    rows, known = [], {}
    for row in found:
        revision = str(row["revision"])
        if revision not in old:
            old[revision] = _documents(source, revision)
        host = Host({"hostname": row["host"], **(row["labels"] or {})})
        before, here = _sound(_for(old[revision], host), run), _for(after, host)
        key = tuple(map(hash, ((d.text, d.index) for d in before))), tuple(map(hash, ((d.text, d.index) for d in here)))
        if key not in known:
            known[key] = _cost(run, before, here)
        rows.append({"host": row["host"], "state": row["state"], **known[key]})
    if run.format == "text":
        for row in rows:
            run.terminal.print(f"{row['host']:<20}  {row['said']}" + (f"  ({row['state']})" if row["state"] != "InSync" else ""))
    else:
        run.emit({"format_version": "1.0", "hosts": rows, "errors": []})
    return 2 if any(row["changes"] for row in rows) else 0


def _documents(source: Source, revision: str) -> list[Document]:
    """The documents of a revision; hosts did not apply those that cannot be parsed."""
    from reconciler.document.load import decode, parse

    found: list[Document] = []
    for name, content in source.at(revision).files.items():
        try:
            found += parse(decode(content, name), f"{revision[:12]}:{name}")
        except PcnError:
            continue
    return found


def _for(documents: Sequence[Document], host: Host) -> list[Document]:
    from reconciler.document.hosts import is_for

    return [document for document in documents if is_for(document, host)]


def _sound(documents: Sequence[Document], run: Run) -> list[Document]:
    """The documents that pass the check: the others were not applied."""
    from reconciler.check import check
    from reconciler.errors import DocumentError

    options, left = run.options(), list(documents)
    while left:
        try:
            check(left, options.services, merge=options.merge)
            break
        except DocumentError as error:
            wrong = {problem.where.file for problem in error.problems if problem.where is not None}
            left = [document for document in left if wrong and document.file not in wrong]
    return left


def _cost(run: Run, before: Sequence[Document], after: Sequence[Document]) -> dict[str, Any]:
    from reconciler.engine.offline import plan_between
    from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS
    from reconciler.present.leaves import counted

    plan = plan_between(before, after, run.options()).plan
    totals = {what: plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)}
    if not plan.steps:
        return {"changes": False, **totals, "disruption": "none", "said": "nothing changes"}
    words = ", ".join(counted(count, what.replace("_", " ").removesuffix("s")) for what, count in totals.items())
    return {"changes": True, **totals, "disruption": str(plan.disruption), "said": f"{words}; disruption: {plan.disruption}"}
