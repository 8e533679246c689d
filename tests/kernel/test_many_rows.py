"""Many rows at once, in every kind of table that holds rows: read, written and deleted in few calls, or one by one where it must be."""
from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from reconciler.kernel import bpf, maps, percpu

KINDS = {
    "hash": (maps.HASH, 0), "percpu hash": (maps.PERCPU_HASH, 1), "lru hash": (maps.LRU_HASH, 0),
    "lru percpu hash": (maps.LRU_PERCPU_HASH, 0), "lpm trie": (maps.LPM_TRIE, 1), "array": (maps.ARRAY, 0),
    "percpu array": (maps.PERCPU_ARRAY, 0),
}  # fmt: skip
COUNT, ROOM = 1000, 4096
BATCHES = (bpf.MAP_LOOKUP_BATCH, bpf.MAP_UPDATE_BATCH, bpf.MAP_DELETE_BATCH)


@pytest.fixture(params=KINDS)
def table(request: pytest.FixtureRequest) -> Iterator[tuple[int, maps.MapSpec]]:
    kind, flags = KINDS[request.param]
    spec = maps.MapSpec(kind, 8 if kind == maps.LPM_TRIE else 4, 8, ROOM if kind not in maps.ARRAYS else COUNT, flags)
    fd = maps.create(spec, "many")
    yield fd, spec
    os.close(fd)


def key_of(spec: maps.MapSpec, number: int) -> bytes:
    return struct.pack("<I", 32) + struct.pack(">I", number) if spec.type == maps.LPM_TRIE else struct.pack("<I", number)


def filled(spec: maps.MapSpec) -> dict[bytes, bytes]:
    return {key_of(spec, number): percpu.spread(spec, struct.pack("<Q", number + 1)) for number in range(COUNT)}


def check_all(fd: int, spec: maps.MapSpec) -> None:
    """Write, find, delete; also of rows that are not there."""
    wanted = filled(spec)
    assert {key: value for key, value in maps.lookup_many(fd, spec, wanted).items() if any(value)} == {}
    maps.update_many(fd, spec, wanted)
    assert maps.rows(fd, spec) == wanted == maps.lookup_many(fd, spec, wanted)
    few = dict(list(wanted.items())[:20])
    assert maps.lookup_many(fd, spec, {**few, key_of(spec, ROOM): b""}) == few
    if spec.type in maps.ARRAYS:
        return
    odd = [key_of(spec, number) for number in range(1, COUNT, 2)]
    gaps = [odd[0], key_of(spec, ROOM + 1), *odd[1:], key_of(spec, ROOM + 2)]
    assert maps.delete_many(fd, spec, gaps) == COUNT // 2
    assert maps.rows(fd, spec) == {key: value for key, value in wanted.items() if key not in odd}


def test_few_calls_do_it(table: tuple[int, maps.MapSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], bpf.bpf

    def counting(command: int, attributes: object) -> int:
        calls.append(command)
        return real(command, attributes)  # type: ignore[arg-type]

    monkeypatch.setattr(bpf, "bpf", counting)
    check_all(*table)
    assert len(calls) < 60


@pytest.mark.parametrize("number", [22, 524])
def test_a_kernel_without_batches_gets_row_by_row(table: tuple[int, maps.MapSpec], monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = bpf.bpf

    def without(command: int, attributes: object) -> int:
        if command in BATCHES:
            raise OSError(number, "no batches")
        return real(command, attributes)  # type: ignore[arg-type]

    monkeypatch.setattr(bpf, "bpf", without)
    check_all(*table)
