"""What REJECT sends back: packets of its own, whatever the refused one had in its header, and none in a group's name."""
from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.lib.packets import checksum
from tests.services.firewall.frames import MACS, summed
from tests.services.firewall.lab import FirewallLab

SRC, DST = 0x0A000001, 0x0A000002
SYN, RST, ACK = 2, 4, 16
TCP, UDP, ICMP = 6, 17, 1
CE, DF, MF = 3, 0x4000, 0x2000


@pytest.fixture(scope="module", params=["TC", "XDP_DRV"])
def lab(request: pytest.FixtureRequest) -> Iterator[FirewallLab]:
    with FirewallLab(hook=request.param) as lab:
        lab.chain("INGRESS", {"action": "REJECT"})
        lab.chain("EGRESS", default="DROP")
        lab.apply()
        yield lab


def packet(proto: int = TCP, dst: int = DST, *, ttl: int = 4, tos: int = 0, place: int = 0, options: bytes = b"", flags: int = SYN) -> bytes:
    if proto == TCP:
        body = struct.pack("!HHIIBBHHH", 4000, 7000, 1000, 0, 0x50, flags, 4096, 0, 0)
    else:
        body = struct.pack("!HHHH", 4000, 7000, 16, 0) + bytes(8)
    body = summed(4, proto, SRC, dst, body)
    head = struct.pack("!BBHHHBBHII", 0x45 + len(options) // 4, tos, 20 + len(options) + len(body), 7, place, ttl, proto, 0, SRC, dst) + options
    return MACS + b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def refused(lab: FirewallLab) -> int:
    return lab.stats("INGRESS")["0"][0] if lab.stats("INGRESS") else 0


def answer(lab: FirewallLab, frame: bytes, wait: float = 1.0) -> bytes | None:
    """The IP packet that comes back."""
    with lab.sniff("h1") as seen:
        lab.send("h1", frame)
        found = seen.next(wait, lambda found: found[12:14] == b"\x08\x00" and found[:6] == MACS[6:] and found[30:34] == SRC.to_bytes(4, "big"))
    return None if found is None else found[14:]


@pytest.mark.parametrize("proto", [TCP, UDP])
@pytest.mark.parametrize("marks", [{"ttl": 1}, {"tos": CE}, {"place": DF}], ids=["ttl", "ce", "df"])
def test_an_answer_has_a_header_of_its_own(lab: FirewallLab, proto: int, marks: dict[str, int]) -> None:
    found = answer(lab, packet(proto, **marks))
    assert found is not None
    assert found[8] == 64, "or it ends on the way"
    assert found[1] & 3 == 0, "it met no congestion"
    assert not struct.unpack_from("!H", found, 6)[0] & MF
    assert checksum(found[:20]) == 0
    assert found[9] == (TCP if proto == TCP else ICMP)
    if proto == TCP:
        size = struct.unpack_from("!H", found, 2)[0]
        assert found[33] & (RST | ACK) == RST | ACK
        assert checksum(found[12:20] + struct.pack("!HH", TCP, size - 20) + found[20:size]) == 0


@pytest.mark.parametrize("odd", [{"place": MF}, {"options": b"\1" * 4}], ids=["a first fragment", "options"])
def test_tcp_that_a_reset_cannot_be_made_of_gets_an_error(lab: FirewallLab, odd: dict[str, object]) -> None:
    found = answer(lab, packet(TCP, **odd))  # type: ignore[arg-type]
    assert found is not None
    assert (found[9], found[20], found[21]) == (ICMP, 3, 3)
    assert (found[0], struct.unpack_from("!H", found, 6)[0] & MF) == (0x45, 0)


@pytest.mark.parametrize("dst", [0xE0000001, 0xEFFFFFFA, 0xFFFFFFFF], ids=["all hosts", "a group", "broadcast"])
@pytest.mark.parametrize("proto", [TCP, UDP])
def test_nobody_answers_in_the_name_of_many(lab: FirewallLab, proto: int, dst: int) -> None:
    before = refused(lab)
    assert answer(lab, packet(proto, dst), 0.2) is None
    assert refused(lab) == before + 1


def test_a_reset_is_not_answered(lab: FirewallLab) -> None:
    before = refused(lab)
    assert answer(lab, packet(TCP, flags=RST), 0.2) is None
    assert refused(lab) == before + 1
