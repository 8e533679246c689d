"""Progress is for those who wait at a terminal, and only if they wait."""

from __future__ import annotations

import io

import pytest

from reconciler.cli import terminal as module
from reconciler.cli.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, patience: float) -> Terminal:
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(module, "_PATIENCE", patience)
    return Terminal(colour=False)


def test_short_work_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    terminal(screen, monkeypatch, 1.0).compiling(1, 4, "bridge")
    assert not screen.getvalue()


def test_long_work_shows_one_line_that_the_next_output_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    at_work = terminal(screen, monkeypatch, 0.0)
    at_work.compiling(1, 4, "bridge")
    assert screen.getvalue() == "\r\x1b[Kcompiling 1/4: bridge"
    at_work.complain("done")
    assert screen.getvalue().endswith("\r\x1b[Kdone\n")


def test_long_work_whose_output_goes_to_a_file_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal(file, monkeypatch, 0.0).compiling(1, 4, "bridge")
    assert not file.getvalue()


def test_a_word_before_long_work_is_shown_once_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    at_work = terminal(screen, monkeypatch, 0.05)
    at_work.doing("loading")
    at_work.doing("checking")
    assert not screen.getvalue()
    at_work._timer.join(5)
    assert screen.getvalue() == "\r\x1b[Kchecking"


def test_a_word_before_work_that_is_over_soon_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    at_work = terminal(screen, monkeypatch, 0.05)
    at_work.doing("loading")
    at_work.clear()
    at_work._timer.join(5)
    assert not screen.getvalue()
