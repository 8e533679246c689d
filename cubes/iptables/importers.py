"""What iptables-save prints of a host, as its firewall: the import 'iptables-save' with --service iptables.

The table filter is carried over line by line. A line that cannot be is omitted and listed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cubes.iptables.arguments import OWN, read_rule
from cubes.iptables.rules import ACTIONS, BUILT_IN, is_taken
from cubes.iptables.spoken import Refused
from cubes.lib.ipset import IpSet, read_line
from reconciler.service.sdk import DocumentError, Imported, Position, Problem

NAME = "host-fw"
Leaves = dict[str, Any]


@dataclass(slots=True)
class _Filter:
    """The chains as they are read, and what is lost; `sets` are ipset's, of which the rules request those of `used`."""

    chains: dict[str, Leaves] = field(default_factory=dict)
    lost: list[Problem] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    sets: dict[str, IpSet] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def read(texts: Mapping[str, str], options: Mapping[str, Sequence[str]]) -> Imported:
    """See reconciler.service.importers.Import."""
    found = _Filter()
    for file, text in texts.items():
        _read_file(file, text, found)
    found.lost += _nowhere(found.chains)
    selector = " ".join(options.get("netdev", ())) or "all"
    document = {
        "apiVersion": "polycube.network/v1",
        "kind": "Topology",
        "metadata": {"name": NAME},
        "spec": {
            "cubes": [
                {"name": NAME, "service-name": "iptables", "type": "TC", **_sets(found), "chain": list(found.chains.values())}
            ],
            "attachments": [{"netdevs": selector, "tcubes": [NAME]}, {"netdev": "lo", "tcubes": [NAME]}],
        },
    }
    return Imported(document, found.lost)


def _read_file(file: str, text: str, found: _Filter) -> None:
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        where = Position(file, number, 1)
        if not line.strip() or line.startswith("#"):
            continue
        if not table and line.startswith(("create ", "add ")):
            if wrong := read_line(line.split(), found.sets):
                raise DocumentError([Problem(wrong, where=where)])
        elif line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":") and table == "filter":
            _declare(line, where, found)
        elif line.startswith(("-A ", "[")) and table == "filter":
            _rule(line, where, found)
        elif line.startswith(("-A ", "[")):
            found.lost.append(Problem(f"table {table}: it is not carried over", where=where, hint=_OTHER.get(table, _MAY_DIFFER)))
        elif not line.startswith(":") and line.strip() != "COMMIT":
            raise DocumentError([Problem("this is not what iptables-save prints", where=where)])


_MAY_DIFFER = "packets may fare otherwise than before"
_OTHER = {"nat": "the cube does not work beside the kernel's NAT where rules ask for connections: see docs/services/iptables.md"}


def _declare(line: str, where: Position, found: _Filter) -> None:
    name, policy, *_ = [*line[1:].split(), "-"]
    if is_taken(name):
        found.renamed[name] = f"{name}-chain"
        said = f"chain {name} is called {name}-chain here: words are the same in capitals and without"
        found.lost.append(Problem(said, where=where, severity="warning"))
        name = found.renamed[name]
    default = {"default": policy} if name in BUILT_IN else {}
    if name in found.chains:
        raise DocumentError([Problem(f"chain {name} is there twice", where=where)])
    found.chains[name] = {"name": name, **default, "rule": []}


def _rule(line: str, where: Position, found: _Filter) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise DocumentError([Problem(f"this line does not end: {error}", where=where)]) from None
    if words[0].startswith("["):  # counters, of iptables-save -c
        words = words[1:]
    names = {place + 1 for place, word in enumerate(words) if word in ("-A", "-j", "--jump")}
    words = [found.renamed.get(word, word) if place in names else word for place, word in enumerate(words)]
    if words[:1] != ["-A"] or len(words) < 2 or words[1] not in found.chains:
        raise DocumentError([Problem("a rule begins with -A and a chain that is declared above", where=where)])
    if not {"-j", "--jump", "-g", "--goto"} & set(words):
        said = "a rule without a target only counts, and is left out"
        found.lost.append(Problem(said, where=where, severity="warning"))
        return
    try:
        rules = read_rule(words[2:])
        _name_sets(rules, found)
    except Refused as error:
        found.lost.append(Problem(str(error), where=where, hint=f"the rule is left out, so {_MAY_DIFFER}"))
        return
    entries = found.chains[words[1]]["rule"]
    for rule in rules:
        entries.append({"id": len(entries), **rule})


def _name_sets(rules: Sequence[Leaves], found: _Filter) -> None:
    """Raises Refused for a set that is not there, or cannot be."""
    for name in {rule[leaf].removeprefix("!") for rule in rules for leaf in ("src-set", "dst-set") if leaf in rule}:
        known = found.sets.get(name)
        if name != OWN and (known is None or known.unsaid):
            why = known.unsaid if known is not None else f"set {name} is not in the file: print what `ipset save` says into it"
            raise Refused(f"--match-set {name}: {why}")
        if known is not None and known.fades and name not in found.used:
            found.lost.append(Problem(f"some entries of set {name} go by themselves, and stay here", severity="warning"))
        found.used.add(name)


def _sets(found: _Filter) -> dict[str, Any]:
    own = [{"name": OWN, "own-addresses": True}] if OWN in found.used else []
    named = [{"name": name, "prefix": found.sets[name].written} for name in sorted(found.used - {OWN})]
    return {"set": own + named} if own or named else {}


def _nowhere(chains: Mapping[str, Leaves]) -> Iterator[Problem]:
    """Also removes rules that jump to chains which do not exist."""
    for chain in chains.values():
        bad = [rule for rule in chain["rule"] if rule["action"] not in ACTIONS and rule["action"] not in chains]
        for rule in bad:
            said = f"{chain['name']}: target {rule['action']} is not there"
            yield Problem(said, hint=f"the rule is left out, so {_MAY_DIFFER}")
        chain["rule"] = [{**rule, "id": number} for number, rule in enumerate(each for each in chain["rule"] if each not in bad)]
