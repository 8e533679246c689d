"""YANG's choice: its nodes stand flat in the data, and JSON Schema is told which of them go together."""
from __future__ import annotations

from schemas.generate.conditions import refused
from schemas.generate.yang import Schema, Statement


def choices_of(children: list[Statement]) -> tuple[Schema, Schema]:
    """(x-yang-choice, dependencies) for the choices among `children` of an object; both may be empty.

    x-yang-choice: {choice: {"mandatory": bool, "default": case (if any), "cases": {case: [names of nodes]}}}.
    The dependencies refuse nodes of two cases, and ask for the mandatory nodes of a case that is begun.
    """
    choices: Schema = {}
    dependencies: Schema = {}
    for choice in [child for child in children if child.keyword == "choice"]:
        cases = {case.arg: members_of(case) for case in choice.i_children}
        names = {case: [node.arg for node in nodes] for case, nodes in cases.items()}
        default = choice.search_one("default")
        choices[choice.arg] = {"mandatory": choice.search_one("mandatory", "true") is not None,
                               **({} if default is None else {"default": default.arg}), "cases": names}
        for case in choice.i_children:
            inner, dependencies_within = choices_of(case.i_children)
            choices |= inner
            others = [name for other, members in names.items() if other != case.arg for name in members]
            for node in cases[case.arg]:
                within = dependencies_within.get(node.arg, {"properties": {}})
                excluded = {name: refused(f"'{name}' and '{node.arg}' exclude each other") for name in others}
                needed = choices_to_make(case.i_children) + within.get("allOf", [])
                dependencies[node.arg] = {"properties": within["properties"] | excluded, **_needed_with(node, cases[case.arg]),
                                          **({"allOf": needed} if needed else {})}
    return choices, dependencies


def choices_to_make(children: list[Statement]) -> list[Schema]:
    """For each mandatory choice among `children` (not inside of a case): an anyOf that one of its nodes is there."""
    return [
        {"anyOf": [{"required": [node.arg]} for case in choice.i_children for node in members_of(case)]}
        for choice in children
        if choice.keyword == "choice" and choice.search_one("mandatory", "true") and not choice.search_one("when")
    ]


def members_of(case: Statement) -> list[Statement]:
    """The data nodes directly in a case, those of choices within it included."""
    members: list[Statement] = []
    for child in case.i_children:
        members += [node for inner in child.i_children for node in members_of(inner)] if child.keyword == "choice" else [child]
    return members


def _needed_with(node: Statement, nodes: list[Statement]) -> Schema:
    needed = [other.arg for other in nodes
              if other is not node and other.parent is node.parent
              and other.search_one("mandatory", "true") and not other.search_one("when")]
    return {"required": needed} if needed else {}
