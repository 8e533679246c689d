"""What a symlink holds of a value, and what comes of that again."""
from __future__ import annotations

import hashlib

import pytest

from reconciler.kernel.link_values import MOST, packed, unpacked


def record(programs: int) -> dict[str, dict[str, dict[str, str]]]:
    return {"programs": {f"twin_egress_{n}": {"object": hashlib.sha256(b"%d" % n).hexdigest(), "tag": f"{n:016x}", "calls": "calls_xdp"}
                         for n in range(programs)}}  # fmt: skip


@pytest.mark.parametrize("programs", [0, 1, 20, 30, 50])
def test_a_record_comes_back_as_it_was_however_many_programs_it_has(programs: int) -> None:
    text = packed(record(programs))
    assert len(text.encode()) <= MOST
    assert text.startswith("{") == (programs <= 20), "what fits is plain, for code of before"
    assert unpacked(text) == record(programs)


def test_more_than_a_link_holds_is_an_error_and_not_cut() -> None:
    with pytest.raises(ValueError, match="more than a symlink's 4095"):
        packed(record(200))


@pytest.mark.parametrize("text", ["", "z:", "z:!!", "z:0000", "[]", "{", "g1"])
def test_what_is_no_object_is_none(text: str) -> None:
    assert unpacked(text) is None
