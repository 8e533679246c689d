"""The terminal: colour, progress, and output to a reader that may disappear."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from typing import Any, TextIO

_CODES = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2", "cyan": "36"}
UNWRITTEN = 74  # exit code: the work is done, but its output could not be written (EX_IOERR of sysexits.h)
_PATIENCE = 1.0  # seconds without progress output


class Terminal:
    """`out` is for answers, `err` for everything else. `lost`: the error after which answers are discarded, or None."""

    def __init__(self, *, colour: bool | None = None, verbose: bool = False, quiet: bool = False) -> None:
        self.out, self.err = sys.stdout, sys.stderr
        self.lost: OSError | None = None
        for stream in (self.out, self.err):  # file names may have any bytes, and the locale's charset few characters
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.colour = wants_colour(self.out) if colour is None else colour
        self.colour_err = wants_colour(self.err) if colour is None else colour
        self.verbose, self.quiet = verbose, quiet
        self._began = time.monotonic()
        self._progress = self._waited_for = ""
        self._timer: Any = None

    def print(self, text: str) -> None:
        """Print an answer on stdout. A write error is stored in `lost`; the work is not undone."""
        self.clear()
        self.lost = _write(self.out, text if text.endswith("\n") else f"{text}\n") or self.lost

    def pass_on(self, out: str, err: str) -> None:
        """Copy the output of another process."""
        self.lost = (_write(self.out, out) if out else None) or self.lost
        if err:
            _write(self.err, err)

    def wait(self, seconds: float) -> bool:
        """Sleep, or return early if the reader of stdout disappears (`| head -2`); returns whether it still reads."""
        import select

        reader = select.poll()
        try:
            reader.register(self.out.fileno(), 0)  # poll reports POLLERR for a pipe without a reader
        except (OSError, ValueError):  # a stream without a descriptor, as in tests
            time.sleep(seconds)
            return self.lost is None
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in reader.poll(1000 * seconds)):
            self.lost = self.lost or BrokenPipeError()
        return self.lost is None

    def say(self, text: str) -> None:
        """Print a message on stderr; suppressed by -q."""
        if not self.quiet:
            self.complain(text)

    def complain(self, text: str) -> None:
        """Print an error or a warning on stderr."""
        self.clear()
        _write(self.err, f"{text}\n")

    def paint(self, style: str, text: str) -> str:
        return painted(style, text) if self.colour else text

    def paint_err(self, style: str, text: str) -> str:
        return painted(style, text) if self.colour_err else text

    def ended(self, code: int) -> int:
        """The exit code for `code`. A pipe closed by its reader is no error; any other write error is reported, and turns 0 into
        UNWRITTEN: the work is done, but the answer is lost."""
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return code
        self.complain(f"{self.paint_err('red', 'error:')} {unwritten(self.lost)}")
        return code or UNWRITTEN

    @property
    def width(self) -> int:
        """Columns of the terminal on stdout ($COLUMNS takes precedence), 0 if it is none."""
        chosen = os.environ.get("COLUMNS", "")
        return int(chosen) if chosen.isdecimal() else _columns(self.out) if self.out.isatty() else 0

    # -- progress ---------------------------------------------------------------------------------------------------

    def progress(self, words: str) -> None:
        """A status line on stderr, overwritten by the next; only on a terminal, and after _PATIENCE seconds."""
        if not words or self.quiet or not self.err.isatty() or time.monotonic() - self._began < _PATIENCE:
            return
        self._progress = words
        width = max(20, _columns(self.err) - 1)
        _write(self.err, f"\r\x1b[K{words[:width]}")

    def doing(self, words: str) -> None:
        """As `progress`, for work without intermediate reports: a timer prints the line if it takes long."""
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
    """For a terminal, unless $NO_COLOR (no-color.org) or TERM=dumb is set."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80


def unwritten(error: OSError) -> str:
    return f"cannot write to standard output: {error.strerror}; all else is done"


def answer_lost(error: OSError) -> int:
    """As `Terminal.ended`, before there is a Terminal."""
    _silence(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 0
    write_error(f"error: {unwritten(error)}")
    return UNWRITTEN


def write_answer(text: str) -> int:
    """As `Terminal.print`, before there is a Terminal; returns the exit code."""
    error = _write(sys.stdout, f"{text}\n")
    return answer_lost(error) if error is not None else 0


def write_error(text: str) -> None:
    _write(sys.stderr, f"{text}\n")


def open_missing_streams() -> None:
    """Opens each standard stream that the caller closed in the wrong mode: using it fails as if closed, and no file, map or
    program opened later gets its number and is overwritten by mistake (as gnulib's stdopen does)."""
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number, which is this one
    # They stay open for as long as the process runs.
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _write(stream: TextIO, text: str) -> OSError | None:
    """Write all of it; returns the error. After a failure further output is discarded."""
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        _silence(stream)
        return error
    return None


def _silence(stream: TextIO) -> None:
    """Redirect to /dev/null, so that flushing the buffer at exit does not fail."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
