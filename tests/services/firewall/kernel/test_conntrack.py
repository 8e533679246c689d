"""The states of the firewall's packets against those of Linux's own connection tracking, in the same run.

Every combination of TCP's flags in every state of a connection, from both ends; every ICMP error about both directions of a
connection, to both ends and to others; wrong checksums and lengths.
"""
from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.lib.conntrack_lab import STATES, Conntrack, Sent, mark
from tests.lib.packets import checksum
from tests.services.firewall.frames import ipv4, ipv6
from tests.services.firewall.lab import FirewallLab
from tests.services.firewall.machine import Machine

CLIENT, SERVER, OTHERS = {4: "10.1.0.1", 6: "fd01::1"}, {4: "10.2.0.1", 6: "fd02::1"}, {4: ("10.1.0.7", "10.2.0.7"), 6: ("fd01::7", "fd02::7")}
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
COURSE = [  # (from the client, flags), each after the one before
    ("SYN_SENT", True, SYN), ("SYN_RECV", False, SYN | ACK), ("ESTABLISHED", True, ACK), ("FIN_WAIT", True, FIN | ACK),
    ("CLOSE_WAIT", False, ACK), ("LAST_ACK", False, FIN | ACK), ("TIME_WAIT", True, ACK),
]  # fmt: skip
REACHED = ("NONE", *(name for name, *_ in COURSE), "CLOSED")

def packed(family: int, address: str) -> int:
    return int(ipaddress.ip_address(address))


def packet(family: int, proto: int, src: str, dst: str, body: bytes) -> bytes:
    head = bytes.fromhex("020000000099020000000098") + (b"\x08\x00" if family == 4 else b"\x86\xdd")
    ends = packed(family, src), packed(family, dst)
    return head + (ipv4(proto, *ends, body, None) if family == 4 else ipv6(proto, *ends, body, None))


class Ends:
    """What both ends of a TCP connection have said, so that what they say next is what the other expects."""

    def __init__(self, family: int, port: int) -> None:
        self.family, self.port, self.next = family, port, {True: 1000, False: 5000}

    def segment(self, forwards: bool, flags: int, number: int = 0) -> Sent:
        ports = (self.port, 80) if forwards else (80, self.port)
        ack = self.next[not forwards] if flags & ACK else 0
        body = struct.pack("!HHIIBBHHH", *ports, self.next[forwards], ack, 0x50, flags, 4096, 0, 0) + (mark(number) if number else b"")
        ends = (CLIENT[self.family], SERVER[self.family])[:: 1 if forwards else -1]
        self.next[forwards] += bool(flags & (SYN | FIN))
        return forwards, packet(self.family, 6, *ends, body)


def reach(ends: Ends, state: str) -> list[Sent]:
    """What leads to a state."""
    if state == "NONE":
        return []
    if state == "CLOSED":
        return [*reach(ends, "ESTABLISHED"), ends.segment(False, RST | ACK)]
    names = [name for name, *_ in COURSE]
    return [ends.segment(forwards, flags) for _, forwards, flags in COURSE[: names.index(state) + 1]]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with FirewallLab() as lab:
        lab.chain("INGRESS", {"action": "REJECT"})
        lab.apply()
        with Machine(lab, "fw") as made:
            made.lab = lab  # type: ignore[attr-defined]
            yield made


def of_pcn(machine: Machine, before: Sequence[Sent], probes: Sequence[Sent], *, pick_up: str = "ON") -> list[str]:
    """In which states the firewall finds these packets: one state's packets are accepted at a time, and what is dropped changes
    nothing. '': they are malformed."""
    machine.forget()

    def verdict(sent: Sent) -> str:
        return machine.run("INGRESS" if sent[0] else "EGRESS", sent[1])

    machine.load(config("ACCEPT", pick_up=pick_up))
    assert {verdict(sent) for sent in before} <= {"ACCEPT"}
    found, refused = [""] * len(probes), machine.malformed()
    for state in STATES:
        machine.load(config("DROP", {"id": 1, "conntrack": state, "action": "ACCEPT"}, pick_up=pick_up))
        for place, sent in enumerate(probes):
            if not found[place]:
                found[place] = state if verdict(sent) == "ACCEPT" else ""
    return found if machine.malformed() == refused else [each or "malformed" for each in found]


