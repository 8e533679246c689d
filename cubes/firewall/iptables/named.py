"""Conditions of an iptables rule that name something else: a set, a kind of address, the station that sent the frame, what
another table did to a connection."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from cubes.firewall.iptables.address_box import EVERYTHING, AddressBox, Case
from cubes.firewall.iptables.known import OWN
from cubes.firewall.iptables.lexer import STATES, Misread, states_of
from reconciler.service.sdk import Problem

if TYPE_CHECKING:
    from cubes.firewall.iptables.parser import Word
    from cubes.firewall.iptables.rule import RuleParser

_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def state(reader: RuleParser, option: Word, negated: bool) -> None:
    word = reader.value(option)
    words = set(word.text.split(","))
    for strange in sorted(words - {*STATES, "SNAT", "DNAT"}):
        raise Misread(f"{strange} is no state of a connection", word)
    translated = words & reader.known.translated
    if translated and (negated or words == translated):
        reader.rule.unsaid.append(option)
        return
    cases = list(states_of(set(STATES) - words if negated else words, reader.family))
    if translated:
        said = f"{' and '.join(sorted(translated))} cannot be said; the other states are"
        hint = "--lossy matches the other states, and where it refuses, all packets"
        reader.rule.notes.append(Problem(said, where=option.where, hint=hint))
        cases += [Case(EVERYTHING, sure=False)]
    reader.choices.append(cases)


def address_type(reader: RuleParser, option: Word, negated: bool) -> None:
    """LOCAL is a set of its own, unless the host's addresses were listed."""
    kinds, source, types = reader.value(option).text.split(","), option.text == "--src-type", reader.known.types
    if kinds == ["LOCAL"] and "LOCAL" not in types:
        _in_set(reader, OWN, negated, source=source)
        return
    if any(kind not in types for kind in kinds):
        reader.rule.unsaid.append(option)
        return
    networks = [network for kind in kinds for network in types[kind] if network.version == reader.family]
    if networks:
        reader.networks(source, list(dict.fromkeys(networks)), negated)
    elif not negated:
        reader.choices.append([])


def match_set(reader: RuleParser, option: Word, negated: bool) -> None:
    name, ends = reader.value(option), reader.value(option)
    found = reader.known.sets.get(name.text)
    why = found.unsaid if found is not None else f"set {name.text} is not in the file: print what `ipset save` says into it"
    if not why and ends.text in ("src", "dst"):
        _in_set(reader, name.text, negated, source=ends.text == "src")
    else:
        reader.rule.unsaid.append(replace(option, text=f"{option.text} ({why or f'{ends.text} of a set of addresses'})"))


def _in_set(reader: RuleParser, name: str, negated: bool, *, source: bool) -> None:
    said = frozenset({f"!{name}" if negated else name})
    reader.choices.append([Case(AddressBox(src_sets=said) if source else AddressBox(dst_sets=said))])


def sender(reader: RuleParser, option: Word, negated: bool) -> None:
    """A router forwards frames with its own source MAC, so a firewall behind it cannot match the original sender."""
    word = reader.value(option)
    mac = word.text.lower()
    if not _MAC.fullmatch(mac):
        raise Misread(f"{word.text} is no MAC address", word)
    if not reader.known.senders:
        reader.rule.unsaid.append(option)
    elif negated:
        reader.rule.unless += (AddressBox(smac=mac),)
    else:
        reader.choices.append([Case(AddressBox(smac=mac))])
