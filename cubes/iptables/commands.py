"""pcn-iptables, -init and -clean: iptables' command lines as edits of a document with one cube at all netdevs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cubes.iptables.arguments import OWN
from cubes.iptables.command_line import Asked, read_command
from cubes.iptables.listing import Counts, saved, table
from cubes.iptables.rules import ACTIONS, BUILT_IN, is_taken
from cubes.iptables.spoken import Leaves, Refused
from reconciler.service.sdk import Command, CommandCall, CommandDone, UsageError

CUBE = TOPOLOGY = "pcn-iptables"
FAILED = 2  # as iptables ends for an argument that it does not take
EMPTY: Leaves = {
    "name": CUBE, "service-name": "iptables", "type": "TC", "set": [{"name": OWN, "own-addresses": True}],
    "chain": [{"name": name, "default": "ACCEPT"} for name in BUILT_IN],
}  # fmt: skip
ATTACHMENTS = [{"netdevs": "all", "tcubes": [CUBE]}, {"netdev": "lo", "tcubes": [CUBE]}]


# -- what comes of it -------------------------------------------------------------------------------------------------


class _Failed(Exception):
    """Like iptables' exit code 1: the request is valid, and cannot be done."""


def run(call: CommandCall) -> CommandDone:
    """pcn-iptables."""
    try:
        asked = read_command(call.words)
    except Refused as error:
        raise UsageError(str(error)) from None
    cube = _cube(call.document)
    if cube is None:
        raise UsageError("there is no firewall: pcn-iptables-init makes it")
    chains: Sequence[Leaves] = cube.get("chain", ())
    try:
        if asked.command in "SLC":
            return _answer(asked, chains, call)
        return CommandDone(_DO[asked.command](asked, chains, call))
    except _Failed as error:
        return CommandDone(output=f"pcn-iptables: {error}\n", code=1)


