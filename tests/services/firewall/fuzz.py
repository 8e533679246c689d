"""The comparison of a firewall's programs with the reference model, on random packets under random rules."""
from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Mapping
from typing import Any

from cubes.firewall.check import problems
from cubes.firewall.rules import PROTOCOLS
from reconciler.service.sdk import Env
from tests.services.firewall.frames import frames
from tests.services.firewall.machine import Machine
from tests.services.firewall.model import Connection, Model
from tests.services.firewall.rulesets import Style, rule_set

SECONDS = 20  # an edit in between may take some more
ALLOWED = {"ACCEPT": {"ACCEPT"}, "DROP": {"DROP"}, "MALFORMED": {"DROP"}, "REJECT": {"DROP", "REJECT"}}
"""What a program may say where the model says this: not every packet that is rejected gets an answer."""


def differences(machine: Machine, seed: float, size: int, packets: int, *, damage: bool = False) -> list[str]:
    """Where the programs and the model disagree about random packets under a random rule set, in words; with `damage`, after
    half of the cells were taken out of the tables. Packets that may be dropped because they are too deep are left out. Raises
    ValueError for a rule set that is refused."""
    rng = random.Random(seed)
    tracked = rng.random() < 0.7
    style = Style(rng)
    config = rule_set(rng, size, tracked=tracked, style=style)
    _refuse(config)
    machine.load(config)
    machine.forget()
    if damage:
        machine.damage()
    model, found = Model(config, machine.lookups()), []
    refused, too_deep = machine.malformed(), machine.too_deep()
    for number, (chain, frame) in enumerate(frames(rng, style, packets)):
        wanted = model.judge(chain, frame, machine.device(chain))
        if wanted == "TOO DEEP":
            continue
        refused += wanted == "MALFORMED"
        verdict = machine.run(chain, frame)
        if verdict not in ALLOWED[wanted]:
            found.append(f"{chain} packet {number} {frame.hex()}: {verdict}, the model says {wanted}")
    if machine.malformed() != refused:
        found.append(f"{machine.malformed() - refused} more are malformed than the model says")
    if machine.too_deep() != too_deep:
        found.append(f"{machine.too_deep() - too_deep} were too deep, of which the model does not say so")
    state = machine.state()
    for chain in state.get("chain", ()):
        for entry in chain["stats"]:
            counter = model.counters[chain["name"], int(entry["id"]) if entry["id"].isdigit() else entry["id"]]
            if (entry["pkts"], entry["bytes"]) != (counter.packets, counter.bytes):
                found.append(f"{chain['name']} {entry}: the model says {counter}")
    found += sorted(_sessions(state) ^ _talks(model.connections))
    settled = {key: talk for key, talk in model.connections.items() if talk.settled}
    differ = sorted(_sessions(machine.state(settled=True)) ^ _talks(settled))
    return found + [f"settled: {talk}" for talk in differ if talk.startswith("TCP ")]  # others settle with time


def differences_as_rules_change(machine: Machine, seed: float, size: int, packets: int, changes: int) -> list[str]:
    """With `policy-rematch`, where they disagree about random packets while rules and sets change. Rules that take long to
    be laid out meet fewer packets: the model has no time, and after 30 s connections are over."""
    rng = random.Random(seed)
    style = Style(rng)
    config = {**rule_set(rng, size, style=style), "accept-established": "ON", "policy-rematch": "ON"}
    for chain in config["chain"]:
        chain["rule"] = [{leaf: value for leaf, value in rule.items() if leaf not in ("smac", "in-interface")} for rule in chain["rule"]]
    _refuse(config)
    machine.load(config)
    machine.forget()
    model, found, began = Model(config, machine.lookups()), [], time.monotonic()
    for number, (chain, frame) in enumerate(frames(rng, style, packets)):
        if time.monotonic() - began > SECONDS:
            return found
        if number and number % (packets // changes) == 0:
            config = _changed(rng, config, style)
            machine.load(config)
            model.change(config)
            model.lookups = machine.lookups()
        wanted = model.judge(chain, frame, machine.device(chain))
        if wanted == "TOO DEEP":
            continue
        verdict = machine.run(chain, frame)
        if verdict not in ALLOWED[wanted]:
            found.append(f"{chain} packet {number} {frame.hex()}: {verdict}, the model says {wanted}")
    return found + sorted(_sessions(machine.state()) ^ _talks(model.connections))


def _changed(rng: random.Random, config: dict[str, Any], style: Style) -> dict[str, Any]:
    """One entry of a set comes or goes, or a rule does, or a rule's action is the other one."""
    if style.sets and rng.random() < 0.5:
        at = rng.randrange(len(config["set"]))
        one = config["set"][at]
        family = rng.choice(style.families)
        entry = str((ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address)(style.address(family)))
        prefixes = [each for each in one["prefix"] if each != entry]
        prefixes = [*prefixes, entry] if len(prefixes) == len(one["prefix"]) else prefixes
        if prefixes and rng.random() < 0.4:
            prefixes = prefixes[1:]
        return {**config, "set": [*config["set"][:at], {**one, "prefix": prefixes}, *config["set"][at + 1 :]]}
    at = rng.randrange(len(config["chain"]))
    chain, kind = config["chain"][at], rng.random()
    rules = list(chain["rule"])
    if kind < 0.3 or not rules:
        chain = {**chain, "default": rng.choice([each for each in ("ACCEPT", "DROP") if each != chain["default"]])}
    elif kind < 0.6:
        del rules[rng.randrange(len(rules))]
    else:
        place = rng.randrange(len(rules))
        rule = {leaf: value for leaf, value in rules[place].items() if leaf != "reject-with"}
        rules[place] = {**rule, "action": rng.choice([each for each in ("ACCEPT", "DROP") if each != rule["action"]])}
    return {**config, "chain": [*config["chain"][:at], {**chain, "rule": rules}, *config["chain"][at + 1 :]]}


def _refuse(config: dict[str, Any]) -> None:
    """What `pcn validate` has something against is never in the kernel."""
    for where, sentence, severity in problems(config, Env(cube="fuzz")):
        if severity == "error":
            raise ValueError(f"{'/'.join(map(str, where))}: {sentence}")


_NAMES = {number: name for name, number in PROTOCOLS.items()}


def _sessions(state: dict[str, Any]) -> set[str]:
    return {
        f"{s['l4proto']} {s['src']} {s['sport']} {s['dst']} {s['dport']} {s['state']}" for s in state["session-table"]
    }  # fmt: skip


def _talks(connections: Mapping[Any, Connection]) -> set[str]:
    found = set()
    for (proto, ends), talk in connections.items():
        src, sport = talk.opener
        dst, dport = next((end for end in ends if end != talk.opener), talk.opener)
        state = {"ANSWERED": "ESTABLISHED"}.get(talk.state, talk.state)
        found.add(f"{_NAMES.get(proto, proto)} {src} {sport} {dst} {dport} {state}")
    return found
