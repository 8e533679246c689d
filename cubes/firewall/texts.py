"""Rows that only some rules have: leaves that do not fit in a rule's row, as chunks of text; limits; and prefixes of LOG."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping

from cubes.firewall.rules import ACTIONS, Rule

KEY = struct.Struct("=QII")  # struct text_key
_RULE = struct.Struct("=Q")
_PIECE = 64  # struct text
_NUMBERS = frozenset({"limit-burst"})


def text_rows(rule: Rule) -> dict[bytes, bytes]:
    if not rule.texts:
        return {}
    text = "\n".join(f"{leaf}={said}" for leaf, said in rule.texts).encode()
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    return {KEY.pack(rule.identity, place, 0): piece.ljust(_PIECE, b"\0") for place, piece in enumerate(pieces)}


_LIMIT, _LOGGING = struct.Struct("=QQII"), struct.Struct("=I28s")  # struct rule_limit, struct logging_rule


def rows_of_limits_and_logs(rules: Iterable[tuple[int, Rule]]) -> dict[str, dict[bytes, bytes]]:
    """The rows that the programs read for rules that log, or whose limit is more than a number; rules with their ids."""
    limits, logs = {}, {}
    for number, rule in rules:
        if rule.rate is not None:
            said = rule.rate
            limits[_RULE.pack(rule.identity)] = _LIMIT.pack(said.cost, said.cost * said.burst, said.by_source, said.over)
        if rule.action == ACTIONS["LOG"]:
            logs[_RULE.pack(rule.identity)] = _LOGGING.pack(number, rule.log_prefix.encode())
    return {"limits": limits, "logging_rules": logs}


def texts_of(live: Mapping[str, Mapping[bytes, bytes]]) -> dict[bytes, dict[str, str | int]]:
    """The leaves of each rule, by its key in `rules`."""
    pieces: dict[int, dict[int, bytes]] = defaultdict(dict)
    for key, row in live.get("texts", {}).items():
        rule, place, _ = KEY.unpack(key)
        pieces[rule][place] = row
    found = {}
    for rule, some in pieces.items():
        text = b"".join(some[place] for place in sorted(some)).rstrip(b"\0").decode("utf-8", "replace")
        leaves = (line.partition("=") for line in text.split("\n"))
        found[_RULE.pack(rule)] = {leaf: int(said) if leaf in _NUMBERS else said for leaf, _, said in leaves}
    return found
