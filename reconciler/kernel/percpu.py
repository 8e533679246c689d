"""Values of per-CPU maps: one for each possible CPU, each padded to 8 bytes, as the kernel reads and writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from reconciler.kernel.maps import PER_CPU, MapSpec, cpus


def spread(spec: MapSpec, value: bytes) -> bytes:
    """A value in the format of a write: in a per-CPU map repeated for each CPU."""
    return value.ljust(spec.stride, b"\0") * cpus() if spec.type in PER_CPU else value


def split_cpus(spec: MapSpec, value: bytes) -> list[bytes]:
    """The values of one row by CPU; a single one if the map is not per-CPU."""
    if spec.type not in PER_CPU:
        return [value]
    return [value[i : i + spec.value_size] for i in range(0, len(value), spec.stride)]


def join_cpus(spec: MapSpec, parts: Iterable[bytes]) -> bytes:
    """The inverse of `split_cpus`."""
    return b"".join(part.ljust(spec.stride, b"\0") for part in parts) if spec.type in PER_CPU else b"".join(parts)


def fold_cpus(spec: MapSpec, value: bytes) -> bytes:
    """The sum of a row's values of all CPUs, in units of u64, or u32 if the size is no multiple of 8; else the first value."""
    parts = split_cpus(spec, value)
    if len(parts) == 1 or spec.value_size % 4:
        return parts[0]
    words = f"={spec.value_size // 8}Q" if spec.value_size % 8 == 0 else f"={spec.value_size // 4}I"
    limit = (1 << 64 if words.endswith("Q") else 1 << 32) - 1
    sums = [sum(numbers) & limit for numbers in zip(*(struct.unpack(words, part) for part in parts), strict=True)]
    return struct.pack(words, *sums)
