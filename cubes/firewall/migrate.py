"""What becomes of rows of an older release's tables."""
from __future__ import annotations


def of_a_packet(_key: bytes, _row: bytes) -> None:
    """What µCubes tell one another of the packet at hand: it is gone with the packet."""


MIGRATIONS = {"packet_in": {(4, 200): of_a_packet}, "packet_out": {(4, 200): of_a_packet}}
