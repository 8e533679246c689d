"""How often a rule matches, and what becomes of what it matches: limits, and the options of targets."""

from __future__ import annotations

from cubes.iptables.details import BURST, UNITS
from cubes.iptables.names import REJECT_WITH, SHORT_ANSWERS
from cubes.iptables.spoken import Reader, Refused, Spoken, Words


def goto(words: Words, _: str, spoken: Spoken, option: str) -> None:
    spoken.leaves |= {"action": words.value(option), "goto": True}


def limit(words: Words, _: str, spoken: Spoken, option: str) -> None:
    said = words.value(option)
    count, slash, unit = said.partition("/")
    units = [each for each in UNITS if slash and unit and each.startswith(unit.lower())] or ([] if slash else ["second"])
    if not count.isdigit() or not 0 < int(count) < 10001 or not units:
        raise Refused(f"{option} {said}: write a number of packets, such as 5/minute (second, minute, hour, day)")
    spoken.leaves["limit"] = in_largest_unit(int(count), units[0])


def in_largest_unit(count: int, unit: str) -> str:
    """As iptables lists it: 120/minute is 2/second. It keeps the time between two packets, in tenths of milliseconds."""
    period = UNITS[unit] // 100_000 // count
    found = ""
    for name, length in reversed(UNITS.items()):
        whole = length // 100_000
        if found and (period > whole or whole // period < whole % period):
            break
        found = f"{whole // period}/{name}"
    return found


def limit_burst(words: Words, _: str, spoken: Spoken, option: str) -> None:
    said = words.value(option)
    if not said.isdigit() or not 0 < int(said) <= 10000:
        raise Refused(f"{option} {said}: write a number of packets, 10000 at most")
    if int(said) != BURST:
        spoken.leaves["limit-burst"] = int(said)


def log_prefix(words: Words, _: str, spoken: Spoken, option: str) -> None:
    said = words.value(option)
    if not 0 < len(said) < 30 or not (said.isascii() and said.isprintable()):
        raise Refused(f"{option} {said}: write 1 to 29 letters, digits, spaces and punctuation of ASCII")
    spoken.leaves["log-prefix"] = said


def log_level(words: Words, _: str, __: Spoken, option: str) -> None:
    words.value(option)  # it is not kept: what is logged has the level INFO


def reject_with(words: Words, _: str, spoken: Spoken, option: str) -> None:
    said = words.value(option)
    answer = REJECT_WITH.get(SHORT_ANSWERS.get(said, said))
    if answer is None:
        raise Refused(f"{option} {said}: answers are {', '.join(REJECT_WITH)}")
    if answer:
        spoken.leaves["reject-with"] = answer


TARGETS: dict[str, Reader] = {
    "--goto": goto,
    "--reject-with": reject_with,
    "--limit": limit,
    "--limit-burst": limit_burst,
    "--log-prefix": log_prefix,
    "--log-level": log_level,
}
