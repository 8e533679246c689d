"""Whatever is in a document, the answer is a topology or a list of problems that can be printed."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.check import check
from reconciler.document.diagnostics import render_all
from reconciler.document.emitter import dump_yaml
from reconciler.document.load import parse
from reconciler.errors import DocumentError, Problem
from reconciler.model import Topology
from tests.unit.data.documents import StandIns
from tests.unit.data.generated import documents


def answer(texts: dict[str, str], *, merge: bool = False) -> tuple[list[Topology], list[Problem]]:
    """The topologies of texts by file name; none, and the problems, if they are refused."""
    try:
        return check([document for file, text in texts.items() for document in parse(text, file)], StandIns(), merge=merge)
    except DocumentError as error:
        return [], list(error.problems)


@settings(max_examples=300, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=3), st.booleans())
def test_every_document_is_checked_or_refused(data, merge):
    texts = {f"f{number}": dump_yaml(each) for number, each in enumerate(data)}
    topologies, problems = answer(texts, merge=merge)
    assert topologies or any(problem.severity == "error" for problem in problems)
    assert bool(render_all(problems, texts)) == bool(problems)
    assert answer({each.name: dump_yaml(each.document) for each in topologies}) == (topologies, [])


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`# \n\t<~é\x00\u2028"), max_size=60))
def test_every_text_is_read_or_refused_at_a_place_in_it(text):
    lines = text.count("\n") + text.count("\u2028") + 1
    topologies, problems = answer({"f": text})
    assert topologies or render_all(problems, {"f": text})
    assert all(problem.where is not None and 1 <= problem.where.line <= lines for problem in problems)
