"""What cannot be parsed never passes: frames whose headers contradict themselves or are cut short, and IP that another protocol
carries. Each verdict of each branch of µCube 0, with the rules asked for what is right."""
from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from reconciler.kernel import programs
from tests.lib.packets import checksum
from tests.services.firewall.frames import MACS, ipv4, ipv6
from tests.services.firewall.lab import HOOKS, FirewallLab
from tests.services.firewall.machine import Machine

V4, V6 = b"\x08\x00", b"\x86\xdd"
A, B = 0x0A000001, 0x0A000002
TCP = struct.pack("!HHIIBBHHH", 1000, 80, 1, 0, 0x50, 2, 1024, 0, 0)
UDP = struct.pack("!HHHH", 1000, 53, 8, 0)
SCTP = struct.pack("!HHII", 1000, 80, 0, 0)
ECHO = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
_GSO_SIZE, _SK_BUFF = 176, 192  # of struct __sk_buff


def four(proto: int, body: bytes, *, options: bytes = b"", **said: int) -> bytes:
    """An IPv4 packet that says of itself what it is told to, and whose header's checksum is right unless it is said."""
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBHII", said.get("first", 0x40 + size // 4), 0, said.get("total", size + len(body)), 1, 0, 64, proto, 0, A, B)
    head += options
    total = said.get("check", checksum(head))
    return MACS + V4 + head[:10] + struct.pack("!H", total) + head[12:] + body


def six(proto: int, body: bytes, *, first: int = 6, size: int | None = None) -> bytes:
    head = struct.pack("!IHBB", first << 28, len(body) if size is None else size, proto, 64)
    return MACS + V6 + head + A.to_bytes(16, "big") + B.to_bytes(16, "big") + body


RIGHT = {
    "TCP": MACS + V4 + ipv4(6, A, B, TCP, None), "UDP": four(17, UDP), "SCTP": four(132, SCTP), "ICMP": MACS + V4 + ipv4(1, A, B, ECHO, None),
    "TCP over IPv6": MACS + V6 + ipv6(6, A, B, TCP, None), "UDP over IPv6": six(17, UDP),
    "padding behind it": four(17, UDP) + bytes(18), "padding behind IPv6": six(17, UDP) + bytes(18),
    "options": four(17, UDP, options=bytes([7, 39, 4] + [9] * 36 + [0])), "one option": four(17, UDP, options=bytes([1, 1, 1, 0])),
    "a payload that UDP does not count": four(17, UDP + bytes(4)), "another protocol": four(89, b"?"), "no payload": four(89, b""),
    "a length of 0 before hop-by-hop options": six(0, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + UDP, size=0),
}  # fmt: skip
WRONG = {
    "version 6 as IPv4": four(17, UDP, first=0x65), "version 4 as IPv6": six(17, UDP, first=4), "version 0": four(17, UDP, first=0x05),
    "a header of 16 bytes": four(17, UDP, first=0x44), "a header longer than the packet": four(17, UDP, first=0x4F),
    "a total shorter than the header": four(17, UDP, total=19), "a total of 0": four(17, UDP, total=0),
    "a total longer than the frame": four(17, UDP, total=29), "an IPv6 length longer than the frame": six(17, UDP, size=9),
    "a wrong header checksum": four(17, UDP, check=0x1234), "no header checksum": four(17, UDP, check=0),
    "a wrong one over options": four(17, UDP, options=bytes([1, 1, 1, 0]), check=0x1234),
    "half an IPv4 header": MACS + b"\x81\x00\x00\x05" + four(17, UDP)[12:33], "half an IPv6 header": MACS + b"\x81\x00\x00\x05" + six(17, UDP)[12:53],
    "TCP cut short": four(6, TCP[:16]), "TCP's header in the padding": four(6, TCP, total=20), "TCP's flags in the padding": four(6, TCP, total=33),
    "TCP's header in IPv6's padding": six(6, TCP, size=0), "a TCP header of 16 bytes": four(6, TCP[:12] + b"\x40" + TCP[13:]),
    "a TCP header longer than the packet": four(6, TCP[:12] + b"\x60" + TCP[13:]),
    "UDP cut short": four(17, UDP[:4]), "UDP in the padding": four(17, UDP, total=27), "a UDP length of 7": four(17, UDP[:5] + b"\x07" + UDP[6:]),
    "a UDP length of 0": six(17, UDP[:5] + b"\x00" + UDP[6:]), "a UDP length beyond the packet": four(17, UDP[:5] + b"\x09" + UDP[6:]),
    "SCTP cut short": four(132, SCTP[:8]), "ICMP cut short": four(1, ECHO[:7]), "ICMPv6 cut short": six(58, ECHO[:7]),
    "an extension header in the padding": six(0, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + UDP, size=4),
    "an extension header beyond the packet": six(0, bytes([17, 4, 1, 4, 0, 0, 0, 0]) + UDP),
    "eight extension headers": six(60, bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 7 + bytes([17, 0, 1, 4, 0, 0, 0, 0]) + UDP),
    "three tags": MACS + (b"\x81\x00\x00\x05") * 3 + four(17, UDP)[12:],
}  # fmt: skip
HIDDEN = {
    "a PPPoE session": b"\x88\x64\x11\x00\x00\x01\x00\x1e\x00\x21" + four(17, UDP)[14:], "MPLS": b"\x88\x47\x00\x01\x01\x40" + four(17, UDP)[14:],
    "MPLS multicast": b"\x88\x48\x00\x01\x01\x40" + four(17, UDP)[14:], "a tag of 9100": b"\x91\x00\x00\x05" + four(17, UDP)[12:],
    "a tag of 9200": b"\x92\x00\x00\x05" + four(17, UDP)[12:], "a tag of 9300": b"\x93\x00\x00\x05" + four(17, UDP)[12:],
    "802.1ah": b"\x88\xe7\x00\x00\x00\x01" + four(17, UDP), "Ethernet in Ethernet": b"\x65\x58" + four(17, UDP), "NSH": b"\x89\x4f" + bytes(8),
    "IP behind SNAP": b"\x00\x24\xaa\xaa\x03\x00\x00\x00\x08\x00" + four(17, UDP)[14:],
    "IPv6 behind SNAP": b"\x00\x38\xaa\xaa\x03\x00\x00\x00\x86\xdd" + six(17, UDP)[14:], "IP behind LLC": b"\x00\x1f\x06\x06\x03" + four(17, UDP)[14:],
    "a PPPoE session behind a tag": b"\x81\x00\x00\x05\x88\x64\x11\x00\x00\x01\x00\x1e\x00\x21" + four(17, UDP)[14:],
}  # fmt: skip
NO_IP = {
    "ARP": b"\x08\x06" + bytes(28), "a BPDU": b"\x00\x26\x42\x42\x03" + bytes(35), "LLDP": b"\x88\xcc" + bytes(20), "PPPoE discovery": b"\x88\x63" + bytes(20),
    "an 802.3 frame that ends": b"\x00\x03\xaa\xaa\x03", "SNAP with another protocol": b"\x00\x20\xaa\xaa\x03\x00\x00\x00\x80\x9b" + bytes(24),
}  # fmt: skip


