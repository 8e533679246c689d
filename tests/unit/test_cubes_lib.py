"""cubes/lib: rows by their fields' names, and checksums as scapy works them out."""
from __future__ import annotations

import random

from cubes.lib.checksum import checksum
from cubes.lib.layout import index, number, pack, unpack
from reconciler.compiler.struct_layout import Field, StructLayout
from tests.lib.scapy_packets import scapy_checksum

ROW = StructLayout("struct", 12, fields=(Field("port", 0, 4), Field("mac", 4, 6), Field("flags", 10, 2)))


def test_a_row_is_packed_by_names_and_read_back():
    raw = pack(ROW, flags=0x102, mac=b"sixmac")
    assert raw == bytes(4) + b"sixmac" + (0x102).to_bytes(2, "little")
    assert unpack(ROW, raw) == {"port": bytes(4), "mac": b"sixmac", "flags": b"\2\1"}
    assert number(unpack(ROW, raw)["flags"]) == 0x102
    assert number(index(70000)) == 70000


def test_a_checksum_is_scapys_for_any_length():
    chosen = random.Random(1)
    for size in range(80):
        data = chosen.randbytes(size)
        assert checksum(data) == scapy_checksum(data), size
    assert checksum(b"\xff" * 40) == scapy_checksum(b"\xff" * 40) == 0
