"""Whatever is in a document, the answer is a topology or a list of problems that can be printed."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.canonical import dump_yaml
from reconciler.check import check
from reconciler.errors import DocumentError
from reconciler.excerpt import render_all
from reconciler.load import parse
from tests.unit.data.documents import StandIns
from tests.unit.data.generated import documents


@settings(max_examples=400)
@given(st.lists(documents(), min_size=1, max_size=3), st.booleans())
def test_every_document_is_checked_or_refused(data, merge):
    texts = {f"f{number}": dump_yaml(each) for number, each in enumerate(data)}
    try:
        read = [document for file, text in texts.items() for document in parse(text, file)]
        topologies, warnings = check(read, StandIns(), merge=merge)
    except DocumentError as error:
        assert error.problems
        assert render_all(error.problems, texts)
        assert all(problem.where is None or problem.where.line >= 1 for problem in error.problems)
    else:
        assert all(warning.severity == "warning" for warning in warnings)
        again, _ = check([document for each in topologies for document in parse(dump_yaml(each.document), each.name)], StandIns())
        assert again == topologies


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`# \n\t<~é\x00\u2028"), max_size=60))
def test_every_text_is_read_or_refused(text):
    try:
        parse(text, "f")
    except DocumentError as error:
        assert render_all(error.problems, {"f": text})
        for problem in error.problems:
            assert problem.where is not None
            assert 1 <= problem.where.line <= text.count("\n") + text.count("\u2028") + 1
