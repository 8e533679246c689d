"""Log formats on stderr: with timestamps for a terminal, with levels for the journal, which adds timestamps."""
from __future__ import annotations

import logging
import os
import sys

_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def set_up(*, verbose: bool = False, quiet: bool = False) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ForJournal() if os.environ.get("JOURNAL_STREAM") else _ForPeople("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("pcn")
    root.handlers, root.propagate = [handler], False
    root.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


class _ForPeople(logging.Formatter):
    """Lines after the first are indented, to separate records."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        record.message = record.getMessage()
        return f"{self.formatTime(record, self.datefmt)} {mark}{_body(self, record)}".replace("\n", "\n    ")


class _ForJournal(logging.Formatter):
    """A sd-daemon(3) priority prefix on each line."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"<{_LEVELS.get(record.levelno, 6)}>"
        return level + _body(self, record).replace("\n", f"\n{level}    ")


def _body(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    return f"{text}\n{formatter.formatException(record.exc_info)}" if record.exc_info else text
