"""Filters in tcpdump's syntax, translated and run by the kernel, against libpcap's own verdict on the same frames."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.compiler import Object, Unit, compile_units
from reconciler.compiler.filters import fill
from reconciler.compiler.libpcap import compile_filter
from reconciler.kernel import programs
from reconciler.link import classic
from tests.lib.bare_program import DROPPED, loaded
from tests.lib.pcap_oracle import Oracle
from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Dot1Q, Ether, IPv6, built
from tests.lib.services import rx

pytestmark = pytest.mark.kernel

SIMPLE = """
ip|ip6|arp|rarp|tcp|udp|icmp|icmp6|sctp|vlan|mpls|pppoes|ether broadcast|ether multicast|ip multicast|ip6 multicast
port 80|tcp port 80|udp port 53|src port 80|dst port 80|tcp src port 1024|portrange 20-90|udp portrange 50-60|tcp dst portrange 1-1024
host 10.0.0.1|src host 10.0.0.1|dst net 10.0.0.0/8|net 192.168.0.0/16|host fd00::1|ip6 host fd00::2|src net fd00::/16|ip host 10.0.0.2
ether host 02:00:00:00:00:01|ether src 02:00:00:00:00:02|ether proto 0x88cc|ether proto 0x9100|ip proto 47|ip6 proto 17|proto 6
less 100|greater 60|len > 64|len == 60|len & 1 = 0|len - 14 >= 46
vlan 10|vlan 20|vlan and ip|vlan 10 and tcp port 80|vlan and vlan 7|vlan 10 and udp|vlan and ip6|vlan and host 10.0.0.1|not vlan
ip[0] & 0xf != 5|ip[6:2] & 0x1fff != 0|ip[8] < 64|tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn|tcp[13] == 2|tcp[2:2] == 80
tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420|udp[4:2] > 20|ip[2:2] - ((ip[0]&0xf)<<2) > 20|icmp[icmptype] == icmp-echo|icmp[0] = 8
ether[0] & 1 = 1|ether[12:2] = 0x800|ether[10:4] = 0x00018100|ether[12:4] = 0x8100000a|ether[14:4] & 0xffff != 0|ether[13] = 0|ether[15] = 10
ether[11:2] = 0x0181|ether[16:2] = 0x0800|ether[15:2] != 0|ip6[6] == 17|ip6[40:2] > 1024|ether[ether[20]] = 8|ether[ip[0]:2] > 7
ip[ip[0]:1] > 3|ip[8]*2 > 100|ip[8]/3 > 10|ip[8]%7=1|ip[8]<<ip[9] > 9|ip[8]>>ip[1]=64|ip[8]^ip[9] = 70
ip[0]/ip[1] = 3|-ip[8] < 0|ether[40000] = 1|ether[1500:4] = 3|ether[0:4] > 0x80000000|ip[16:4] > 0x0a000001|ip host 10.0.0.1 or vlan 7
"""
ATOMS = ["ip", "tcp", "udp", "port 80", "host 10.0.0.1", "vlan", "vlan 10", "ip6", "less 90", "tcp[13] & 2 != 0", "ether[14] & 1 = 0", "net 10.0.0.0/24"]
WHERE_TAGS_ARE = {"TC": "", "XDP": "", "beside": "if (pcn_is_vlan_present(ctx)) {\n"
    "  u32 id = pcn_get_vlan_id(ctx), proto = pcn_get_vlan_proto(ctx);\n"
    "  if (bpf_skb_vlan_pop(ctx) || bpf_skb_vlan_push(ctx, proto, id))\n    return RX_OK;\n}\n"}  # fmt: skip


def filters() -> list[str]:
    """The simple ones, and as many again that are made of several; without those that libpcap finds to want nothing at all."""
    chance, simple = random.Random(5), [text for line in SIMPLE.split("\n") for text in split(line)]
    made = []
    for _ in range(len(simple)):
        parts = [("not " if chance.random() < 0.3 else "") + f"({chance.choice(ATOMS)})" for _ in range(chance.randint(2, 5))]
        made.append(parts[0] + "".join(f" {chance.choice(['and', 'or'])} {part}" for part in parts[1:]))
    return [*simple, *(text for text in made if is_filter(text))]


def is_filter(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(Oracle(text).classic)
    return False


def split(line: str) -> Iterator[str]:
    """At each bar that is in no brackets."""
    depth, text = 0, ""
    for letter in line:
        depth += (letter in "([") - (letter in ")]")
        if letter == "|" and not depth:
            yield text
            text = ""
        else:
            text += letter
    yield from [text] if text else []


def frames() -> list[bytes]:
    chance = random.Random(3)
    ends = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    v4, v6 = {"src": "10.0.0.1", "dst": "10.0.0.2"}, {"src": "fd00::1", "dst": "fd00::2"}
    inner: list[Any] = [
        IP(**v4) / TCP(sport=1024, dport=80, flags="S"), IP(**v4) / TCP(sport=80, dport=1024, flags="SA") / b"GET / HTTP/1.1",
        IP(**v4, options=[b"\1\1\1\0"]) / TCP(dport=80, options=[("NOP", None)] * 4) / b"GET /", IP(**v4, ttl=255) / UDP(sport=53, dport=53) / bytes(90),
        IP(**v4, flags="MF", frag=3) / bytes(40), IP(**v4, frag=100) / bytes(8), IP(**v4) / ICMP(), IP(**v4, proto=47) / bytes(20),
        IP(**v4, proto=132) / bytes(20), IP(src="192.168.1.1", dst="224.0.0.1", tos=3) / UDP(dport=60) / b"x",
        IPv6(**v6) / TCP(sport=80, dport=5555), IPv6(**v6) / UDP(sport=53, dport=2000) / bytes(30), IPv6(**v6, nh=58) / bytes(8),
    ]  # fmt: skip
    found = [built(ends / each) for each in inner]
    found += [built(ends / Dot1Q(vlan=vlan) / each) for vlan in (10, 20) for each in inner]
    found += [built(ends / Dot1Q(vlan=10) / Dot1Q(vlan=7) / each) for each in inner[:4]]
    found += [bytes(12) + bytes.fromhex(kind) + bytes(46) for kind in ("0806", "8035", "88cc", "8847", "9100", "0040", "8864", "86dd", "0800")]
    found += [b"\xff" * 6 + frame[6:] for frame in found[:3]]
    found += [frame[:length] for frame in found[:3] + found[13:16] for length in (15, 18, 24, 34, 38, 47)]
    for _ in range(20):
        frame = bytearray(chance.choice(found[:30]))
        frame[14] = chance.randrange(256) if chance.random() < 0.5 else frame[14]
        frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
        found.append(bytes(frame))
    return [*found, *(chance.randbytes(length) for length in (15, 60, 200))]


@pytest.fixture(scope="module", params=WHERE_TAGS_ARE)
def unfilled(request: pytest.FixtureRequest, compiled_programs: Path) -> tuple[Object, str]:
    flavour = "XDP" if request.param == "XDP" else "TC"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCN_CACHE", str(compiled_programs))
        text = rx(WHERE_TAGS_ARE[request.param] + "return pcn_filter(ctx, WANTED) ? RX_DROP : RX_OK;", '#include "lib/filter.h"')
        (made,) = compile_units([Unit(Path("filter_test.c"), flavour, "ingress", text=text)])
    return made, request.param


def test_hundreds_of_filters_say_of_each_frame_what_libpcap_says(unfilled: tuple[Object, str]) -> None:
    made, where = unfilled
    packets, dropped, wanted, told = takes(made, frames()), DROPPED[made.flavour], 0, 0
    for text in filters():
        oracle = Oracle(text)
        filled = fill(made, {"WANTED": oracle.classic})
        with loaded(filled, dict.fromkeys(filled.constants, 0)) as (program, _):
            for frame in packets:
                found, right = programs.test_run(program, frame)[0] == dropped, oracle.wants(frame) > 0
                if computed_inside_tag(text, frame, where):
                    continue
                assert found == right, (text, frame.hex(), where)
                wanted, told = wanted + right, told + 1
    assert told > 15_000
    assert 0.1 < wanted / told < 0.9


def takes(made: Object, offered: list[bytes]) -> list[bytes]:
    """Those that the kernel makes a packet of: under TC it refuses an IP header that is cut short."""
    found = []
    with loaded_as_is(made) as (program, _):
        for frame in offered:
            with contextlib.suppress(OSError):
                programs.test_run(program, frame)
                found.append(frame)
    return found


def computed_inside_tag(text: str, frame: bytes, where: str) -> bool:
    """What docs/services/packetcapture.md says is not seen: bytes of a tag that is beside the packet, by a computed offset."""
    return where == "beside" and frame[12:14] == b"\x81\0" and text == "ether[ether[20]] = 8"


def test_a_program_without_its_filter_wants_every_packet(unfilled: tuple[Object, str]) -> None:
    made, _ = unfilled
    with loaded_as_is(made) as (program, _):
        assert all(programs.test_run(program, frame)[0] == DROPPED[made.flavour] for frame in takes(made, frames()))


def loaded_as_is(made: Object) -> Any:
    from dataclasses import replace

    kept = tuple(each for each in made.relocations if each.kind not in ("filter", "reach"))
    return loaded(replace(made, relocations=kept), dict.fromkeys(made.constants, 0))


@pytest.mark.parametrize(("text", "said"), [
    ("bogus(", "syntax error"), ("port 99999", "illegal port"), ("host no.such.name.example", "unknown host"), ("ip6 protochain 6", "jumps back"),
    ("\0", "no filter"), ("x" * 9000, "no filter"), ("(" * 4000, "filter"), (" or ".join(f"host 10.{n // 250}.{n % 250}.1" for n in range(100)), "MANY"),
])  # fmt: skip
def test_what_is_no_filter_is_refused_in_libpcap_s_words(text: str, said: str) -> None:
    if said == "MANY":
        assert len(compile_filter(text)) > 8 * 100
        return
    with pytest.raises(ValueError, match=said):
        classic.translate(classic.unpack(compile_filter(text)), "TC", 0)


def test_the_child_compiles_what_libpcap_compiles_here() -> None:
    for text in ("tcp port 80", "port domain", "vlan 10 and udp"):
        assert compile_filter(text) == Oracle(text).classic


def test_random_classic_programs_say_what_libpcap_s_interpreter_says(unfilled: tuple[Object, str]) -> None:
    """Not only what libpcap compiles: every instruction, with any offsets. None breaks the verifier."""
    made, where = unfilled
    chance = random.Random(where)
    packets, told = takes(made, frames())[::9], 0
    for _ in range(300):
        program = random_program(chance, computed=where != "beside")
        filled, oracle = fill(made, {"WANTED": program}), Oracle(program)
        with loaded(filled, dict.fromkeys(filled.constants, 0)) as (fd, _):
            for frame in packets:
                found = programs.test_run(fd, frame)[0] == DROPPED[made.flavour]
                assert found == (oracle.wants(frame) > 0), (program.hex(), frame.hex())
                told += found
    assert told > 300


def random_program(chance: random.Random, *, computed: bool) -> bytes:
    """`computed`: with loads at offsets that have X in them."""
    body = bytearray()
    size = chance.randint(3, 20)
    for at in range(size):
        k = chance.choice([0, 1, 11, 12, 13, 14, 15, 16, 17, 20, 1000, 0xFFFFFFF0])
        code = chance.choice([0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x01, 0xB1, 0x04, 0x14, 0x24, 0x54, 0x44, 0xA4, 0x64, 0x74, 0x84,
                              0x3C, 0x9C, 0x6C, 0x7C, 0x0C, 0x1C, 0x07, 0x87, 0x15, 0x25, 0x35, 0x45, 0x1D, 0x05])  # fmt: skip
        k = min(k, 31) if code in (0x64, 0x74) else k  # more is undefined in libpcap
        code = code if computed or code not in (0x40, 0x48, 0x50) else code - 0x20
        left = size - at - 1
        if code & 7 == 5:
            k = chance.randint(0, left) if code == 0x05 else k
        jumps = (chance.randint(0, left), chance.randint(0, left)) if code & 7 == 5 and code != 0x05 else (0, 0)
        body += code.to_bytes(2, "little") + bytes(jumps) + k.to_bytes(4, "little")
    return bytes(body + (0x16).to_bytes(2, "little") + bytes(6))  # what is in A
