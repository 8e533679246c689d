"""XSD patterns mean the same after translation; so do the address patterns and Python's ipaddress."""
from __future__ import annotations

import ipaddress
import json
import re

import pytest

from schemas.generate.__main__ import COMMITTED
from schemas.generate.patterns import all_of, any_of, translate


@pytest.mark.parametrize(
    ("xsd", "good", "bad"),
    [
        ("[a-z]+", ["abc"], ["", "abc1", "Abc", "abc\n", "x\nabc"]),
        ("a|bc", ["a", "bc"], ["ac", "abc", "b"]),
        ("(ab)*", ["", "abab"], ["aba"]),
        ("^a$", ["^a$"], ["a"]),
        (r"\d{2}", ["12"], ["1", "1a"]),
        (r"[\i-[:]][\c-[:]]*", ["a1", "_x"], [":a", "1a", "a:b"]),
        ("[a-z-[aeiou]]+", ["xyz"], ["abc"]),
        (r"\p{Lu}\p{L}*", ["Élan", "Ax"], ["élan", "1"]),
        (r"\p{IsBasicLatin}+", ["abc!"], ["é"]),
        (r"[^\s/:]{1,3}", ["a.b", "é"], ["a b", "a/b", "abcd", ""]),
        (r"a\-b[\-.]", ["a-b.", "a-b-"], ["a\\-b."]),
        (".*", ["", "anything at all"], ["two\nlines"]),
    ],
)
def test_a_translated_pattern_takes_what_the_xsd_pattern_takes(xsd: str, good: list[str], bad: list[str]) -> None:
    pattern = re.compile(all_of([(xsd, False)]))
    assert [text for text in good if not pattern.search(text)] == []
    assert [text for text in bad if pattern.search(text)] == []


def test_several_patterns_must_all_match_and_inverted_ones_must_not() -> None:
    pattern = re.compile(all_of([("[a-z]+", False), (".*x.*", False), ("ax|bx", True)]))
    assert pattern.search("cx")
    assert not any(map(pattern.search, ["ax", "bx", "cc", "CX", "cx\n"]))


def test_an_inverted_pattern_can_stand_alone() -> None:
    pattern = re.compile(all_of([("[xX][mM][lL].*", True)]))
    assert pattern.search("abc")
    assert not pattern.search("XmLdoc")


def test_one_of_several_patterns_is_enough() -> None:
    pattern = re.compile(any_of([all_of([("a+", False)]), all_of([("b+", False)])]))
    assert pattern.search("aa")
    assert pattern.search("b")
    assert not pattern.search("ab")


def test_no_escape_is_left_that_ecmascript_would_refuse() -> None:
    assert translate(r"a\-b") == "a-b"
    assert translate(r"[\-a]") == r"[\-a]"


@pytest.mark.parametrize("broken", ["[a", "(?i)x", "a{2,1}", "*"])
def test_what_is_no_xsd_pattern_is_refused(broken: str) -> None:
    with pytest.raises(ValueError, match="is not an XSD regular expression"):
        translate(broken)


ADDRESSES = [
    "0.0.0.0", "10.0.0.1", "255.255.255.255", "256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "", "a",
    "::", "::1", "1::", "2001:db8::1", "2001:DB8::a", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", ":::",
    ":1", "1:", "::ffff:10.0.0.1", "::10.0.0.256", "12345::", "g::", "fe80::1%eth0", "1:2:3:4:5:6:1.2.3.4",
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_ip_address_is_what_python_takes_for_one(text: str) -> None:
    schema = json.loads((COMMITTED / "ddosmitigator.schema.json").read_text(encoding="utf-8"))
    pattern = schema["properties"]["blacklist-src"]["items"]["properties"]["ip"]["pattern"]
    try:
        valid = "%" not in str(ipaddress.ip_address(text))
    except ValueError:
        valid = False
    assert bool(re.search(pattern, text)) == valid
