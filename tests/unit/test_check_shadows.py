"""Cubes with a network namespace of their own: what cannot be one."""
from __future__ import annotations

import pytest

from reconciler.check import check
from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.errors import DocumentError, Problem
from reconciler.service.registry import Services

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n"


def documents(cube: str) -> list[Document]:
    return [parse(f"{HEAD}    - {cube}\n", "t.yaml")[0]]


def problems(cube: str) -> list[Problem]:
    with pytest.raises(DocumentError) as caught:
        check(documents(cube), Services())
    return list(caught.value.problems)


@pytest.mark.parametrize(("cube", "path", "words"), [
    ("{name: b, service-name: simplebridge, span: true}", "/spec/cubes/b/span", "span copies packets into the namespace of a shadow"),
    ("{name: b, service-name: simplebridge, shadow: true, type: XDP_SKB}", "/spec/cubes/b/shadow", "only a TC cube can have a shadow"),
    ("{name: b, service-name: simplebridge, shadow: true, ports: [{name: lo}]}", "/spec/cubes/b/ports/lo/name", "it is the loopback there"),
    ("{name: b, service-name: simplebridge, shadow: true, ports: [{name: longer-than-netdevs}]}",
     "/spec/cubes/b/ports/longer-than-netdevs/name", "it has more than 15 bytes"),
])  # fmt: skip
def test_what_cannot_be_is_told_where_it_stands(cube: str, path: str, words: str) -> None:
    (problem,) = problems(cube)
    assert problem.path == path
    assert words in problem.message
    assert problem.where is not None
    assert problem.where.line == 6


def test_what_is_no_more_is_looked_at_though_the_graph_is_the_same() -> None:
    services = Services()
    check(documents("{name: b, service-name: simplebridge, shadow: true, span: true}"), services)
    with pytest.raises(DocumentError, match="span copies packets"):
        check(documents("{name: b, service-name: simplebridge, span: true}"), services)


def test_a_namespace_of_that_name_is_no_other() -> None:
    text = HEAD.replace("  cubes:", "  namespaces: [pcn-b]\n  cubes:") + "    - {name: b, service-name: simplebridge, shadow: true}\n"
    with pytest.raises(DocumentError, match='the shadow of "b" is a network namespace "pcn-b", which there is already'):
        check([parse(text, "t.yaml")[0]], Services())


def test_transparent_cubes_have_none() -> None:
    assert 'unknown key "shadow"' in problems("{name: t, service-name: transparenthelloworld, shadow: true}")[0].message


def test_what_says_no_is_as_if_nothing_was_said() -> None:
    said, plain = (check(documents(f"{{name: b, service-name: simplebridge{more}}}"), Services())[0][0] for more in (", shadow: false, span: false", ""))
    assert said.document == plain.document
    assert said.cubes == plain.cubes
