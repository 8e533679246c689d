"""What was packed in blocks is what zlib unpacks, whatever was packed before."""
from __future__ import annotations

import random
import zlib

from reconciler.incremental import packed_text
from reconciler.incremental.packed_text import TextPacker


def test_edits_of_a_long_text_come_back_as_they_were() -> None:
    chance, packer = random.Random(3), TextPacker()
    text = ",".join(f'{{"vip":"10.96.{number // 250}.{number % 250}","ä":{chance.random()}}}' for number in range(12_000))
    for _ in range(60):
        at, gone = chance.randrange(len(text)), chance.choice([0, 1, 40, 70_000])
        text = text[:at] + "ü" * chance.choice([0, 1, 40, 90_000]) + text[at + gone :]
        raw = packer.pack(text)
        assert zlib.decompress(raw).decode() == text
        assert packer.unpack(raw) == text
        assert TextPacker().unpack(raw) == text
    assert len(packer.pack(text)) < 2 * len(zlib.compress(text.encode(), 1))


def test_what_is_packed_again_are_the_blocks_with_the_edit(monkeypatch) -> None:
    packer, packed = TextPacker(), []
    text = "".join(map(str, range(400_000)))
    packer.pack(text)
    compressed = packed_text._compressed
    monkeypatch.setattr(packed_text, "_compressed", lambda piece: packed.append(len(piece)) or compressed(piece))
    for edits in ((0,), (1_000_000,), (-1,), (500_000, 1_500_000)):
        for at in edits:
            text = text[:at] + "edit" + text[at:][1:]
        packed.clear()
        assert zlib.decompress(packer.pack(text)).decode() == text
        assert len(packed) == len(edits), "what is between two edits is as it was"
        assert max(packed) < 100_000
    packed.clear()
    packer.pack(text)
    assert not packed


def test_a_short_text_and_one_that_becomes_short() -> None:
    packer = TextPacker()
    for text in ("", "short", "long" * 100_000, "short again", "long" * 100_000, "x"):
        assert zlib.decompress(packer.pack(text)).decode() == text
        assert packer.unpack(packer.pack(text)) == text
