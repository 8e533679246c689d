"""Lists whose lines are read one by one say what the parser would make of them, and no line is taken for more than it is."""
from __future__ import annotations

import random
from typing import Any

import pytest

from reconciler.document import construct
from reconciler.document.plain_entries import MANY, taken_out
from reconciler.errors import DocumentError

ROUTES = "".join(f"  - {{network: 10.{n >> 8}.{n & 255}.0/24, nexthop: 10.0.0.{n % 9}, pathcost: {n}}}\n" for n in range(3 * MANY))
WORDS = "".join(f"  - 10.0.{n >> 8}.{n & 255}\n" for n in range(2 * MANY))


def read(text: str) -> object:
    try:
        documents, lists = construct.read(text, "f")
    except DocumentError as error:
        return [(problem.message, problem.path, problem.where) for problem in error.problems]
    return documents, [{path: list(lines) for path, lines in each.items()} for each in lists]


def agree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(text)
    with monkeypatch.context() as patch:
        patch.setattr(construct, "taken_out", lambda text, _plain: (text, {}))
        assert found == read(text)


@pytest.mark.parametrize("text", [
    f"a:\n{ROUTES}",
    f"a:\n{ROUTES}b:\n{WORDS}c: 1\n",
    f"a:\n{WORDS}  # said\n{WORDS}    more of the last one\n",
    f"a:\n{WORDS}{ROUTES}{WORDS}",
    f"a: |\n{ROUTES}b: 1\n",  # a text
    f"a: >\n{WORDS}",
    f"a: word\n{WORDS}",  # words of a text
    f'a: "word\n{WORDS}  end"\n',
    f"a: [\n{ROUTES}]\n",  # no YAML
    f"a: &all\n{ROUTES}b: *all\nc: *all\n",
    f"a:\n{ROUTES}---\nb:\n{ROUTES}",
    f"a:\n{ROUTES}a:\n{WORDS}",  # a key twice
    f"a:\n{ROUTES}  - {{network: 1, network: 2}}\n{ROUTES}",
    "a:\n" + ROUTES.replace("pathcost: 70}", "network: 70}"),
    "a:\n" + ROUTES.replace("pathcost: 7", "pathcost: 0x7").replace("pathcost: 9", "pathcost: 9.5").replace("10.0.0.1", "Null"),
    "a:\n" + ROUTES.replace("10.0.0.2", "52:54:00:12:34:56").replace("10.0.0.3", "fd00::1").replace("10.0.0.4", "yes"),
    "a:\n" + ROUTES.replace("10.0.0.2", "fd00::").replace("nexthop: 10.0.0.3", "nexthop: *all"),
    "a:\n" + ROUTES.replace("\n", "\r\n"),
    ROUTES.replace("  -", "-"),
])  # fmt: skip
def test_lines_say_what_the_parser_makes_of_them(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agree(text, monkeypatch)


def test_a_text_that_was_cut_and_mixed_is_read_as_the_parser_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    whole = f"a:\n{ROUTES}b:\n- x:\n{WORDS.replace('  -', '    -')}  y: |\n{WORDS}c:\n{ROUTES}".splitlines(keepends=True)
    for _ in range(60):
        lines = list(whole)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(lines))
            lines[at] = chance.choice(["", " ", "#\n", "- |\n", "x: >\n", "  - {a: b\n", lines[at][1:], "    z\n", "\t\n", lines[at][:9]])
        agree("".join(lines), monkeypatch)


def test_the_parser_sees_two_entries_of_a_long_list(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = construct._Builder.mapping

    def mapping(*given: Any) -> dict[str, Any]:
        seen.append(given)
        return real(*given)

    monkeypatch.setattr(construct._Builder, "mapping", mapping)
    (data,) = construct.construct(f"a:\n{ROUTES}", "f")
    assert len(data["a"]) == 3 * MANY
    assert len(seen) == 3, "the document, and the first and the last entry"


def test_the_limit_of_values_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(construct, "MAX_VALUES", 5 * MANY)
    assert taken_out(f"a:\n{ROUTES}", construct.plain)[1]
    with pytest.raises(DocumentError, match="more than"):
        construct.construct(f"a:\n{ROUTES}", "f")
