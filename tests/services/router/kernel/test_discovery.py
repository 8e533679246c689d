"""Which ARP packets and neighbour discovery are believed and answered: the same frames go to the router and to Linux, in one run.

RFC 826, 5227; RFC 4861 7.1.1, 7.1.2, 7.2.3, 7.2.5. Of a frame three things are compared: whether it is answered, whether the
neighbour has an entry then, and with which MAC.
"""
from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Callable

import pytest

from tests.lib.linux import Linux
from tests.lib.netns_topology import run_in
from tests.services.router.frames import GATEWAY, SCENARIO, checksum, mac_of, udp
from tests.services.router.lab import RouterLab

ZERO, GROUP, OTHER = bytes(6), b"\x01\x00\x5e\x00\x00\x01", bytes.fromhex("0200000000aa")
BROADCAST = b"\xff" * 6
US4, ASKER4 = "10.0.1.254", "10.0.1.77"
US6, ASKER6 = "fd00::a:0:1:fe", "fd00::a:0:1:4d"
SOLICIT, ADVERTISE, SOURCE_LINK, TARGET_LINK = 135, 136, 1, 2
SOLICITED, OVERRIDE = 0x40, 0x20
Seen = tuple[bool, str]  # answered, the neighbour's MAC


class Bench:
    """The router and Linux, to be asked the same."""

    def __init__(self, lab: RouterLab, linux: Linux) -> None:
        self.lab, self.linux = lab, linux
        self.h1 = mac_of(lab, "h1")
        self.address = ASKER4 if lab.family == 4 else ASKER6

    def forget(self) -> None:
        self.lab.flush("r1", "neighbours")
        self.lab.flush("r1", "questions")
        run_in(self.linux.middle, ["ip", "neigh", "flush", "all"])
        run_in(self.linux.middle, ["ip", "neigh", "del", self.address, "dev", "w1"], check=False)

    def ask_for_it(self) -> None:
        """Both have a packet for the neighbour, and ask."""
        for side in (self.lab, self.linux):
            side.send("h2", self.to_it(side))
        time.sleep(0.05)

    def to_it(self, side: RouterLab | Linux) -> bytes:
        back = udp(self.lab, "10.0.2.1", "10.0.1.77")
        gateway = self.lab.cube("r1")["ports"][1]["mac"]
        return bytes.fromhex(gateway.replace(":", "")) + mac_of(self.lab, "h2") + back[12:]

    def both(self, *frames: bytes) -> dict[str, Seen]:
        return {name: self._sent(side, frames) for name, side in (("pcn", self.lab), ("Linux", self.linux))}

    def _sent(self, side: RouterLab | Linux, frames: tuple[bytes, ...]) -> Seen:
        with side.sniff("h1") as seen:
            side.send("h1", *frames)
            answered = seen.next(0.15, self._is_answer) is not None
        return answered, self._known(side)

    def _is_answer(self, frame: bytes) -> bool:
        if self.lab.family == 4:
            return frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02"
        return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == ADVERTISE

    def _known(self, side: RouterLab | Linux) -> str:
        if isinstance(side, RouterLab):
            return side.neighbours("r1").get(self.address, ("", ""))[1]
        words = run_in(side.middle, ["ip", "neigh", "show", self.address, "dev", "w1"]).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""


@pytest.fixture(params=[(hook, family) for family in (4, 6) for hook in ("TC", "XDP_DRV")], ids=lambda p: f"IPv{p[1]}-{p[0]}")
def bench(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.cube("r1")["ports"][1]["mac"] = "02:00:00:00:02:fe"
        lab.apply()
        leaf = "ip" if family == 4 else "ipv6"
        ports = lab.cube("r1")["ports"]
        addresses = {host: [port[leaf]] for host, port in zip(("h1", "h2"), ports, strict=True)}
        with Linux(lab, "router", addresses, {host: port["mac"] for host, port in zip(("h1", "h2"), ports, strict=True)}) as linux:
            yield Bench(lab, linux)


def arp(bench: Bench, operation: int = 1, *, to: bytes = BROADCAST, mac: bytes = OTHER, sender: str = ASKER4, target: str = US4,
        hardware: int = 1, protocol: int = 0x0800, sizes: tuple[int, int] = (6, 4)) -> bytes:  # fmt: skip
    body = struct.pack("!HHBBH", hardware, protocol, *sizes, operation) + mac + ipaddress.IPv4Address(sender).packed
    return to + bench.h1 + b"\x08\x06" + body + bytes(6) + ipaddress.IPv4Address(target).packed


def nd(bench: Bench, kind: int = SOLICIT, *, source: str = ASKER6, target: str = US6, to: str = "", options: bytes | None = None,
       flags: int = 0, code: int = 0, hops: int = 255, spoil: int = 0, size: int = 0) -> bytes:  # fmt: skip
    """`to`: the IPv6 destination, by default the solicited-node group or the router; `size`: what the header says instead."""
    asked = ipaddress.IPv6Address(target).packed
    group = ipaddress.IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + asked[13:])
    there = ipaddress.IPv6Address(to) if to else group if kind == SOLICIT else ipaddress.IPv6Address(US6)
    here = ipaddress.IPv6Address(source)
    link = bytes([SOURCE_LINK if kind == SOLICIT else TARGET_LINK, 1]) + OTHER
    body = struct.pack("!BBHI", kind, code, 0, flags << 24) + asked + (link if options is None else options)
    check = checksum(here.packed + there.packed + struct.pack("!II", len(body), 58) + body) ^ spoil
    head = struct.pack("!IHBB", 0x60000000, size or len(body), 58, hops) + here.packed + there.packed
    mac = b"\x33\x33" + there.packed[12:] if there.is_multicast else GATEWAY
    return mac + bench.h1 + b"\x86\xdd" + head + body[:2] + struct.pack("!H", check) + body[4:]


