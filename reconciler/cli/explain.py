"""pcn explain: the meaning of a key, and the cost of changing it."""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Explain a service, or a key of it or of a topology file: its type, its default, examples, and what a change costs.

examples:
  pcn explain simplebridge
  pcn explain simplebridge.fdb.aging-time
  pcn explain spec.links.kind"""
_WIDTH = 100


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a service, a service's key, or a key of the file")
    shared.output(parser, "text", "json", "yaml")
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.present.explain import explain

    found = explain(run.args.path, run.services())
    if run.format == "text":
        run.terminal.print("\n".join(_lines(found, run)))
    else:
        run.emit(found)
    return 0


def _lines(found: Mapping[str, Any], run: Run) -> Iterator[str]:
    yield run.terminal.paint("bold", found["path"])
    yield from _wrapped(found.get("description", ""))
    yield ""
    for name in ("type", "default", "units", "examples", "key"):
        if name in found:
            value = found[name]
            yield f"{name + ':':<10}{', '.join(map(str, value)) if isinstance(value, list) else _scalar(value)}"
    if found.get("required"):
        yield f"{'required:':<10}yes"
    for cost in found.get("cost", ()):
        yield from _wrapped(cost, "a change: ")
    yield from _table("values", [(entry["value"], entry["description"]) for entry in found.get("values", ())])
    for title, name in (("keys", "children"), ("state (read only)", "state")):
        yield from _table(title, [(entry["name"], _of_key(entry)) for entry in found.get(name, ())])
    if "usage" in found:
        yield from ("", "in a file, below spec:", *(f"  {line}" for line in found["usage"]))
    yield from _table("actions", [(entry["name"], entry["description"]) for entry in found.get("actions", ())])


def _of_key(entry: Mapping[str, Any]) -> str:
    """'What it is for. (a whole number, default 300, such as 60)'"""
    facts = ["required"] if entry.get("required") else []
    facts += [entry["type"]] if entry["type"] != "a mapping" else []
    facts += [f"default {_scalar(entry['default'])}"] if "default" in entry else []
    facts += [f"such as {_scalar(entry['example'])}"] if "example" in entry else []
    return " ".join(part for part in (entry["description"], f"({'; '.join(facts)})" if facts else "") if part)


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"{title}:"
        wide = max(len(name) for name, _ in rows)
        for name, about in rows:
            yield from _wrapped(about, f"  {name:<{wide}}  ")


def _wrapped(text: str, first: str = "") -> list[str]:
    return (
        textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
        if text
        else ([first.rstrip()] if first else [])
    )


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
