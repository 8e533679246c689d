"""What the tests of the front half share: two made-up services, and documents with marks where problems are expected.

A « stands before the character where a problem is said to be, a ‹ where something related is. The marks are taken out
before the document is read.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from reconciler.check import check
from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.errors import DocumentError, Position, Problem
from reconciler.model import Topology
from reconciler.service.implementation import ModuleImpl, ServiceImpl

HERE = Path(__file__).parent
PROBLEM, RELATED = "«", "‹"


@dataclass(frozen=True)
class StandIn:
    """A service that is nothing but a schema."""

    name: str
    schema: dict[str, Any]
    implementation: ServiceImpl = field(default_factory=ModuleImpl)

    @property
    def kind(self) -> str:
        return str(self.schema["x-pcn-service"]["kind"])

    @property
    def max_ports(self) -> int:
        return int(self.schema["x-pcn-service"]["max-ports"])

    @property
    def floods(self) -> bool:
        return bool(self.schema["x-pcn-service"]["floods"])


class StandIns:
    """`hub` is a standard service with one of everything, `wall` a transparent one with rules."""

    def get(self, name: str) -> StandIn | None:
        return stand_in(name) if name in self.names() else None

    def names(self) -> Sequence[str]:
        return ("hub", "wall")

    def why_not(self, name: str) -> str:
        return ""

    def stamps(self) -> tuple[object, ...]:
        return ()


@cache
def stand_in(name: str) -> StandIn:
    return StandIn(name, json.loads((HERE / f"{name}.schema.json").read_text()))


def topology(spec: str, name: str = "t") -> str:
    """A whole document around a spec, which begins in line 5 and is indented by two more spaces."""
    head = f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {name}}}\nspec:\n"
    return head + indent(dedent(spec).strip("\n") + "\n", "  ")


def cube(text: str) -> str:
    """A whole document around one hub `c`, whose own leaves are `text`, which begins in line 8."""
    return topology("cubes:\n- name: c\n  service-name: hub\n" + indent(dedent(text).strip("\n"), "  "))


def marks(text: str, mark: str, file: str) -> list[Position]:
    other = RELATED if mark == PROBLEM else PROBLEM
    found = []
    for number, line in enumerate(text.replace(other, "").split("\n"), 1):
        parts = line.split(mark)[:-1]
        found += [Position(file, number, sum(map(len, parts[: count + 1])) + 1) for count in range(len(parts))]
    return found


def read(*texts: str) -> tuple[list[Document], list[Position], list[Position]]:
    """The documents in marked texts (files f0.yaml, f1.yaml, ...), and the places of « and ‹."""
    documents: list[Document] = []
    problems: list[Position] = []
    related: list[Position] = []
    for number, text in enumerate(texts):
        file = f"f{number}.yaml"
        problems += marks(text, PROBLEM, file)
        related += marks(text, RELATED, file)
        documents += parse(text.replace(PROBLEM, "").replace(RELATED, ""), file)
    return documents, problems, related


def problems_of(*texts: str, merge: bool = False) -> list[Problem]:
    """All problems of documents, after a look that they are where the marks are."""
    documents, expected, related = read(*texts)
    with pytest.raises(DocumentError) as caught:
        check(documents, StandIns(), merge=merge)
    problems = list(caught.value.problems)
    assert [problem.where for problem in problems] == expected, "\n".join(map(str, problems))
    assert [place for problem in problems for place, _ in problem.related] == related
    return problems


def problem_of(*texts: str, merge: bool = False) -> Problem:
    """The one problem of documents."""
    (problem,) = problems_of(*texts, merge=merge)
    return problem


def checked(*texts: str, merge: bool = False) -> tuple[list[Topology], list[Problem]]:
    """The topologies and warnings of documents in which nothing is wrong."""
    documents, _, _ = read(*texts)
    return check(documents, StandIns(), merge=merge)


def one(*texts: str, merge: bool = False) -> Topology:
    (found,), warnings = checked(*texts, merge=merge)
    assert warnings == []
    return found