def options(*each: bytes) -> bytes:
    return b"".join(each)


NONCE, UNKNOWN = b"\x0e\x01" + b"nonce!", b"\xfd\x02" + bytes(14)
LINK = b"\x01\x01" + OTHER
LEARNED, ANSWERED_ONLY, NOTHING = (True, OTHER.hex(":")), (True, ""), (False, "")

REQUESTS: dict[str, tuple[Callable[[Bench], bytes], Seen]] = {
    "a request": (arp, LEARNED),
    "one to the router's MAC": (lambda b: arp(b, to=GATEWAY), LEARNED),
    "a probe (RFC 5227)": (lambda b: arp(b, sender="0.0.0.0"), ANSWERED_ONLY),
    "from a group's MAC": (lambda b: arp(b, mac=GROUP), NOTHING),
    "from no MAC": (lambda b: arp(b, mac=ZERO), NOTHING),
    "from another port's subnet": (lambda b: arp(b, sender="10.0.2.77"), ANSWERED_ONLY),
    "an announcement of its own address": (lambda b: arp(b, sender=ASKER4, target=ASKER4), NOTHING),
    "for somebody else": (lambda b: arp(b, target="10.0.1.78"), NOTHING),
    "a reply that nobody asked for": (lambda b: arp(b, 2, to=GATEWAY), NOTHING),
    "RARP": (lambda b: arp(b, 3), NOTHING),
    "an operation there is not": (lambda b: arp(b, 9), NOTHING),
    "of other hardware": (lambda b: arp(b, hardware=7), NOTHING),
    "of another protocol": (lambda b: arp(b, protocol=0x86DD), NOTHING),
    "with other sizes": (lambda b: arp(b, sizes=(6, 16)), NOTHING),
}
# Linux takes any MAC in ARP. To who gives none in a solicitation it answers once it has asked for it; the router answers its frame's source.
NOT_LIKE_LINUX = {"from a group's MAC", "from no MAC", "one to the router without its MAC"}

SOLICITATIONS: dict[str, tuple[Callable[[Bench], bytes], Seen]] = {
    "a solicitation": (nd, LEARNED),
    "one to the router": (lambda b: nd(b, to=US6), LEARNED),
    "with other options before": (lambda b: nd(b, options=options(NONCE, UNKNOWN, LINK)), LEARNED),
    "with others behind": (lambda b: nd(b, options=options(LINK, UNKNOWN * 20)), LEARNED),
    "with a long message": (lambda b: nd(b, options=options(LINK, b"\xfd\xa0" + bytes(160 * 8 - 2))), LEARNED),
    "one to the router without its MAC": (lambda b: nd(b, to=US6, options=b""), ANSWERED_ONLY),
    "hop limit 254": (lambda b: nd(b, hops=254), NOTHING),
    "code 1": (lambda b: nd(b, code=1), NOTHING),
    "a wrong checksum": (lambda b: nd(b, spoil=1), NOTHING),
    "a wrong checksum of a long one": (lambda b: nd(b, options=options(LINK, b"\xfd\xa0" + bytes(160 * 8 - 2)), spoil=0x100), NOTHING),
    "a group as its target": (lambda b: nd(b, target="ff02::1", to=US6), NOTHING),
    "an option of length 0": (lambda b: nd(b, options=LINK[:1] + b"\0" + OTHER), NOTHING),
    "one of length 0 behind": (lambda b: nd(b, options=LINK + b"\xfd\0" + bytes(6)), NOTHING),
    "an option that goes on behind the end": (lambda b: nd(b, options=LINK + b"\xfd\x02" + bytes(6)), NOTHING),
    "a MAC of two units": (lambda b: nd(b, options=b"\x01\x02" + OTHER + bytes(8)), NOTHING),
    "shorter than a solicitation": (lambda b: nd(b, options=b"", size=20), NOTHING),
    "from ::1": (lambda b: nd(b, source="::1"), NOTHING),
    "from a group": (lambda b: nd(b, source="ff02::1"), NOTHING),
    "from :: with a MAC": (lambda b: nd(b, source="::"), NOTHING),
    "from :: to the router itself": (lambda b: nd(b, source="::", to=US6, options=b""), NOTHING),
    "from ::, looking for duplicates": (lambda b: nd(b, source="::", options=b""), ANSWERED_ONLY),
    "for somebody else": (lambda b: nd(b, target="fd00::a:0:1:99", to="ff02::1"), NOTHING),
}

