"""A plan as Markdown, for a comment on a proposed change: totals first, then disruptions, and all changes collapsed.

Pure: the document of `present` in, text out. Text from files is in code, where Markdown has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.document.diagnostics import escape
from reconciler.present import COUNTS
from reconciler.present.groups import grouped
from reconciler.present.leaves import counted
from reconciler.present.text import WORDS, render, totals


def render_markdown(document: Mapping[str, Any]) -> str:
    """The entire comment."""
    return "\n".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"### pcn plan: {_headline(document)}"
    yield ""
    if not document["steps"]:
        yield totals(document, done=False)
        return
    yield "| | what | cost |"
    yield "|---|---|---|"
    for group in grouped(document["steps"], document["configurations"]):
        cost = ", ".join(counted(group.counts[what], WORDS[what]) for what in COUNTS if group.counts.get(what))
        yield f"| `{group.mark}` | {_cell(group.name)} | {cost} |"
    felt = sorted({_felt(step) for step in document["steps"] if step["disruption"] != "none"})
    if felt:
        yield ""
        yield "**Felt:**"
        yield from (f"- {line}" for line in felt)
    text = render(document, done=False)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=2))
    yield from ("", "<details><summary>All changes</summary>", "", f"{fence}diff", text, fence, "</details>")


def _headline(document: Mapping[str, Any]) -> str:
    summary = document["summary"]
    if not document["steps"]:
        return "no change"
    costs = ", ".join(counted(summary[what], WORDS[what]) for what in COUNTS if summary[what])
    return f"{costs or 'a change of the document only'}; disruption: {summary['disruption']}"


def _felt(step: Mapping[str, Any]) -> str:
    where = ", ".join(_cell(name) for name in (step["subject"].partition("/")[2], *step["reaches"]))
    why = f"{step['reason']}; connections cut: {step['cuts']}" if step["cuts"] else step["reason"]
    return f"{step['disruption']}: {where} ({escape(why)})"


def _cell(text: str) -> str:
    """A name from a file as inline code; backticks and bars, which would end it or its cell, are replaced."""
    return "`" + escape(text).replace("`", "'").replace("|", "/") + "`"
