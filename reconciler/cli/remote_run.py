"""The process in which pcn-api runs a verb for `pcn --host`: the order on stdin, the command's output on stdout and stderr."""

from __future__ import annotations

import json
import os
import sys

from reconciler.cli.dispatch import dispatch


def main() -> int:
    """Reads {verb, words, files, colour, more}; `more`: arguments that the server adds. Returns the exit code."""
    order = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    files = {word: [(str(name), str(text)) for name, text in texts] for word, texts in order["files"].items()}
    verb, words = order["verb"], [*order["words"], *order["more"]]
    return dispatch(verb, words, f"pcn {verb}", given=files, colour=order["colour"])
