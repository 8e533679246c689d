"""Interprets one rule of an iptables-save: which packets it matches, and its action.

A condition that the firewall does not support marks a rule's cases as unsure and is listed in `unsaid`; `expand` ensures that
such a rule never accepts. Invalid values are problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from cubes.firewall.iptables import named
from cubes.firewall.iptables.address_box import (
    EVERYTHING,
    AddressBox,
    Case,
    Network,
    other_flags,
    other_networks,
    other_spans,
    product,
)
from cubes.firewall.iptables.icmp import messages_of
from cubes.firewall.iptables.known import Known
from cubes.firewall.iptables.lexer import (
    HARMLESS,
    MATCHES,
    Misread,
    flags_of,
    is_option,
    network_of,
    ports_of,
    protocol_of,
    range_of,
    rate_of,
)  # fmt: skip
from cubes.firewall.iptables.parser import Line, Word
from cubes.firewall.rules import WITH_PORTS
from reconciler.service.sdk import Position, Problem

_MOST_BOXES = 64
VERDICTS = ("ACCEPT", "DROP", "REJECT")
_ANSWERS = {
    **dict.fromkeys(("icmp-port-unreachable", "icmp6-port-unreachable", "port-unreach", "tcp-reset", "tcp-rst"), ""),
    **dict.fromkeys(("icmp-net-unreachable", "net-unreach", "icmp6-no-route", "no-route"), "NO_ROUTE"),
    **dict.fromkeys(("icmp-host-unreachable", "host-unreach", "icmp6-addr-unreachable", "addr-unreach"), "HOST_UNREACHABLE"),
    **dict.fromkeys(("icmp-admin-prohibited", "admin-prohib", "icmp6-adm-prohibited", "adm-prohibited"), "ADMIN_PROHIBITED"),
    **dict.fromkeys(("icmp-net-prohibited", "net-prohib"), "NET_PROHIBITED"),
    **dict.fromkeys(("icmp-host-prohibited", "host-prohib"), "HOST_PROHIBITED"),
    **dict.fromkeys(("icmp-proto-unreachable", "proto-unreach"), "PROTOCOL_UNREACHABLE"),
}
"""`reject-with` of iptables and its short forms as ours; '' is the default of REJECT."""


@dataclass(slots=True, eq=False)
class Rule:
    """`action`: a verdict, LOG, RETURN, 'jump' or 'goto' (to `target`), 'none', or 'refuse' for an unsupported one. Packets
    of a box of `unless` are excluded. `limit` is how often it matches, and its burst (`limited_by` is its text); `prefix`
    belongs to a LOG, `answer` to a REJECT. `unsaid` are conditions, with their positions, that `cases` do not express."""

    where: Position
    cases: tuple[Case, ...] = ()
    unless: tuple[AddressBox, ...] = ()
    action: str = "none"
    target: str = ""
    came_by: tuple[str, bool] | None = None
    leaves_by: tuple[str, bool] | None = None
    comment: str = ""
    prefix: str = ""
    answer: str = ""
    limit: tuple[str, int] | None = None
    limited_by: list[Word] = field(default_factory=list)
    unsaid: list[Word] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def read_rule(line: Line, family: int, chains: Iterable[str], known: Known) -> Rule:
    """Raises Misread. `chains` are those that can be jumped to."""
    reader = RuleParser(line, family, frozenset(chains), known)
    reader.read()
    return reader.finished()


class RuleParser:
    def __init__(self, line: Line, family: int, chains: frozenset[str], known: Known) -> None:
        self.line, self.family, self.chains, self.known = line, family, chains, known
        self.limits: list[tuple[Word, Word]] = []
        self.burst = 5
        self.rule = Rule(line.where)
        self.choices: list[Sequence[Case]] = []
        self.proto: int | None = None
        self.ports: list[Word] = []
        self.negations: list[tuple[list[AddressBox], list[AddressBox]]] = []
        self.at = 0

    def read(self) -> None:
        words = self.line.words
        while self.at < len(words):
            negated = words[self.at].text == "!" and not words[self.at].quoted
            self.at += negated
            if self.at == len(words):
                raise Misread("nothing follows this '!'", words[-1])
            option = words[self.at]
            self.at += 1
            if option.quoted or not option.text.startswith("-"):
                raise Misread(f"{option.text!r} belongs to nothing before it", option)
            self._option(option, negated)

    def _option(self, option: Word, negated: bool) -> None:
        if option.text in _CONDITIONS:
            _CONDITIONS[option.text](self, option, negated)
        elif option.text in _OTHERS and negated:
            raise Misread(f"'!' makes no sense before {option.text}", option)
        elif option.text in _OTHERS:
            _OTHERS[option.text](self, option)
        else:
            self._skip_values()
            self.rule.unsaid.append(option)

    def value(self, option: Word) -> Word:
        if self.at >= len(self.line.words):
            raise Misread(f"{option.text} has no value", option)
        self.at += 1
        return self.line.words[self.at - 1]

    def _skip_values(self) -> None:
        words = self.line.words
        while self.at < len(words) and (words[self.at].quoted or not is_option(words[self.at :])):
            self.at += 1

    def either(self, some: Iterable[AddressBox], others: Iterable[AddressBox], negated: bool) -> None:
        """A condition: these boxes or, negated, the others."""
        if negated:
            self.negations.append((list(some), list(others)))
        else:
            self.choices.append([Case(box) for box in some])

    def _resolve_negations(self) -> None:
        """As the boxes of the complement, or as exclusions (`unless`), whichever results in fewer rules."""
        room = _MOST_BOXES if self.rule.action in (*VERDICTS, "LOG", "refuse") else 1
        for some, others in sorted(self.negations, key=lambda both: len(both[1])):
            if len(others) <= room:
                self.choices.append([Case(box) for box in others])
                room //= max(1, len(others))
            else:
                self.rule.unless += tuple(some)

    def finished(self) -> Rule:
        rule = self.rule
        if self.limits and rule.action in (*VERDICTS, "LOG", "RETURN") and not rule.unsaid:
            rule.limit = rate_of(self.limits[-1][1]), self.burst
            rule.limited_by = [option for option, _ in self.limits]
        elif self.limits:
            rule.unsaid += [option for option, _ in self.limits]
        self._resolve_negations()
        cases = product(self.choices)
        if self.ports and self.proto not in WITH_PORTS:
            rule.unsaid += self.ports
            rule.unless = tuple(box for box in rule.unless if box == _without_ports(box))
            cases = tuple(dict.fromkeys(Case(_without_ports(case.box), case.sure) for case in cases))
        rule.cases = tuple(Case(case.box, sure=False) for case in cases) if rule.unsaid else cases
        return rule

    # -- options ----------------------------------------------------------------------------------------------------

    def protocol(self, option: Word, negated: bool) -> None:
        word = self.value(option)
        number = protocol_of(word)
        if negated:
            self.rule.unless += (AddressBox(proto=number),)
        elif number:
            self.proto = number
            self.either([AddressBox(proto=number)], (), negated=False)

    def address(self, option: Word, negated: bool) -> None:
        word = self.value(option)
        networks = [network_of(text, word, self.family) for text in word.text.split(",")]
        if None in networks:
            self.rule.unsaid.append(option)
            return
        self.networks(_is_source(option), [network for network in networks if network is not None], negated)

    def address_range(self, option: Word, negated: bool) -> None:
        word = self.value(option)
        networks = range_of(word, self.family)
        self.networks(_is_source(option), networks, negated)

    def networks(self, source: bool, networks: list[Network], negated: bool) -> None:
        some, others = networks, other_networks(networks)
        if source:
            self.either([AddressBox(src=network) for network in some], [AddressBox(src=network) for network in others], negated)
        else:
            self.either([AddressBox(dst=network) for network in some], [AddressBox(dst=network) for network in others], negated)

    def device(self, option: Word, negated: bool) -> None:
        said = (self.value(option).text, negated)
        if option.text in ("-i", "--in-interface"):
            self.rule.came_by = said
        else:
            self.rule.leaves_by = said

    def port(self, option: Word, negated: bool) -> None:
        word = self.value(option)
        self.ports.append(option)
        spans = [ports_of(text, word) for text in word.text.split(",")]
        others = list(other_spans(spans))
        if option.text in ("--ports", "--port"):
            some = [AddressBox(sport=span) for span in spans] + [
                AddressBox(sport=one, dport=two) for one in others for two in spans
            ]
            self.either(some, [AddressBox(sport=one, dport=two) for one in others for two in others], negated)
        elif _is_source(option):
            self.either([AddressBox(sport=span) for span in spans], [AddressBox(sport=span) for span in others], negated)
        else:
            self.either([AddressBox(dport=span) for span in spans], [AddressBox(dport=span) for span in others], negated)

    def tcp_flags(self, option: Word, negated: bool) -> None:
        if option.text == "--syn":
            mask, value = 0b10111, 0b10
        else:
            mask, value = (flags_of(self.value(option)) for _ in range(2))
        if value & ~mask:  # it asks for a flag that it does not look at
            self.either([], [EVERYTHING], negated)
        else:
            self.either(
                [AddressBox(flags=(mask, value))], [AddressBox(flags=flags) for flags in other_flags(mask, value)], negated
            )

    def icmp_type(self, option: Word, negated: bool) -> None:
        messages = messages_of(self.value(option), self.family)
        if negated:
            self.rule.unless += (messages,)
        else:
            self.choices.append([Case(messages)])

    def limit(self, option: Word) -> None:
        self.limits.append((option, self.value(option)))

    def limit_burst(self, option: Word) -> None:
        self.burst = int(self.value(option).text)

    def match(self, option: Word) -> None:
        name = self.value(option)
        if name.text in ("ah", "esp"):
            number = protocol_of(name)
            self.either([AddressBox(proto=number)], (), negated=False)
            return
        if name.text not in MATCHES:
            self.rule.unsaid.append(Word(f"-m {name.text}", option.where))

    def remark(self, option: Word) -> None:
        text = self.value(option).text
        self.rule.comment = f"{self.rule.comment} {text}".strip()

    def counters(self, option: Word) -> None:
        self.value(option)
        self.value(option)

    def target(self, option: Word) -> None:
        """All that follows belongs to it."""
        name, rest, rule = self.value(option), self.line.words[self.at :], self.rule
        self.at = len(self.line.words)
        for word in rest:
            if word.text in ("-j", "-g", "--jump", "--goto") and not word.quoted:
                raise Misread("a rule has one target", word)
        if name.text in self.chains or option.text in ("-g", "--goto"):
            if name.text not in self.chains:
                raise Misread(f"there is no chain {name.text} to go to", name)
            rule.action, rule.target = ("goto" if option.text in ("-g", "--goto") else "jump"), name.text
        elif name.text in (*VERDICTS, "LOG", "RETURN"):
            rule.action = name.text
            self._said_of_target(name, rest)
        elif name.text in HARMLESS:
            rule.notes.append(_note(f"{name.text} is left out; the next rules are asked, as before", name))
        else:
            rule.action, rule.target = "refuse", name.text
            hint = "--lossy drops what comes here, so that more is refused"
            rule.notes.append(Problem(f"what target {name.text} does cannot be said", where=name.where, hint=hint))

    def _said_of_target(self, name: Word, rest: Sequence[Word]) -> None:
        said = " ".join(word.text for word in rest)
        if name.text == "LOG" and rest:
            self.rule.prefix = next((value.text for word, value in pairwise(rest) if word.text == "--log-prefix"), "")
            left = [word.text for word in rest if word.text.startswith("--") and word.text not in ("--log-prefix", "--log-level")]
            if left:
                self.rule.notes.append(_note(f"a log has a form of its own here; left out: {' '.join(left)}", name))
        elif name.text == "REJECT" and rest and rest[-1].text in _ANSWERS:
            self.rule.answer = _ANSWERS[rest[-1].text]
        elif name.text == "REJECT" and rest:
            said = f"REJECT answers TCP with a reset and all else with 'port unreachable', not {rest[-1].text}"
            self.rule.notes.append(_note(said, name))


def _fragment(reader: RuleParser, option: Word, negated: bool) -> None:
    """With connection tracking, which any rule that matches on a state enables, iptables sees reassembled packets only: the
    condition never holds, and its negation always does."""
    if not negated:
        reader.choices.append([])


_CONDITIONS: dict[str, Callable[[RuleParser, Word, bool], None]] = {
    **dict.fromkeys(("-p", "--protocol"), RuleParser.protocol),
    **dict.fromkeys(("-s", "--source", "--src", "-d", "--destination", "--dst"), RuleParser.address),
    **dict.fromkeys(("-i", "--in-interface", "-o", "--out-interface"), RuleParser.device),
    **dict.fromkeys(("-f", "--fragment"), _fragment),
    **dict.fromkeys(("--sport", "--source-port", "--dport", "--destination-port"), RuleParser.port),
    **dict.fromkeys(("--sports", "--source-ports", "--dports", "--destination-ports", "--ports", "--port"), RuleParser.port),
    **dict.fromkeys(("--tcp-flags", "--syn"), RuleParser.tcp_flags),
    **dict.fromkeys(("--ctstate", "--state"), named.state),
    **dict.fromkeys(("--src-range", "--dst-range"), RuleParser.address_range),
    **dict.fromkeys(("--icmp-type", "--icmpv6-type"), RuleParser.icmp_type),
    **dict.fromkeys(("--src-type", "--dst-type"), named.address_type),
    "--match-set": named.match_set,
    "--mac-source": named.sender,
}
"""Those before which there may be a '!'."""
_OTHERS: dict[str, Callable[[RuleParser, Word], None]] = {
    **dict.fromkeys(("-c", "--set-counters"), RuleParser.counters),
    **dict.fromkeys(("-m", "--match"), RuleParser.match),
    **dict.fromkeys(("-j", "--jump", "-g", "--goto"), RuleParser.target),
    "--comment": RuleParser.remark,
    "--limit": RuleParser.limit,
    "--limit-burst": RuleParser.limit_burst,
}


def _is_source(option: Word) -> bool:
    return option.text in ("-s", "--source", "--src") or option.text.startswith(("--s", "--src"))


def _note(message: str, word: Word) -> Problem:
    return Problem(message, where=word.where, severity="warning")


def _without_ports(box: AddressBox) -> AddressBox:
    return replace(box, sport=None, dport=None)
