"""Problems as they are printed."""
from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.document.diagnostics import WIDTH, escape, render, render_all
from reconciler.errors import Position, Problem

SOURCE = "spec:\n  cubes:\n  - {name: br1, peer: veht1}\n"


def at(line: int, column: int, message: str = "m", **more) -> Problem:
    return Problem(message, more.pop("path", ""), Position("f", line, column), **more)


def lines_of(text: str, line: int, column: int) -> list[str]:
    return render(at(line, column), {"f": text}).split("\n")


def marked(text: str, line: int, column: int) -> str:
    """What stands above the carets."""
    _, source, carets = lines_of(text, line, column)
    start, width = carets.index("^"), carets.count("^")
    return columns(source)[start : start + width].replace("\0", "")


def columns(text: str) -> str:
    """The text as a terminal lays it out: one character a column, a NUL after a wide one."""
    return "".join(character + "\0" * (unicodedata.east_asian_width(character) in "WF") for character in text
                   if not unicodedata.combining(character))


def test_a_problem_is_its_place_its_sentence_the_line_a_caret_and_a_hint():
    problem = at(3, 23, 'no such netdev "veht1"', path="/spec/cubes/br1/peer", hint='did you mean "veth1"?')
    assert render(problem, {"f": SOURCE}) == """\
f:3:23: /spec/cubes/br1/peer: no such netdev "veht1"
  3 |   - {name: br1, peer: veht1}
    |                       ^^^^^
  hint: did you mean "veth1"?"""


def test_related_places_are_shown_with_their_lines():
    problem = at(3, 12, "two", related=((Position("f", 1, 1), "the first one is here"), (Position("g", 2, 1), "and here")))
    assert render(problem, {"f": SOURCE}) == """\
f:3:12: two
  3 |   - {name: br1, peer: veht1}
    |            ^^^
  f:1:1: the first one is here
  1 | spec:
    | ^^^^^
  g:2:1: and here"""


def test_a_warning_says_that_it_is_one():
    assert render(at(9, 9, severity="warning"), {}) == "f:9:9: warning: m"


def test_a_problem_without_a_place_is_a_sentence():
    assert render(Problem("nothing to do"), {"f": SOURCE}) == "nothing to do"


@pytest.mark.parametrize(("line", "column"), [(0, 1), (99, 1), (2, 1)])
def test_a_place_that_is_not_in_the_source_has_no_excerpt(line, column):
    assert lines_of("a: 1\n   \n", line, column) == [f"f:{line}:{column}: m"]


def test_a_place_after_the_end_of_a_line_is_marked_there():
    assert lines_of("a: 1\n", 1, 99) == ["f:1:99: m", "  1 | a: 1", "    |     ^"]


@pytest.mark.parametrize(("text", "column", "word"), [
    ("a: bad # c", 4, "bad"), ("a: [x, bad]", 8, "bad"), ("a: {b: bad}", 8, "bad"), ('a: "b c"', 4, '"b c"'),
    ("a: 'b c', d", 4, "'b c'"), ("a: 52:54:00", 4, "52:54:00"), ("bad: 1", 1, "bad:"), ("a: {b: 1}", 4, "{"),
    ("a: \tbad", 5, "bad"), ("\t\ta: bad", 6, "bad"), ("日本: bad", 5, "bad"), ("é: 日本", 4, "日本"),
    ("e\u0301: bad", 5, "bad"), ("😀😀: bad", 5, "bad"), ('a: "\x1b[31m": bad', 13, "bad"),
])
def test_the_caret_is_under_the_word(text, column, word):
    assert marked(text, 1, column) == word


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_file_s_lines_do(ending):
    assert marked(f"a: 1{ending}b: bad{ending}", 2, 4) == "bad"


@pytest.mark.parametrize("column", [1, 501, 5001, 100_001, 199_999])
def test_a_long_line_is_cut_around_the_caret(column):
    text = ("x" * 9 + " ") * 20_000
    _, source, _ = lines_of(text, 1, column)
    assert len(source) <= WIDTH + 6
    assert marked(text, 1, column) == text[column - 1 :].partition(" ")[0]
    assert ("…" in source[:8]) == (column > WIDTH)
    assert source.endswith("…") == (column < 199_900)


def test_a_long_word_is_cut_at_its_end():
    _, source, carets = lines_of("a: " + "x" * 500, 1, 4)
    assert source.endswith("x…")
    assert len(source) <= WIDTH + 6
    assert carets.count("^") == WIDTH // 2


VISIBLE = st.characters(exclude_categories=["C", "M", "Zl", "Zp"])  # a caret is under a character, not under its accent


@settings(deadline=None)
@given(st.text(VISIBLE, max_size=300), st.data())
def test_whatever_the_line_the_caret_is_under_the_character(text, data):
    column = data.draw(st.integers(1, len(text))) if text else 1
    rendered = lines_of(text, 1, column)
    if len(rendered) == 3 and text[column - 1] not in " \t" and not text[column - 1].isspace():
        assert marked(text, 1, column)[0] == text[column - 1]
        assert len(columns(rendered[1])) <= WIDTH + 7


@pytest.mark.parametrize(("text", "safe"), [
    ("plain é 日本", "plain é 日本"), ("\x1b[31m", "\\x1b[31m"),
    ("a\nb\rc\td", "a\\nb\\rc\\td"), ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
    ("\u202eabc", "\\u202eabc"), ("\u2028", "\\u2028"), ("\U000e0001", "\\U000e0001"), ("\ud800", "\\ud800"),
])
def test_what_could_move_the_cursor_is_escaped(text, safe):
    assert escape(text) == safe


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_no_user_text_reaches_the_terminal_as_a_command(message, path, hint):
    problem = Problem(message, path, Position(path, 1, 1), hint, related=((Position(hint, 1, 1), message),))
    rendered = render(problem, {path: message, hint: hint})
    assert all(character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs") for character in rendered)


def test_colour_marks_the_caret_and_adds_nothing_else():
    problem = at(3, 23, "no", hint="h", path="/p")
    plain, colour = render(problem, {"f": SOURCE}), render(problem, {"f": SOURCE}, colour=True)
    assert "\x1b[31m^^^^^\x1b[0m" in colour
    for code in ("\x1b[31m", "\x1b[34m", "\x1b[1m", "\x1b[0m"):
        colour = colour.replace(code, "")
    assert colour == plain


def test_twenty_problems_are_shown_and_the_others_counted():
    problems = [at(1, 1, f"number {number}") for number in range(33)]
    text = render_all(problems, {})
    assert text.count("number") == 20
    assert text.endswith("number 19\nand 13 more")


def test_problems_keep_the_order_that_they_come_in():
    assert render_all([at(2, 1, "b"), at(1, 1, "a")], {}) == "f:2:1: b\nf:1:1: a"
