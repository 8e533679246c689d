"""The arguments of pcn-iptables, which are iptables'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cubes.iptables.arguments import checked, read_option
from cubes.iptables.spoken import Leaves, Refused, Spoken, Words


@dataclass(slots=True)
class Asked:
    """`command` is a letter, as of -A; `number` a rule's, from 1 on; `name` a policy, or a chain's new name."""

    command: str = ""
    chain: str = ""
    number: int | None = None
    name: str = ""
    rules: Sequence[Leaves] = ()
    verbose: bool = False
    numbers: bool = False


_COMMANDS = {
    "--append": "A", "--insert": "I", "--delete": "D", "--replace": "R", "--check": "C", "--policy": "P", "--flush": "F",
    "--list-rules": "S", "--list": "L", "--new-chain": "N", "--new": "N", "--delete-chain": "X", "--rename-chain": "E",
    "--rename": "E",
}  # fmt: skip
_OPTIONAL_CHAIN = "FSLX"
_IGNORED = frozenset({"-n", "--numeric", "-4", "--ipv4", "-x", "--exact"})
_NOT_THERE = {
    "-Z": "counters: use 'pcn action pcn-iptables chain/reset-counters'",
    "--zero": "counters: use 'pcn action pcn-iptables chain/reset-counters'",
    "-6": "iptables is for IPv4",
    "--ipv6": "iptables is for IPv4",
}


def read_command(words: Sequence[str]) -> Asked:
    """Raises Refused."""
    asked, spoken, left = Asked(), Spoken(), Words(_apart(words))
    inverted = False
    for word in left:
        if word == "!":
            inverted = True
            continue
        if not _read_general(word, asked, left) and not read_option(word, inverted, left, spoken):
            raise Refused(f"unknown option {word}" if word.startswith("-") else f"{word}: it belongs to no option")
        inverted = False
    if not asked.command:
        raise Refused("say what to do: -A, -I, -D, -R, -C, -P, -F, -S, -L, -N, -X or -E")
    if asked.command in "AIRC" or (asked.command == "D" and asked.number is None):
        asked.rules = checked(spoken)
        if asked.command == "R" and len(asked.rules) != 1:
            raise Refused("-R: it puts one rule in the place of one")
    elif spoken.leaves or spoken.sources or spoken.targets:
        raise Refused(f"-{asked.command} takes no rule")
    return asked


def _apart(words: Sequence[str]) -> list[str]:
    """Splits -nvL into -n -v -L, and -ptcp into -p tcp; -p=tcp stays as it is."""
    found: list[str] = []
    for word in words:
        if word.startswith("-") and not word.startswith("--") and len(word) > 2 and set(word[1:]) <= set("nvxLSF"):
            found += [f"-{letter}" for letter in word[1:]]
        elif word[:2] in ("-s", "-d", "-p", "-i", "-o", "-j", "-m") and len(word) > 2:
            found += [word[:2], word[2:]]
        else:
            found.append(word)
    return found


def _read_general(word: str, asked: Asked, left: Words) -> bool:
    if word in _NOT_THERE:
        raise Refused(f"{word}: {_NOT_THERE[word]}")
    if word in ("-t", "--table"):
        name = left.value(word)
        if name != "filter":
            raise Refused(f"-t {name}: there is the table filter alone")
    elif word in ("-w", "--wait", "-W", "--wait-interval"):
        if (left.follows() or "").isdigit():
            left.value(word)
    elif word in ("-v", "--verbose"):
        asked.verbose = True
    elif word == "--line-numbers":
        asked.numbers = True
    elif word not in _IGNORED:
        letter = _COMMANDS.get(word, word[1:] if len(word) == 2 and word[0] == "-" else "")
        if letter not in _COMMANDS.values():
            return False
        if asked.command:
            raise Refused(f"{word}: one command at a time, and -{asked.command} is one")
        _read_chain(letter, asked, left)
    return True


def _read_chain(letter: str, asked: Asked, left: Words) -> None:
    """What belongs to a command: its chain, and a number or a name."""
    asked.command = letter
    chain = left.follows()
    if chain is None and letter not in _OPTIONAL_CHAIN:
        raise Refused(f"-{letter} needs a chain")
    if chain is not None:
        asked.chain = left.value(letter)
    follows = left.follows()
    if letter in "IDRSL" and follows is not None:
        number = left.value(letter)
        if not number.isdigit() or int(number) < 1:
            raise Refused(f"-{letter} {asked.chain} {number}: a rule's number is 1 or more")
        asked.number = int(number)
    elif letter == "R":
        raise Refused("-R needs a rule's number")
    if letter in "PE":
        asked.name = left.value(f"-{letter} {asked.chain}")