@pytest.fixture(scope="module", params=[hook for hook in HOOKS if hook != "XDP_SKB"])
def machine(request, compiled_programs) -> Iterator[Machine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCN_CACHE", str(compiled_programs))
        with FirewallLab(hook=request.param) as lab:
            lab.apply()
            with Machine(lab, "fw") as made:
                yield made


def default(machine: Machine, action: str) -> None:
    machine.load({"chain": [{"name": name, "default": action, "rule": []} for name in ("INGRESS", "EGRESS")]})
    machine.forget()


@pytest.mark.parametrize("chain", ["INGRESS", "EGRESS"])
def test_what_is_right_meets_the_default(machine, chain):
    for action in ("ACCEPT", "DROP"):
        default(machine, action)
        before = machine.malformed()
        assert {name: machine.run(chain, frame) for name, frame in RIGHT.items()} == dict.fromkeys(RIGHT, action)
        assert machine.malformed() == before


@pytest.mark.parametrize("chain", ["INGRESS", "EGRESS"])
def test_what_contradicts_itself_is_dropped_whatever_the_default(machine, chain):
    default(machine, "ACCEPT")
    for number, (name, frame) in enumerate(WRONG.items(), machine.malformed() + 1):
        assert (name, machine.run(chain, frame), machine.malformed()) == (name, "DROP", number)


@pytest.mark.parametrize("chain", ["INGRESS", "EGRESS"])
def test_ip_that_another_protocol_carries_meets_the_default_and_is_counted(machine, chain):
    frames = {name: MACS + rest for name, rest in HIDDEN.items()}
    for action, verdict in (("ACCEPT", "ACCEPT"), ("DROP", "DROP"), ("REJECT", "DROP")):
        default(machine, action)
        assert {name: machine.run(chain, frame) for name, frame in frames.items()} == dict.fromkeys(frames, verdict)
        counted = {each["id"]: each["pkts"] for own in machine.state()["chain"] if own["name"] == chain for each in own["stats"]}
        assert counted["default"] == len(frames)


@pytest.mark.parametrize("chain", ["INGRESS", "EGRESS"])
def test_what_is_no_ip_passes_whatever_the_default(machine, chain):
    default(machine, "DROP")
    assert {name: machine.run(chain, MACS + rest) for name, rest in NO_IP.items()} == dict.fromkeys(NO_IP, "ACCEPT")


def test_a_packet_of_many_segments_may_say_no_length(machine):
    """So the kernel writes what it puts together beyond 64 KiB."""
    default(machine, "ACCEPT")
    if machine.family != "TC":
        return
    program = machine.runs["EGRESS"][0].fd
    for frame in (four(17, UDP, total=0), six(17, UDP, size=0)):
        for size, verdict in ((0, 2), (1400, 0xFFFFFFFF)):
            context = bytearray(_SK_BUFF)
            struct.pack_into("<I", context, _GSO_SIZE, size)
            assert programs.test_run(program, frame, context=bytes(context))[0] == verdict
