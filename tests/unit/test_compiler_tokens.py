"""The lexer under the compiler's source preparation."""
from __future__ import annotations

from reconciler.compiler.tokens import calls, literal, tokenize


def texts(source: str) -> list[str]:
    return [token.text for token in tokenize(source)[0]]


def arguments(source: str, name: str = "f") -> list[list[str]]:
    (call,) = calls(tokenize(source)[0], frozenset([name]))
    return ["".join(token.text for token in argument) for argument in call.arguments]


def test_comments_vanish_and_what_looks_like_one_in_a_string_stays():
    assert texts('a /* f( */ "b /* c */ // d" // e\n"\\"//"') == ["a", '"b /* c */ // d"', '"\\"//"']


def test_a_line_comment_continued_by_a_backslash_goes_on():
    assert texts("a // b \\\n c\nd") == ["a", "d"]


def test_lines_are_counted_across_comments_and_continued_lines():
    found, _ = tokenize("a\n/*\n\n*/ b \\\n c\nd")
    assert {token.text: token.line for token in found} == {"a": 1, "b": 4, "c": 5, "d": 6}


def test_lines_that_begin_inside_something_are_told():
    _, inside = tokenize("f(a,\n  b);\n/*\n*/\n#define x \\\n  1\ny;\n")
    assert inside == {2, 4, 6}


def test_a_parenthesis_in_a_directive_does_not_open_anything():
    _, inside = tokenize("#if defined(A\nb;\n")
    assert inside == set()


def test_arguments_are_split_at_commas_outside_inner_parentheses_only():
    assert arguments('f(a, (b, c), g(d, e), "x,y", \',\')') == ["a", "(b,c)", "g(d,e)", '"x,y"', "','"]


def test_no_arguments_are_none_and_an_empty_one_is_kept():
    assert arguments("f()") == []
    assert arguments("f(a,)") == ["a", ""]


def test_the_definition_of_a_macro_is_no_use_of_it():
    assert list(calls(tokenize("#define f(x) x\n#undef f\n")[0], frozenset(["f"]))) == []


def test_a_use_inside_another_definition_is_one():
    assert [call.name.directive for call in calls(tokenize("#define g f(1)\n")[0], frozenset(["f"]))] == ["define"]


def test_a_call_that_never_ends_is_no_call():
    assert list(calls(tokenize("f(a, b")[0], frozenset(["f"]))) == []


def test_adjacent_literals_are_one_with_escapes_resolved():
    (call,) = calls(tokenize('f("a\\n" /* and */ "\\x41\\102\\\\" "\\"")')[0], frozenset(["f"]))
    assert literal(call.arguments[0]) == 'a\nAB\\"'


def test_a_literal_with_something_else_is_none():
    (call,) = calls(tokenize('f("a" SUFFIX)')[0], frozenset(["f"]))
    assert literal(call.arguments[0]) is None
