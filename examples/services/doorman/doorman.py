"""The doorman's slow path: it sees the first packet of each station, and rules on it once.

Its memory is the list in the kernel, so a doorman that is replaced knows everybody, and while there is none, all who are
on the list come and go as before.
"""

from __future__ import annotations

from typing import Any

ADMITTED, TURNED_AWAY = (1).to_bytes(4, "little"), (2).to_bytes(4, "little")


class SlowPath:
    def __init__(self, cube: Any) -> None:
        self.cube = cube

    def packet_in(self, packet: bytes, md: Any, reason: int) -> None:
        """A newcomer. Its packet goes back to the door, where it is on the list now."""
        listed = self.cube.table("list")
        station = packet[6:12] + bytes(2)
        if listed.get(station) is None:  # several of its packets may have been on their way here
            inside = sum(ruling == ADMITTED for _, ruling in listed.items())
            ruling = ADMITTED if inside < self.cube.config["guests"] else TURNED_AWAY
            listed.set(station, ruling)
            said = "admitted" if ruling == ADMITTED else "turned away"
            self.cube.log("INFO", f"{packet[6:12].hex(':')} at {md.port} is {said}")
        self.cube.send_packet_out(packet, md.port, self.cube.INGRESS)
