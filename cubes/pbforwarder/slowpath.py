"""Frames whose rule has action SLOWPATH: logged, as by Polycube's, and dropped."""

from __future__ import annotations

from reconciler.service.sdk import CubeHandle, Metadata


class SlowPath:
    def __init__(self, cube: CubeHandle) -> None:
        self.cube = cube

    def packet_in(self, packet: bytes, md: Metadata, reason: int) -> None:  # noqa: ARG002 - part of the interface
        macs = f"{packet[6:12].hex(':')} > {packet[:6].hex(':')}"
        self.cube.log("INFO", f"rule {md.metadata[0]}: {macs}, {len(packet)} bytes, at {md.port}")
