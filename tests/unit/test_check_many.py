"""Documents with very many mistakes: what nobody is shown is not worked out, and each place is found at once."""

from __future__ import annotations

import time

import pytest

from reconciler.check import check
from reconciler.document import suggest
from reconciler.document.diagnostics import MAX_SHOWN, render_all
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.present import error_data
from reconciler.service.registry import Services

COUNT = 20_000
HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n"
BRIDGE = "    - {name: %s, service-name: simplebridge, ports: [{name: p1, peer: '%s'}]}\n"
MANY = {
    "unknown keys of one mapping": HEAD + "    - name: b\n      service-name: simplebridge\n"
    + "".join(f"      key{n}: 1\n" for n in range(COUNT)),
    "unknown cubes among many": HEAD + "".join(BRIDGE % (f"br{n}", f"bx{n}:p1") for n in range(COUNT // 8)),
    "parents that are elsewhere": HEAD.replace("cubes", "namespaces: [h1]\n  links")
    + "".join(f"    - {{name: m{n}, netns: h1, kind: macvlan, link: n{n}}}\n" for n in range(COUNT // 8)),
}  # fmt: skip


@pytest.mark.parametrize("text", MANY.values(), ids=MANY)
def test_near_misses_are_looked_for_only_where_they_are_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr(suggest, "did_you_mean", lambda word, _: looks.append(word) or "")
    with pytest.raises(DocumentError) as caught:
        check(parse(text, "t.yaml"), Services())
    assert len(caught.value.problems) >= COUNT // 8
    assert looks == []
    render_all(caught.value.problems, {"t.yaml": text})
    assert len(looks) == MAX_SHOWN
    assert len(error_data(caught.value)) == len(caught.value.problems)
    assert len(looks) == 2 * MAX_SHOWN


def test_the_places_of_20_000_mistakes_in_one_mapping_are_found_within_seconds() -> None:
    began = time.process_time()
    with pytest.raises(DocumentError) as caught:
        check(parse(MANY["unknown keys of one mapping"], "t.yaml"), Services())
    assert [problem.where.line for problem in caught.value.problems] == list(range(8, 8 + COUNT))
    assert time.process_time() - began < 10  # it took 25 s where each key was looked for among all
