"""Whether each pcn: extension of a model is where it means something, with an argument that makes sense.

All that is wrong is found in one go, as sentences with file and line: a model is written by people, and a generator
that stops at the first mistake, or drops a keyword in silence, makes them guess.
"""
from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.generate.claims import has_ports, leaf_problems, list_problems, row_problems
from schemas.generate.kernel import ENCODINGS
from schemas.generate.yang import BASE, PCN, Statement, at, data_nodes, extension

PLACES: dict[str, tuple[str, ...]] = {
    "ingress": ("module",), "egress": ("module",), "floods": ("module",), "max-ports": ("module",),
    "drop-reason": ("module",), "taps": ("module",), "breaks-loops": ("leaf",),
    "table": ("module", "list", "leaf-list", "container", "leaf"),
    "list": ("leaf",), "key": ("leaf", "leaf-list"), "encoding": ("leaf", "leaf-list"), "ref": ("leaf", "leaf-list"),
    "value": ("leaf",), "const": ("leaf",), "filter": ("leaf",), "derived": ("leaf", "leaf-list"), "exposition": ("leaf",),
    "learned": ("list",), "counts": ("list",), "owned-by": ("list",), "until": ("leaf",), "size": ("leaf",), "grows": ("list",),
    "cubes": ("list",), "optional-key": ("list",), "const-any": ("list", "leaf-list"),
    "flush": ("action", "rpc"), "zero": ("action", "rpc"), "edit": ("action", "rpc"),
}
REPEATABLE = ("ingress", "egress", "drop-reason", "flush", "zero")
_ARGUMENTS = {
    "encoding": ("|".join(ENCODINGS), f"one of {', '.join(ENCODINGS)}"),
    "ref": ("port", "'port'"),
    "floods": ("true|false|groups", "'true', 'false' or 'groups'"),
    "taps": ("true|false", "'true' or 'false'"),
    "max-ports": ("[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-6]", "a number from 1 to 256"),
    "ingress": (r"[^/\s]+\.c", "the name of a C file, such as bridge.c"),
    "egress": (r"[^/\s]+\.c", "the name of a C file, such as bridge.c"),
    "drop-reason": ("[a-z][a-z0-9_]*", "a name in lower case, such as wrong_mac"),
    "table": (r"[A-Za-z_]\w*", "the name of a C table"),
    "flush": (r"[A-Za-z_]\w*", "the name of a C table"),
    "zero": (r"[A-Za-z_]\w*", "the name of a C table"),
    "edit": (r"(append|insert|delete|batch) [\w-]+", "an operation and a list, such as 'append rule'"),
    "const": (r"[A-Za-z_]\w*", "the name of a C constant"),
    "filter": (r"[A-Za-z_]\w*", "the name by which C asks for it"),
    "learned": (r"[A-Za-z_]\w*", "the name of a C table"),
    "until": (r"[\w-]+(/[\w-]+)*", "a path such as fdb/aging-time"),
    "counts": (r"[\w-]+", "the name of a list"),
    "owned-by": (r"[\w-]+(/[\w-]+)*", "the path of a list, such as chain/rule"),
    "optional-key": (r"[\w-]+( [\w-]+)*", "names of leaves"),
    "const-any": (r"[A-Za-z_]\w*", "the name of a C constant"),
    "grows": (r"[A-Za-z_]\w*( [A-Za-z_]\w*)*", "the names of C tables"),
    "size": (r"[A-Za-z_]\w*( [A-Za-z_]\w*)*", "the names of C tables"),
    "key": (r"[A-Za-z_][\w.]*|", "the name of a field, or '' for the whole key"),
    "value": (r"[A-Za-z_][\w.]*|", "the name of a field, or '' for the whole value"),
}


def problems_of(module: Statement) -> list[str]:
    """'file:line: sentence' for all that is wrong with the extensions in the model, each once."""
    nodes = list(data_nodes(module))
    found = [problem for statement in [module, *nodes] for problem in (*_uses(statement), *_metric(statement))]
    found += _raw_uses(module)
    found += _module(module)
    for node in nodes:
        if node.keyword == "list":
            found += list_problems(node)
        elif node.keyword in ("leaf", "leaf-list"):
            found += leaf_problems(node)
    for holder in [module, *nodes]:
        found += row_problems(holder)
    return list(dict.fromkeys(found))


def _raw_uses(statement: Statement) -> Iterator[str]:
    """Extensions in statements that are no data nodes: types, enums, refinements, unused groupings."""
    for child in statement.substmts:
        yield from _uses(child)
        yield from _raw_uses(child)


def _uses(statement: Statement) -> Iterator[str]:
    seen: set[str] = set()
    for use in statement.substmts:
        if not isinstance(use.keyword, tuple) or use.keyword[0] != PCN:
            continue
        name = use.keyword[1]
        places = PLACES.get(name, ())
        if statement.keyword not in places:
            yield at(use, f"pcn:{name} does not belong here, in '{statement.keyword}': it is for {', '.join(places)}")
        if name in seen and name not in REPEATABLE:
            yield at(use, f"pcn:{name} is here twice")
        seen.add(name)
        pattern, meant = _ARGUMENTS.get(name, (".*", ""))
        if not re.fullmatch(pattern, use.arg or ""):
            yield at(use, f"pcn:{name} '{use.arg}' is not {meant}")


def _metric(statement: Statement) -> Iterator[str]:
    """A metric that would not be exported: beside no node, or not said in full."""
    uses = {name: extension(statement, BASE, f"{name}-metric") for name in ("name", "type", "path", "help")}
    said = {name: use for name, use in uses.items() if use is not None}
    if not said:
        return
    first, kind = next(iter(said.values())), said.get("type")
    if statement.keyword == "module":
        yield at(first, "a metric stands in the leaf, list or container that it is of, not at the top of the model")
    elif missing := [f"{name}-metric" for name in ("name", "type", "path") if name not in said]:
        yield at(first, f"this metric has no {' and no '.join(missing)}")
    elif kind is not None and kind.arg not in ("COUNTER", "GAUGE"):
        yield at(kind, f"type-metric '{kind.arg}' is not COUNTER or GAUGE")


def _module(module: Statement) -> Iterator[str]:
    name = extension(module, BASE, "service-name")
    if name is not None and name.arg != module.arg:
        yield at(name, f"the service is called '{name.arg}' but its module '{module.arg}': the names must be the same")
    kernel = extension(module, BASE, "service-min-kernel-version")
    if kernel is not None and not re.fullmatch(r"\d+(\.\d+){1,2}", kernel.arg):
        yield at(kernel, f"'{kernel.arg}' is not a kernel version such as 5.15.0")
    if not has_ports(module):
        for keyword in ("max-ports", "floods"):
            if (use := extension(module, PCN, keyword)) is not None:
                yield at(use, f"pcn:{keyword} is for standard cubes: this service has no ports")
