"""Whole courses of connections through the firewall and through Linux's own connection tracking, in the same run: each packet is taken
for the same by both. Courses are made at random, from both ends: TCP with and without options, windows that are kept and not, resets that
are right, near and far, what is repeated, late, early and out of order; UDP; ICMP's questions and answers.
"""
from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.lib.conntrack_lab import STATES, Conntrack, Sent, mark
from tests.services.firewall.frames import summed
from tests.services.firewall.lab import FirewallLab
from tests.services.firewall.machine import Machine
from tests.services.firewall.sequences import CLIENT, SERVER, course

COURSES = 150
RULES = [{"id": number + 1, "conntrack": state, "action": "ACCEPT"} for number, state in enumerate(STATES)]
CONFIG: dict[str, Any] = {"chain": [{"name": name, "default": "DROP", "rule": RULES} for name in ("INGRESS", "EGRESS")]}


@pytest.fixture(params=["TC", "XDP_DRV"])
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["OFF", "ON"], ids=["by-rules", "established-first"])
def machine(request: pytest.FixtureRequest, hook: str) -> Iterator[Machine]:
    """With `accept-established`, most segments of a connection that works take a shorter way."""
    with FirewallLab(hook=hook) as lab:
        lab.chain("INGRESS", {"action": "REJECT"})
        lab.apply()
        with Machine(lab, "fw") as made:
            made.lab = lab  # type: ignore[attr-defined]
            made.load({**CONFIG, "accept-established": request.param})
            yield made


def marked(family: int, frame: bytes, number: int) -> bytes:
    """With a mark, and checksums that are right."""
    l3, l4 = 14, 34 if family == 4 else 54
    proto = frame[l3 + 9] if family == 4 else frame[l3 + 6]
    ends = (frame[26:30], frame[30:34]) if family == 4 else (frame[22:38], frame[38:54])
    body = frame[l4:-4] + mark(number)
    return frame[:l4] + summed(family, proto, *(int.from_bytes(end, "big") for end in ends), body)


def of_pcn(machine: Machine, sent: Sequence[Sent]) -> list[str]:
    """By the counters of the rules, or of what was accepted as established before them: each packet moves one."""
    found, before = [], machine.hits()
    for forwards, frame in sent:
        chain = "INGRESS" if forwards else "EGRESS"
        machine.run(chain, frame)
        after = machine.hits()
        moved = [rule for (name, rule), count in after.items() if name == chain and count > before[name, rule] and rule != "default"]
        found.append("".join(STATES[int(rule) - 1] if rule.isdigit() else rule.upper() for rule in moved))
        before = after
    return found


def differences(machine: Machine, family: int, seed: int, courses: int) -> list[str]:
    rng, sent, starts = random.Random(seed), [], []
    for number in range(courses):
        starts.append(len(sent))
        sent += course(rng, family, 2000 + number)
    sent = [(way, marked(family, frame, number)) for number, (way, frame) in enumerate(sent)]
    linux = Conntrack(machine.lab.world, family, [(CLIENT[family],), (SERVER[family],)])  # type: ignore[attr-defined]
    machine.forget()
    wanted, found = linux.told(sent), of_pcn(machine, sent)
    assert {"NEW", "ESTABLISHED", "INVALID"} <= set(wanted), "or nothing is compared"
    wrong = []
    for start, end in zip(starts, [*starts[1:], len(sent)], strict=True):
        if wanted[start:end] != found[start:end]:
            lines = (f"  {'>' if way else '<'} {a or '-':11} {b or '-':11} {frame[34 if family == 4 else 54:].hex()[:120]}"
                     for (way, frame), a, b in zip(sent[start:end], wanted[start:end], found[start:end], strict=True))  # fmt: skip
            wrong.append(f"course {starts.index(start)} (Linux, pcn):\n" + "\n".join(lines))
    return wrong


@pytest.mark.parametrize("family", [4, 6])
def test_each_packet_of_a_course_is_taken_for_what_it_is_to_linux(machine: Machine, family: int) -> None:
    seed = int(os.environ.get("PCN_SEED", "14"))
    print(f"PCN_SEED={seed}")  # noqa: T201 - pytest shows it of a test that fails
    wrong = differences(machine, family, seed, COURSES)
    assert not wrong, f"{len(wrong)} of {COURSES} courses\n" + "\n".join(wrong[:4])


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", [4, 6])
def test_each_packet_of_many_courses_is_taken_for_what_it_is_to_linux(machine: Machine, family: int) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"PCN_SEED={seed}")  # noqa: T201 - pytest shows it of a test that fails
    wrong = differences(machine, family, seed, 10 * COURSES)
    assert not wrong, f"{len(wrong)} courses\n" + "\n".join(wrong[:4])
