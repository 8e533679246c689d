"""What benchmarks make of their turns: ratios, goals, tables and pictures. (The turns themselves are not tests.)"""
from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import count
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES, _words
from benchmarks.compare import Effort, Goal, Row, Table, compare
from benchmarks.report import as_json, as_markdown, as_svg, number

TABLE = Table("XDP, live", "ns a packet", (Row("pcn", (90.0, 100.0, 110.0), (2.0, 2.2, 1.8)), Row("other", (200.0, 190.0, 210.0), (1.0, 1.0, 1.0))),
              "other", "One flow.", (Goal("pcn", at_least=2.0), Goal("other", at_most=150.0, of="value")))


def test_contenders_take_turns_and_the_first_of_each_is_not_counted():
    order: list[str] = []
    clock = {"a": count(10), "b": count(100, 10)}

    def turn(name):
        return lambda: order.append(name) or float(next(clock[name]))

    table = compare("t", {name: turn(name) for name in clock}, Effort(rounds=2), against="b", unit="ns")
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert table.row("a").turns == (11.0, 12.0)
    assert table.row("b").turns == (110.0, 120.0)


@pytest.mark.parametrize(("unit", "times"), [("ns a packet", 2.0), ("packets a second", 0.5)])
def test_a_ratio_says_how_many_times_better_whichever_way_the_unit_counts(unit: str, times: float):
    table = compare("t", {"a": lambda: 50.0, "b": lambda: 100.0}, Effort(rounds=3), against="b", unit=unit)
    assert table.row("a").ratio == times
    assert table.row("b").ratio == 1.0


def test_a_missed_goal_is_said_with_its_figure():
    assert TABLE.missed() == ["XDP, live: other: value <= 150, is 200.00"]
    text = as_markdown("A title", "What it is.", [TABLE], "a machine")
    assert "| pcn | 100 | 90 to 110 | 2.00 | ratio >= 2: reached |" in text
    assert "| other | 200 | 190 to 210 | 1.00 | value <= 150: **missed** |" in text
    assert "## Goals that were missed" in text


def test_the_picture_is_an_svg_with_a_bar_for_each_contender_and_the_json_has_every_turn():
    root = ET.fromstring(as_svg("A <title>", [TABLE], "a machine"))
    bars = [rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if rect.get("class")]
    assert [float(bar.get("width")) for bar in bars] == pytest.approx([171.4, 342.9], abs=0.1)
    assert json.loads(as_json("A title", [TABLE], "a machine"))["tables"][0]["rows"][0]["turns"] == [90.0, 100.0, 110.0]


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.123"), (7.0, "7"), (99.94, "99.9"), (2345.6, "2346"), (123456.7, "123,457")])
def test_figures_have_the_digits_that_mean_something(value: float, text: str):
    assert number(value) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_says_what_it_compares(name: str):
    title, about = _words(name)
    assert title
    assert len(about) > 100


def test_committed_results_name_no_path_and_are_of_benchmarks_that_there_are():
    for path in (Path(__file__).parents[2] / "benchmarks" / "results").glob("*"):
        assert path.stem in NAMES
        assert not any(word in path.read_text() for word in ("/work", "/tmp", "/home", "/root"))
