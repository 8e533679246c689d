"""What a REJECT may answer (bpf/lib/reject.h)."""

from __future__ import annotations

ANSWERS = (
    "", "TCP_RESET", "PORT_UNREACHABLE", "HOST_UNREACHABLE", "NO_ROUTE", "ADMIN_PROHIBITED", "NET_PROHIBITED",
    "HOST_PROHIBITED", "PROTOCOL_UNREACHABLE",
)  # fmt: skip
"""By the number that stands above the kind in an action (enum answer); the first one is what a service answers unasked."""

ANSWER = 16
"""What that number is multiplied by: an action's kind is below."""
