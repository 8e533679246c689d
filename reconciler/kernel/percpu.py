"""Values of per-CPU maps: one for each possible CPU, each padded to 8 bytes, as the kernel reads and writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from reconciler.kernel.maps import PER_CPU, MapSpec, cpus


def spread(spec: MapSpec, value: bytes) -> bytes:
    """One value as user space must write it: repeated for each CPU where the map is per-CPU."""
    return value.ljust(spec.stride, b"\0") * cpus() if spec.type in PER_CPU else value


def split_cpus(spec: MapSpec, value: bytes) -> list[bytes]:
    """The values of each CPU of one row (a single one where the map is not per-CPU)."""
    if spec.type not in PER_CPU:
        return [value]
    return [value[i : i + spec.value_size] for i in range(0, len(value), spec.stride)]


def join_cpus(spec: MapSpec, parts: Iterable[bytes]) -> bytes:
    """The inverse of `split_cpus`."""
    return b"".join(part.ljust(spec.stride, b"\0") for part in parts) if spec.type in PER_CPU else b"".join(parts)


def fold_cpus(spec: MapSpec, value: bytes) -> bytes:
    """One value of a per-CPU row: the sum of its CPUs, word by word (counters are u64, or u32 where 8 bytes do not fit)."""
    parts = split_cpus(spec, value)
    if len(parts) == 1 or spec.value_size % 4:
        return parts[0]
    words = f"={spec.value_size // 8}Q" if spec.value_size % 8 == 0 else f"={spec.value_size // 4}I"
    limit = (1 << 64 if words.endswith("Q") else 1 << 32) - 1
    sums = [sum(numbers) & limit for numbers in zip(*(struct.unpack(words, part) for part in parts), strict=True)]
    return struct.pack(words, *sums)
