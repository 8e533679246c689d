"""Counts packets between cubes, where no netdev counts, with a temporary tap at each port."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler import pins
from reconciler.capture.tap import Place, with_taps_at
from reconciler.engine.apply import Options
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader
from reconciler.model import Cube

_TRAFFIC = struct.Struct("=QQ")  # struct traffic of bpf/packetcapture
_TABLES = "from_wire", "to_wire"


@dataclass(frozen=True, slots=True)
class Carried:
    """Packets and bytes (from the Ethernet header) received at a port (rx) and sent by it. A tap sees no errors, and drops
    nothing."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0


@contextmanager
def counting(options: Options, ports: Sequence[str]) -> Iterator[Callable[[], Mapping[str, Carried]]]:
    """Within it the packets at these ports ('br1:p1') are counted from 0; the function returns the counts by port. Raises as
    `with_taps_at`."""
    if not ports:
        yield dict
        return
    with with_taps_at(options, [Place(port) for port in ports], {"count": True}) as cubes:
        yield lambda: {port: _carried(options.root, cube) for port, cube in zip(ports, cubes, strict=True)}


def _carried(root: str, cube: Cube) -> Carried:
    (rx_packets, rx_bytes), (tx_packets, tx_bytes) = (_traffic(root, cube, name) for name in _TABLES)
    return Carried(rx_packets, tx_packets, rx_bytes, tx_bytes)


def _traffic(root: str, cube: Cube, name: str) -> tuple[int, ...]:
    """Packets and bytes; 0 for a tap whose port has been deleted."""
    table = Reader(Bpffs(root)).rows(pins.table(cube.name, name))
    if table is None:
        return 0, 0
    spec, rows = table
    return next((_TRAFFIC.unpack(fold_cpus(spec, value)) for value in rows.values()), (0, 0))
