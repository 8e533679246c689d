"""Topologies whose cubes are joined: none can be taken from under another, and one that cannot be read blocks nobody."""
from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, drift_session, plan_for
from reconciler.errors import DocumentError
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader
from reconciler.live.execute import Executor
from reconciler.plan.operations import SetDocument
from reconciler.present.show import show

NAMES = ("jleft", "jright", "jalone")


def topology(name: str, *ports: dict[str, str]) -> list[Document]:
    cube = {"name": f"{name}c", "service-name": "simplebridge", "ports": [{"name": "p1"}, *ports]}
    data = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": name}, "spec": {"cubes": [cube]}}
    return parse(json.dumps(data), f"{name}.yaml")


LEFT = topology("jleft", {"name": "x", "peer": "jrightc:x"})
RIGHT = topology("jright", {"name": "x", "peer": "jleftc:x"})
ALONE = topology("jalone")


@pytest.fixture
def options(own_root: str) -> Iterator[Options]:
    """All three applied; afterwards all gone, whatever a test has made of them."""
    options = Options()
    apply([*LEFT, *RIGHT, *ALONE], options)
    yield options
    if left := applied(own_root):
        apply([], Options(drop=frozenset(left)), delete=True)


def applied(root: str) -> list[str]:
    return Reader(Bpffs(root)).names("topologies")


def break_document(root: str, name: str) -> None:
    """As if another version of pcn had applied it: a document that this one finds wrong."""
    text = Reader(Bpffs(root)).document(f"topologies/{name}")
    assert text is not None
    executor = Executor(Bpffs(root), {})
    executor.do(SetDocument(f"topologies/{name}", text.replace('"p1"', '"p 1"')))
    executor.close()


def refusal(**how: object) -> str:
    with pytest.raises(DocumentError) as caught:
        apply(**how)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    return f"{problem.message}; {problem.hint}"


def test_a_topology_that_another_one_is_joined_to_is_not_deleted_alone(options):
    said = 'no such cube "jrightc"; topology jleft is applied and would stay: change it in the same apply, or delete it too'
    assert refusal(documents=RIGHT, options=options, delete=True) == said
    assert refusal(documents=[], options=Options(drop=frozenset({"jright"})), delete=True) == said
    assert applied(options.root) == sorted(NAMES)
    assert plan_for([*LEFT, *RIGHT, *ALONE], options).plan.steps == ()


def test_nor_does_it_lose_the_port_that_the_other_is_joined_to(options):
    said = refusal(documents=topology("jright"), options=options)
    assert said.startswith('no such port "x" on cube "jrightc"; topology jleft is applied and would stay')


def test_joined_topologies_go_together_and_a_changed_one_lets_the_other_go(options):
    apply([*LEFT, *RIGHT], options, delete=True)
    assert applied(options.root) == ["jalone"]
    apply([*LEFT, *RIGHT], options)
    apply([*topology("jleft"), *topology("jright")], options)
    apply(topology("jright"), options, delete=True)
    assert applied(options.root) == ["jalone", "jleft"]


def test_a_document_that_cannot_be_read_any_more_blocks_nothing_and_is_said(options):
    break_document(options.root, "jleft")
    warned: list[str] = []
    careful = Options(warn=lambda problems: warned.extend(problem.message for problem in problems))
    done = apply(topology("jalone", {"name": "p2"}), careful)
    assert done.plan.steps
    messages = [problem.message for problem in done.warnings]
    assert len([each for each in messages if each.startswith("topology jleft is left as it is, for it cannot be read here")]) == 1
    assert [document["metadata"]["name"] for document in show(careful)] == ["jalone"]
    assert drift_session(careful).drift == []
    assert any("topology jright" in each for each in warned), "what is joined to it cannot be read without it"


def test_such_a_topology_is_mended_by_its_file(options):
    break_document(options.root, "jleft")
    apply([*LEFT, *RIGHT], options)
    assert plan_for([*LEFT, *RIGHT, *ALONE], options).plan.steps == ()


def test_such_a_topology_can_be_deleted_by_file_and_by_name(options):
    break_document(options.root, "jleft")
    apply([*LEFT, *RIGHT], options, delete=True)
    assert applied(options.root) == ["jalone"]
    break_document(options.root, "jalone")
    apply([], Options(drop=frozenset({"jalone"})), delete=True)
    assert applied(options.root) == []
