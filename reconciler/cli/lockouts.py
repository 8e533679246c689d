"""Warnings on stderr and in a plan about steps that may cut off the administrator of this host."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.errors import Problem

if TYPE_CHECKING:
    from reconciler.plan.steps import Lockout

_WAY_OUT = "apply it with --try 60: it is taken back after 60 s unless somebody confirms that the host can still be reached"


def problems(lockouts: Iterable[Lockout], *, trial: bool = False, can_try: bool = True, came: str | None = None) -> list[Problem]:
    """As warnings. `trial`: the apply rolls back anyway; `came`: SSH_CONNECTION if the command was run over SSH."""
    words = (os.environ.get("SSH_CONNECTION", "") if came is None else came).split()
    to, client = (words[2], words[0]) if len(words) == 4 else ("", "")
    found = []
    for lockout in lockouts:
        ours = to and any(address.partition("/")[0] == to for address in lockout.addresses)
        said = f"this may lock you out: {lockout.sentence}" + (f" (your SSH from {client} comes to {to})" if ours else "")
        found.append(Problem(said, severity="warning", hint=_WAY_OUT if can_try and not trial else ""))
    return found
