"""What one node says about another: when, must and choice.

Conditions of the usual simple forms become plain JSON Schema, so that an editor knows them too:

    when "../kind = 'vlan' or ../kind = 'vxlan'"       the node only exists for these values
    must "not(kind = 'vlan') or id"                    for this value `id` is needed
    must "not(kind = 'vlan') or id <= 4094"            for this value `id` is bounded

Any other XPath is kept as text (x-yang-when, x-yang-must) for whoever can judge it.
"""
from __future__ import annotations

import re
from typing import Any

from schemas.generate.values import default_of, json_value
from schemas.generate.yang import Schema, Statement, one_line

_NAME = r"[A-Za-z_][\w.-]*"
_EQUALS = re.compile(rf"(?:\.\./)?({_NAME})\s*=\s*(?:'([^']*)'|\"([^\"]*)\")")
_IMPLIES = re.compile(r"not\((?P<condition>[^()]*)\)\s+or\s+(?P<rest>[^()]*)")
_NEEDED = re.compile(_NAME)
_BOUND = re.compile(rf"({_NAME})\s*(<=|>=)\s*(-?\d+)")


def when_of(node: Statement) -> Schema | None:
    """{"xpath": ..., "leaf": ..., "in": [values]} of a node's `when`; the last two only if it has the simple form.

    `leaf` is a sibling of the node. A node below the `uses` or `case` that has the condition has it as well.
    """
    found = _when_statement(node)
    if found is None:
        return None
    simple = _equalities(found.arg, _siblings(node))
    return {"xpath": one_line(found.arg), **({} if simple is None else {"leaf": simple[0], "in": simple[1]})}


def conditional_schemas(owner: Statement, children: list[Statement], required: dict[str, bool]) -> list[Schema]:
    """The if/then/else schemas of the object `owner` with the direct `children`, one for each condition.

    `required` says for each conditional child whether it is needed where its condition holds.
    """
    siblings = {child.arg: child for child in children}
    parts: dict[str, Schema] = {}
    for name, needed in required.items():
        when = when_of(siblings[name])
        if when is not None and "leaf" in when:
            part = _part(parts, siblings, when["leaf"], when["in"])
            part["else"]["properties"][name] = refused(f"'{name}' is only for {when['leaf']} {' or '.join(map(str, when['in']))}")
            part["then"]["required"] += [name] if needed else []
    implications = [_implication(siblings, must) for must in owner.search("must")]
    return [_trimmed(part) for part in parts.values()] + [part for part in implications if part is not None]


def kept_musts(owner: Statement, children: list[Statement]) -> list[Schema]:
    """x-yang-must: {"xpath": ..., "message": ...} for each `must` that `conditional_schemas` could make nothing of."""
    siblings = {child.arg: child for child in children}
    return [_kept(must) for must in owner.search("must") if _implication(siblings, must) is None]


def refused(reason: str) -> Schema:
    """A schema that nothing matches. Not `false`: that has no room for a reason, and jsonschema loses its place."""
    return {"not": {}, "errorMessage": reason}


def _when_statement(node: Statement) -> Statement | None:
    places = [node]
    while places[-1].parent is not None and places[-1].parent.keyword in ("case", "choice"):
        places.append(places[-1].parent)
    uses = [use for use in getattr(node, "i_uses", ()) if getattr(node, "i_uses_top", False) or use.parent.arg == node.parent.arg]
    augment = getattr(node, "i_augment", None)
    places += uses + ([] if augment is None else [augment])
    return next((found for place in places if (found := place.search_one("when")) is not None), None)


def _siblings(node: Statement) -> dict[str, Statement]:
    owner = node.parent
    while owner.keyword in ("case", "choice"):
        owner = owner.parent
    return {child.arg: child for child in owner.i_children}


def _equalities(expression: str, siblings: dict[str, Statement]) -> tuple[str, list[Any]] | None:
    """(leaf, values) of "a = 'x' or a = 'y'" about one leaf among `siblings`; None for any other expression."""
    tests = [_EQUALS.fullmatch(part.strip()) for part in re.split(r"\bor\b", one_line(expression))]
    if not all(tests):
        return None
    leaves = {test[1] for test in tests if test}
    leaf = siblings.get(min(leaves))
    if len(leaves) > 1 or leaf is None or leaf.keyword != "leaf":
        return None
    return leaf.arg, [json_value(leaf, test[2] if test[2] is not None else test[3]) for test in tests if test]


def _implication(siblings: dict[str, Statement], must: Statement) -> Schema | None:
    """The if/then of "not(condition) or consequence"; None if the expression has not that form."""
    found = _IMPLIES.fullmatch(one_line(must.arg))
    simple = _equalities(found["condition"], siblings) if found else None
    if found is None or simple is None:
        return None
    message = must.search_one("error-message")
    told: Schema = {} if message is None else {"errorMessage": one_line(message.arg)}
    needed, bound = _NEEDED.fullmatch(found["rest"]), _BOUND.fullmatch(found["rest"])
    if needed and needed[0] in siblings:
        return {"if": _test(siblings, *simple), "then": {"required": [needed[0]], **told}}
    if bound and bound[1] in siblings:
        limit = {"maximum" if bound[2] == "<=" else "minimum": int(bound[3])}
        return {"if": _test(siblings, *simple), "then": {"properties": {bound[1]: {**limit, **told}}}}
    return None


def _part(parts: dict[str, Schema], siblings: dict[str, Statement], leaf: str, values: list[Any]) -> Schema:
    """The if/then/else for this condition, made if it is the first about it."""
    empty: Schema = {"if": _test(siblings, leaf, values), "then": {"required": []}, "else": {"properties": {}}}
    return parts.setdefault(repr((leaf, values)), empty)


def _test(siblings: dict[str, Statement], leaf: str, values: list[Any]) -> Schema:
    """Whether `leaf` is one of `values`; if it is absent, its default counts."""
    absent_fits = default_of(siblings[leaf]) in values
    return {"properties": {leaf: {"enum": values}}, **({} if absent_fits else {"required": [leaf]})}


def _trimmed(part: Schema) -> Schema:
    """The part without what turned out empty."""
    short = {branch: {key: value for key, value in schema.items() if value} for branch, schema in part.items()}
    return {branch: schema for branch, schema in short.items() if schema}


def _kept(must: Statement) -> Schema:
    message = must.search_one("error-message")
    return {"xpath": one_line(must.arg), **({} if message is None else {"message": one_line(message.arg)})}
