"""The terminal: colour, progress, and output whose reader may go away."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any, TextIO

_CODES = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2", "cyan": "36"}
_PATIENCE = 1.0  # seconds of work that need no word


class Terminal:
    """`out` is for answers, `err` for everything else."""

    def __init__(self, *, colour: bool | None = None, verbose: bool = False, quiet: bool = False) -> None:
        self.out, self.err = sys.stdout, sys.stderr
        self.colour = wants_colour(self.out) if colour is None else colour
        self.colour_err = wants_colour(self.err) if colour is None else colour
        self.verbose, self.quiet = verbose, quiet
        self._began = time.monotonic()
        self._progress = self._waited_for = ""
        self._timer: Any = None

    def print(self, text: str) -> None:
        """An answer, on stdout. If nobody reads it any more, it is not said; the exit code stays true."""
        self.clear()
        _write(self.out, text if text.endswith("\n") else f"{text}\n")

    def say(self, text: str) -> None:
        """A remark, on stderr; not said with -q."""
        if not self.quiet:
            self.complain(text)

    def complain(self, text: str) -> None:
        """What is wrong, on stderr."""
        self.clear()
        _write(self.err, f"{text}\n")

    def paint(self, style: str, text: str) -> str:
        return painted(style, text) if self.colour else text

    def paint_err(self, style: str, text: str) -> str:
        return painted(style, text) if self.colour_err else text

    # -- progress ---------------------------------------------------------------------------------------------------

    def progress(self, words: str) -> None:
        """One line on stderr that the next one replaces; only on a terminal, and only once it takes long."""
        if not words or self.quiet or not self.err.isatty() or time.monotonic() - self._began < _PATIENCE:
            return
        self._progress = words
        width = max(20, _columns(self.err) - 1)
        _write(self.err, f"\r\x1b[K{words[:width]}")

    def doing(self, words: str) -> None:
        """As `progress`, for what says nothing until it is over: if it is not by then, the line comes when it takes long."""
        self._waited_for = words
        self.progress(words)
        if not self._progress and not self._timer and not self.quiet and self.err.isatty():
            import threading

            self._timer = threading.Timer(self._began + _PATIENCE - time.monotonic(), lambda: self.progress(self._waited_for))
            self._timer.daemon = True
            self._timer.start()

    def compiling(self, done: int, total: int, name: str) -> None:
        self.progress(f"compiling {done}/{total}: {name}")

    def step(self, number: int, total: int, step: Any) -> None:
        self.progress(f"step {number + 1}/{total}: {step.action} {step.address}")

    def clear(self) -> None:
        self._waited_for = ""
        if self._progress:
            self._progress = ""
            _write(self.err, "\r\x1b[K")


def painted(style: str, text: str) -> str:
    code = _CODES.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def wants_colour(stream: TextIO) -> bool:
    """On a terminal, unless $NO_COLOR (no-color.org) or a dumb terminal says no."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Nobody reads it any more: send it nowhere, so that the interpreter does not stumble over it when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