def config(default: str, *rules: dict[str, Any], pick_up: str = "ON") -> dict[str, Any]:
    return {"accept-established": "OFF", "pick-up": pick_up, "chain": [{"name": name, "default": default, "rule": list(rules)} for name in ("INGRESS", "EGRESS")]}


def compared(
    machine: Machine, family: int, rounds: Callable[[int], tuple[Sequence[Sent], Sequence[Sent]]], *, loose: bool = True
) -> list[tuple[str, str]]:
    """(Linux, pcn) of each probe. A wrong checksum is INVALID to pcn as well where no state lets it pass."""
    neighbours = [(CLIENT[family], OTHERS[family][0]), (SERVER[family], OTHERS[family][1])]
    linux = Conntrack(machine.lab.world, family, neighbours, loose=loose)  # type: ignore[attr-defined]
    return list(zip(linux.states(rounds), of_pcn(machine, *rounds(9), pick_up="ON" if loose else "OFF"), strict=True))


@pytest.fixture(params=[4, 6])
def family(request) -> int:
    found: int = request.param
    return found


@pytest.mark.parametrize("loose", [True, False], ids=["loose", "strict"])
def test_every_combination_of_flags_in_every_state_is_what_it_is_to_linux(machine, family, loose):
    cases = [(state, forwards, flags) for state in REACHED for forwards in (True, False) for flags in range(64)]

    def rounds(number: int) -> tuple[list[Sent], list[Sent]]:
        before, probes = [], []
        for place, (state, forwards, flags) in enumerate(cases):
            ends = Ends(family, 2000 + number * len(cases) + place)
            before += reach(ends, state)
            probes.append(ends.segment(forwards, flags, place + 1))
        return before, probes

    found = dict(zip(cases, compared(machine, family, rounds, loose=loose), strict=True))
    differ = {case: states for case, states in found.items() if states[0] != states[1]}
    assert differ == {}
    assert {linux for linux, _ in found.values()} == {"NEW", "ESTABLISHED", "INVALID"}


# -- errors -------------------------------------------------------------------------------------------------------------


def talk(family: int, proto: str, port: int) -> list[Sent]:
    """A question and its answer."""
    ends = (CLIENT[family], SERVER[family])
    if proto == "TCP":
        tcp = Ends(family, port)
        return reach(tcp, "SYN_RECV")
    if proto == "UDP":
        number, bodies = 17, [struct.pack("!HHHH", *ports, 8, 0) for ports in ((port, 53), (53, port))]
    else:
        number = 1 if family == 4 else 58
        bodies = [struct.pack("!BBHHH", kind, 0, 0, port, 1) for kind in ((8, 0) if family == 4 else (128, 129))]
    return [(True, packet(family, number, *ends, bodies[0])), (False, packet(family, number, *ends[::-1], bodies[1]))]


def error(family: int, kind: int, sender: str, target: str, quoted: bytes, number: int) -> bytes:
    body = struct.pack("!BBHI", kind, 0, 0, 0) + quoted + mark(number)
    return packet(family, 1 if family == 4 else 58, sender, target, body)


KINDS = {4: (3, 4, 5, 11, 12), 6: (1, 2, 3, 4, 100, 127)}


def test_an_error_is_related_to_what_it_is_to_linux(machine, family):
    """About either direction of a connection, or about none; from the other end or from somebody on the way; to who sent what is
    quoted, to the other end, or to somebody else."""
    client, server, (near, far) = CLIENT[family], SERVER[family], OTHERS[family]
    cases = [
        (kind, proto, about, forwards, target)
        for kind in KINDS[family] for proto in ("TCP", "UDP", "ICMP") for about in ("question", "answer", "nothing")
        for forwards, target in ((True, server), (True, far), (False, client), (False, near))
    ]  # fmt: skip

    def rounds(number: int) -> tuple[list[Sent], list[Sent]]:
        before, probes = [], []
        for place, (kind, proto, about, forwards, target) in enumerate(cases):
            port = 2000 + number * len(cases) + place
            said = talk(family, proto, port)
            before += said
            quoted = talk(family, proto, port + 20_000)[0][1] if about == "nothing" else said[about == "answer"][1]
            sender = (near, client)[place % 2] if forwards else (far, server)[place % 2]
            probes.append((forwards, error(family, kind, sender, target, quoted[14:], place + 1)))
        return before, probes

    found = dict(zip(cases, compared(machine, family, rounds), strict=True))
    assert {case: states for case, states in found.items() if states[0] != states[1]} == {}
    about = {case[2:]: states[0] for case, states in found.items()}
    assert about["question", False, client] == about["answer", True, server] == "RELATED"
    assert sum(state == "RELATED" for state in about.values()) == 2


