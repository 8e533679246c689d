"""What `pcn capture` writes: addresses that stand for others, and files that take each other's place. What tcpdump makes of pcapng is in
tests/services/packetcapture."""

from __future__ import annotations

import ipaddress
import os
import random
from pathlib import Path

import pytest

from reconciler.capture import pcapng
from reconciler.capture.anonymous import Anonymous
from reconciler.capture.output import File, Pipe, Rotation
from reconciler.errors import UsageError
from tests.lib.commands import pcn
from tests.lib.scapy_packets import ARP, IP, UDP, Dot1Q, Ether, IPv6, built

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def in_common(one: bytes, other: bytes) -> int:
    size = 8 * len(one)
    return size - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()


@pytest.mark.parametrize("length", [4, 16])
def test_addresses_have_as_long_a_prefix_in_common_as_before_and_none_is_two(length: int) -> None:
    chance, anonymous = random.Random(1), Anonymous(b"key")
    addresses = [chance.randbytes(length) for _ in range(100)]
    addresses += [bytes([*each[:-1], each[-1] ^ 1]) for each in addresses]
    made = {each: anonymous.address(each) for each in addresses}
    assert len(set(made.values())) == len(set(addresses))
    assert all(in_common(a, b) == in_common(made[a], made[b]) for a in addresses[:40] for b in addresses[80:140] if a != b)
    assert sum(made[each] == each for each in addresses) < 3


def test_another_run_has_another_key() -> None:
    assert Anonymous().address(b"\x0a\0\0\1") != Anonymous().address(b"\x0a\0\0\1") or Anonymous().address(b"\x0a\0\0\2") != b"\x0a\0\0\2"


@pytest.mark.parametrize("frame", [
    ETHER / IP(src="10.1.2.3", dst="10.1.2.4") / UDP() / b"kept", ETHER / Dot1Q(vlan=3) / IP(src="10.1.2.3", dst="10.1.2.4") / b"kept",
    ETHER / IPv6(src="fd12::3", dst="fd12::4") / b"kept", ETHER / ARP(hwsrc="02:00:00:00:00:01", psrc="10.1.2.3", pdst="10.1.2.4"),
])  # fmt: skip
def test_no_address_is_left_in_a_frame_and_all_else_is(frame: object) -> None:
    before = built(frame)
    after = Anonymous(b"k").frame(before)
    hidden = [ipaddress.ip_address(each).packed for each in ("10.1.2.3", "10.1.2.4", "fd12::3", "fd12::4")]
    hidden += [bytes.fromhex("020000000001"), bytes.fromhex("020000000002")]
    assert not [each for each in hidden if each in after]
    assert len(after) == len(before)
    assert after[12:14] == before[12:14]
    assert b"kept" in after or b"kept" not in before
    for length in range(len(before)):  # however short it was cut
        assert Anonymous(b"k").frame(before[:length])[:6] == after[: min(6, length)] or length < 6


def test_broadcast_and_the_kind_of_a_mac_address_stay() -> None:
    anonymous = Anonymous(b"k")
    assert anonymous.address(b"\xff" * 6) == b"\xff" * 6
    assert anonymous.address(bytes.fromhex("33330000fb01"))[0] & 3 == 3
    assert anonymous.address(bytes.fromhex("021122334455"))[0] & 3 == 2


def test_files_take_each_others_place_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    output = File(str(path), b"HEAD", Rotation(size=10, keep=2))
    for letter in "abcdefg":
        output.write(letter.encode() * 5)
    output.close()
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {
        "a": b"HEADggggg", "a.1": b"HEADfffff", "a.2": b"HEADeeeee",
    }  # fmt: skip


def test_a_pipe_whose_reader_is_gone_says_so(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        Pipe(writer, b"HEAD").flush()
    os.close(writer)


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_what_is_no_file_of_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.mkdir() if kind == "directory" else path.symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="no file of ours"):
        File(str(path), b"", Rotation())
    assert path.is_dir() or path.is_symlink()


def test_blocks_are_as_long_as_they_say_and_in_fours() -> None:
    for block in (pcapng.section("pcn", "why"), pcapng.interface("eth0", "d", "c", 96, "tcp"), pcapng.packet(0, 1 << 61, b"abc", 1500, inwards=True),
                  pcapng.statistics(0, 5, 3, 1)):  # fmt: skip
        assert len(block) % 4 == 0
        assert block[4:8] == block[-4:] == len(block).to_bytes(4, "little")


def test_validate_says_where_a_text_is_no_filter(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("- name: watch\n  service-name: packetcapture\n  snaplen: 60\n  filter: tcp port\n")
    done = pcn("validate", str(file), code=65)
    assert f"{file}:4:11: " in done.stderr
    assert "not a filter" in done.stderr
    file.write_text(file.read_text().replace("tcp port", "tcp port 80"))
    pcn("validate", str(file), code=0)
