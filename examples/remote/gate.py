"""The gate's control plane in Python: `pcn serve-service examples/remote` serves it, as gate.js does without pcn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.service.sdk import Env, TableRows

TABLES = ("denied",)  # it derives their rows

_YES = (1).to_bytes(4, "little")


def tables(config: Mapping[str, Any], env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    rows = {bytes.fromhex(mac.replace(":", "")) + bytes(2): _YES for mac in config.get("denied", ())}
    return {"denied": TableRows(rows, b"\xff" * 4)}


def config(rows: Mapping[str, Mapping[bytes, bytes]], env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    found = sorted(key[:6].hex(":") for key in rows.get("denied", {}))
    return {"denied": found} if found else {}


def check(config: Mapping[str, Any], env: Env) -> list[tuple[tuple[str | int, ...], str, str]]:
    """A group address is no station."""
    return [(("denied", n), f"{mac} is a group's address, and no station's", "error")
            for n, mac in enumerate(config.get("denied", ())) if int(mac[:2], 16) & 1]


class SlowPath:
    """Answers each question with itself, turned round."""

    def __init__(self, cube: Any) -> None:
        self.cube = cube

    def packet_in(self, packet: bytes, md: Any, reason: int) -> None:
        self.cube.log("INFO", f"a question from {packet[6:12].hex(':')} at {md.port}")
        self.cube.send_packet_out(packet[6:12] + packet[:6] + packet[12:], md.port, self.cube.EGRESS)