ASKED = {  # while it is asked for: what is taken for the answer
    4: {
        "a reply": (lambda b: arp(b, 2, to=GATEWAY), OTHER.hex(":")),
        "a request of its own": (arp, OTHER.hex(":")),
    },
    6: {
        "an advertisement": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED | OVERRIDE), OTHER.hex(":")),
        "without Override": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED), OTHER.hex(":")),
        "without Solicited": (lambda b: nd(b, ADVERTISE, target=ASKER6), OTHER.hex(":")),
        "without its MAC": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED, options=b""), ""),
        "Solicited, to a group": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED, to="ff02::1"), ""),
        "unsolicited, to a group": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=OVERRIDE, to="ff02::1"), OTHER.hex(":")),
        "hop limit 1": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED, hops=1), ""),
        "a wrong checksum": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED, spoil=4), ""),
        "an option of length 0": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED, options=b"\x02\0" + OTHER), ""),
        "a group as its target": (lambda b: nd(b, ADVERTISE, target="ff02::1", flags=SOLICITED), ""),
    },
}
FIRST = "02:00:00:00:00:bb"
KNOWN = {  # while it is known under another MAC: under which afterwards
    4: {
        "an announcement": (lambda b: arp(b, sender=ASKER4, target=ASKER4), OTHER.hex(":")),
        "a request": (arp, OTHER.hex(":")),
    },
    6: {
        "with Override": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED | OVERRIDE), OTHER.hex(":")),
        "without it": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=SOLICITED), FIRST),
        "unsolicited with Override": (lambda b: nd(b, ADVERTISE, target=ASKER6, flags=OVERRIDE, to="ff02::1"), OTHER.hex(":")),
        "unsolicited without it": (lambda b: nd(b, ADVERTISE, target=ASKER6, to="ff02::1"), FIRST),
        "a solicitation": (nd, OTHER.hex(":")),
    },
}


def test_what_is_believed_and_what_is_answered_is_as_the_standards_say_and_as_linux_does(bench):
    wrong = {}
    for what, (frame, wanted) in (REQUESTS if bench.lab.family == 4 else SOLICITATIONS).items():
        bench.forget()
        found = bench.both(frame(bench))
        expected = {"pcn": wanted, "Linux": found["Linux"] if what in NOT_LIKE_LINUX else wanted}
        if found != expected:
            wrong[what] = found, wanted
    assert wrong == {}


def test_an_advertisement_that_nobody_asked_for_makes_no_entry(bench):
    if bench.lab.family == 6:
        bench.forget()
        frame = nd(bench, ADVERTISE, target=ASKER6, flags=SOLICITED | OVERRIDE)
        assert bench.both(frame) == {"pcn": NOTHING, "Linux": NOTHING}


def test_while_a_neighbour_is_asked_for_only_an_answer_is_taken_for_one(bench):
    wrong = {}
    for what, (frame, mac) in ASKED[bench.lab.family].items():
        bench.forget()
        bench.ask_for_it()
        found = {name: seen[1] for name, seen in bench.both(frame(bench)).items()}
        if found != {"pcn": mac, "Linux": mac}:
            wrong[what] = found, mac
    assert wrong == {}


def test_what_is_known_is_changed_by_what_overrides_it_alone(bench):
    wrong = {}
    first = bytes.fromhex(FIRST.replace(":", ""))
    for what, (frame, mac) in KNOWN[bench.lab.family].items():
        bench.forget()
        known = arp(bench, mac=first) if bench.lab.family == 4 else nd(bench, options=b"\x01\x01" + first)
        assert bench.both(known) == {"pcn": (True, FIRST), "Linux": (True, FIRST)}
        found = {name: seen[1] for name, seen in bench.both(frame(bench)).items()}
        if found != {"pcn": mac, "Linux": mac}:
            wrong[what] = found, mac
    assert wrong == {}
