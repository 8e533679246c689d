"""Values of which configuration owns some bits and the datapath the others."""

from __future__ import annotations

from reconciler.kernel.maps import MapSpec
from reconciler.kernel.percpu import split_cpus


def masked(spec: MapSpec, row: bytes, bits: bytes) -> bytes:
    """A row with only the bits of a mask, on every CPU."""
    parts = split_cpus(spec, row)
    stride = len(row) // len(parts)
    return b"".join(bytes(v & m for v, m in zip(part, bits, strict=False)).ljust(stride, b"\0") for part in parts)


def merged(spec: MapSpec, row: bytes, new: bytes, bits: bytes) -> bytes:
    """A row with a new value's bits where the mask has them, and its own where it has not, on every CPU."""
    parts = split_cpus(spec, row)
    stride = len(row) // len(parts)
    return b"".join(_merged(part, new, bits).ljust(stride, b"\0") for part in parts)


def _merged(old: bytes, new: bytes, bits: bytes) -> bytes:
    return bytes(o & ~m & 0xFF | n & m for o, n, m in zip(old, new, bits, strict=False))