def test_an_error_about_a_packet_with_extensions_is_related_as_to_linux(machine):
    """A path's MTU is learned from errors that quote what was sent: a first fragment, or options before the payload."""
    fragment, options, later = bytes([17, 0, 0, 1, 0, 0, 0, 7]), bytes([17, 0, 1, 4, 0, 0, 0, 0]), bytes([17, 0, 1, 1, 0, 0, 0, 7])
    both = bytes([44, 0, 1, 4, 0, 0, 0, 0]) + fragment
    cases = [(44, fragment), (60, options), (60, both), (43, options), (44, later)]

    def rounds(number: int) -> tuple[list[Sent], list[Sent]]:
        before, probes = [], []
        for place, (kind, extensions) in enumerate(cases):
            said = talk(6, "UDP", 2000 + number * len(cases) + place)
            before += said
            quoted = said[0][1][14:]
            quoted = quoted[:6] + bytes([kind]) + quoted[7:40] + extensions + quoted[40:]
            probes.append((False, error(6, 2, OTHERS[6][1], CLIENT[6], quoted, place + 1)))
        return before, probes

    found = compared(machine, 6, rounds)
    assert [linux for linux, _ in found[:4]] == ["RELATED"] * 4
    assert [pcn for _, pcn in found] == [linux for linux, _ in found]


# -- what is damaged ----------------------------------------------------------------------------------------------------


def damaged(frame: bytes, at: int, value: int = 0x5A) -> bytes:
    return frame[:at] + bytes([frame[at] ^ value]) + frame[at + 1 :]


def test_a_wrong_checksum_makes_and_changes_no_connection(machine, family):
    """What begins, ends or answers a connection, and errors about it. Linux looks at all others, too, which would cost too much here."""
    l4 = 34 if family == 4 else 54
    course = [("NONE", True, SYN), ("SYN_SENT", False, SYN | ACK), ("SYN_RECV", True, ACK), ("ESTABLISHED", True, FIN | ACK),
              ("ESTABLISHED", False, RST | ACK), ("FIN_WAIT", False, FIN | ACK), ("TIME_WAIT", True, SYN)]  # fmt: skip

    def rounds(number: int) -> tuple[list[Sent], list[Sent]]:
        before, probes = [], []
        for place, (state, forwards, flags) in enumerate(course):
            for right in (True, False):
                ends = Ends(family, 2000 + 100 * number + 2 * place + right)
                before += reach(ends, state)
                way, frame = ends.segment(forwards, flags, 2 * place + right + 1)
                probes.append((way, frame if right else damaged(frame, l4 + 16)))
        for place, proto in enumerate(("UDP", "ICMP")):
            way, frame = talk(family, proto, 9000 + 100 * number + place)[0]
            frame = damaged(frame, l4 + (6 if proto == "UDP" else 2)) + mark(900 + place)
            probes.append((way, longer(family, frame)))
        said = talk(family, "UDP", 9050 + number)
        before += said
        kind = KINDS[family][0]
        probes.append((False, damaged(error(family, kind, SERVER[family], CLIENT[family], said[0][1][14:], 990), l4 + 2)))
        return before, probes

    found = compared(machine, family, rounds)
    right, wrong = found[: 2 * len(course) : 2], [*found[1 : 2 * len(course) : 2], *found[2 * len(course) :]]
    assert [linux for linux, _ in right] == [pcn for _, pcn in right]
    assert "INVALID" not in {linux for linux, _ in right}
    assert {linux for linux, _ in wrong} == {"INVALID"}
    assert {pcn for _, pcn in wrong} == {""}, "none of the states lets it pass"


def longer(family: int, frame: bytes) -> bytes:
    """Its length says that the last four bytes are part of it, too."""
    at = 16 if family == 4 else 18
    size = struct.unpack_from("!H", frame, at)[0] + 4
    frame = frame[:at] + struct.pack("!H", size) + frame[at + 2 :]
    if family == 4:
        head = frame[14:24] + bytes(2) + frame[26:34]
        frame = frame[:24] + struct.pack("!H", checksum(head)) + frame[26:]
    return frame
