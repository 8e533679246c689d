"""What a token bucket does outside the kernel: it forgets a source when told to, and tells who is throttled."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from reconciler.service.sdk import ActionCall, ActionDone


def actions(call: ActionCall) -> ActionDone:
    """forget: the source's row goes, and its next packet makes a new one."""
    src = IPv4Address(call.input["src"]).packed
    return ActionDone({"known": src in call.env.live["sources"]}, {"sources": {src: None}})


class SlowPath:
    """Is handed the first packet of a source that is dropped, and then none of it until its bucket has been full again."""

    def __init__(self, cube: Any) -> None:
        self.cube = cube

    def packet_in(self, packet: bytes, md: Any, reason: int) -> None:
        """The program has put the address, as it stands in the packet, into the metadata. It drops the packet itself."""
        src = IPv4Address(md.metadata[0].to_bytes(4, "little"))
        self.cube.log("INFO", f"{src} is throttled")
        self.cube.notify("throttled", str(src))