def _cube(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((cube for cube in document["spec"].get("cubes", ()) if cube["name"] == CUBE), None)


def _chain(asked: Asked, chains: Sequence[Leaves], name: str | None = None) -> Leaves:
    wanted = asked.chain if name is None else name
    found = next((chain for chain in chains if chain["name"] == wanted), None)
    if found is None:
        raise _Failed(f"there is no chain {wanted}")
    return found


def _answer(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> CommandDone:
    if asked.chain:
        _chain(asked, chains)
    wanted = asked.chain or None
    if asked.command == "C":
        rules = _chain(asked, chains).get("rule", ())
        missing = any(not any(_same(rule, wanted_rule) for rule in rules) for wanted_rule in asked.rules)
        return CommandDone(output="pcn-iptables: there is no such rule\n" if missing else "", code=int(missing))
    if asked.command == "S":
        lines = saved(chains, wanted, asked.number)
    else:
        counts = _counts(call.state(CUBE)) if asked.verbose else {}
        lines = table(chains, wanted, counts, verbose=asked.verbose, numbers=asked.numbers)
    return CommandDone(output="".join(f"{line}\n" for line in lines))


def _counts(state: Mapping[str, Any]) -> Counts:
    return {
        chain["name"]: {each["id"]: (int(each["pkts"]), int(each["bytes"])) for each in chain.get("stats", ())}
        for chain in state.get("chain", ())
    }


def _same(rule: Leaves, other: Leaves) -> bool:
    """Whether a rule of the document, where defaults may be omitted, is the one that was spoken."""
    return {"action": "ACCEPT"} | {name: value for name, value in rule.items() if name != "id"} == dict(other)


def _targets(asked: Asked, chains: Sequence[Leaves]) -> None:
    for rule in asked.rules:
        target = rule["action"]
        if target not in ACTIONS and all(chain["name"] != target for chain in chains):
            raise _Failed(f"-j {target}: there is no such chain, and no such target; targets are {', '.join(ACTIONS)}")
        if target in BUILT_IN:
            raise _Failed(f"-j {target}: no rule leads to {target}")


def _append(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    _chain(asked, chains)
    _targets(asked, chains)
    document = call.document
    for rule in asked.rules:
        document = call.edit(document, _path(asked.chain), "append", dict(rule), "rule")
    return document


def _insert(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    rules = _chain(asked, chains).get("rule", ())
    _targets(asked, chains)
    place = (asked.number or 1) - 1
    if place > len(rules):
        raise _Failed(f"-I {asked.chain} {asked.number}: the chain has {len(rules)} rules")
    document = call.document
    for rule in reversed(asked.rules) if place == len(rules) else asked.rules:
        now = _rules(document, asked.chain)
        number = now[place]["id"] if place < len(now) else now[-1]["id"] + 1 if now else 0
        document = call.edit(document, _path(asked.chain), "insert", {"id": number, **rule}, "rule")
    return document


def _delete(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    _chain(asked, chains)
    document = call.document
    if asked.number is not None:
        return _removed(call, document, asked.chain, _numbered(asked, chains)["id"])
    for wanted in asked.rules:
        found = next((rule for rule in _rules(document, asked.chain) if _same(rule, wanted)), None)
        if found is None:
            raise _Failed(f"there is no such rule in {asked.chain}")
        document = _removed(call, document, asked.chain, found["id"])
    return document


def _removed(call: CommandCall, document: Any, chain: str, number: int) -> Any:
    return call.edit(document, _path(chain), "remove", {"id": number}, "rule")


def _numbered(asked: Asked, chains: Sequence[Leaves]) -> Leaves:
    """The rule that a number means."""
    rules = _chain(asked, chains).get("rule", ())
    if asked.number is None or asked.number > len(rules):
        raise _Failed(f"{asked.chain} has {len(rules)} rules, and no rule {asked.number}")
    found: Leaves = rules[asked.number - 1]
    return found


def _rules(document: Mapping[str, Any], chain: str) -> Sequence[Leaves]:
    cube = _cube(document) or {}
    found: Sequence[Leaves] = next((each.get("rule", ()) for each in cube.get("chain", ()) if each["name"] == chain), ())
    return found


def _replace(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    _targets(asked, chains)
    number = _numbered(asked, chains)["id"]
    return call.edit(call.document, f"{_path(asked.chain)}/rule/{number}", "replace", dict(asked.rules[0]))


def _policy(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    if asked.chain not in BUILT_IN:
        raise _Failed(f"-P {asked.chain}: only {', '.join(BUILT_IN)} have a policy")
    if asked.name not in ("ACCEPT", "DROP"):
        raise _Failed(f"-P {asked.chain} {asked.name}: a policy is ACCEPT or DROP")
    return call.edit(call.document, _path(asked.chain), "merge", {"default": asked.name})


def _flush(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    document = call.document
    for chain in [_chain(asked, chains)] if asked.chain else chains:
        if chain.get("rule"):
            document = call.edit(document, f"{_path(chain['name'])}/rule", "replace", [])
    return document


def _new(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    _free(asked.chain, chains)
    return call.edit(call.document, _path(asked.chain), "create", {"name": asked.chain})


def _free(name: str, chains: Sequence[Leaves]) -> None:
    if is_taken(name):
        raise _Failed(f"{name} is a target or a built-in chain, in capitals or without: a chain has another name")
    if any(chain["name"] == name for chain in chains):
        raise _Failed(f"there is a chain {name} already")


def _remove_chains(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    document = call.document
    own = [chain for chain in chains if chain["name"] not in BUILT_IN]
    for chain in [_chain(asked, chains)] if asked.chain else own:
        name = chain["name"]
        if name in BUILT_IN:
            raise _Failed(f"{name} cannot be removed")
        if chain.get("rule"):
            raise _Failed(f"{name} has rules: -F {name} takes them out")
        if any(rule["action"] == name for other in chains for rule in other.get("rule", ()) if "action" in rule):
            raise _Failed(f"rules lead to {name}")
        document = call.edit(document, _path(name), "delete")
    return document


def _rename(asked: Asked, chains: Sequence[Leaves], call: CommandCall) -> Any:
    _chain(asked, chains)
    if asked.chain in BUILT_IN:
        raise _Failed(f"{asked.chain} keeps its name")
    _free(asked.name, chains)

    def renamed(chain: Leaves) -> Leaves:
        rules = [{**rule, "action": asked.name} if rule.get("action") == asked.chain else rule for rule in chain.get("rule", ())]
        return {**chain, "name": asked.name if chain["name"] == asked.chain else chain["name"], "rule": rules}

    return call.edit(call.document, f"{CUBE}/chain", "replace", [renamed(chain) for chain in chains])


def _path(chain: str) -> str:
    return f"{CUBE}/chain/{chain}"


_DO: Mapping[str, Callable[[Asked, Sequence[Leaves], CommandCall], Any]] = {
    "A": _append, "I": _insert, "D": _delete, "R": _replace, "P": _policy, "F": _flush, "N": _new, "X": _remove_chains,
    "E": _rename,
}  # fmt: skip


# -- making and removing it -------------------------------------------------------------------------------------------


def init(call: CommandCall) -> CommandDone:
    """pcn-iptables-init: the cube, with nothing but the policy ACCEPT, at all netdevs. One that is there stays as it is."""
    _no_words(call)
    if _cube(call.document) is not None:
        return CommandDone()
    document = call.edit(call.document, CUBE, "create", EMPTY)
    return CommandDone({**document, "spec": {**document["spec"], "attachments": ATTACHMENTS}})


def clean(call: CommandCall) -> CommandDone:
    """pcn-iptables-clean: removes the cube, with all rules."""
    _no_words(call)
    return CommandDone(call.edit(call.document, CUBE, "delete") if _cube(call.document) is not None else None)


def _no_words(call: CommandCall) -> None:
    if call.words:
        raise UsageError(f"it takes no arguments, and here is {call.words[0]}")


COMMANDS = {
    "pcn-iptables": Command("iptables' command lines for a firewall that is a cube", TOPOLOGY, run, FAILED),
    "pcn-iptables-init": Command("put a firewall on all netdevs of the host", TOPOLOGY, init, FAILED),
    "pcn-iptables-clean": Command("take it away again", TOPOLOGY, clean, FAILED),
}
