"""Log lines about polls and applies."""
from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

from reconciler.agent.findings import Waiting, totals_of
from reconciler.engine.apply import ApplyResult

_NAMED = 4  # addresses in a log line
log = logging.getLogger("pcn.agent")


def log_waiting(fresh: Iterable[Waiting]) -> None:
    for cube, port, netdev in fresh:
        log.info("%s waits for netdev %s", f"port {cube}:{port}" if cube else "an attachment", netdev)


def log_success(
    done: ApplyResult, others: Iterable[str], drift: Sequence[str], applied: Collection[str] | None, seconds: float
) -> None:
    """`others`: topologies of which another version was applied; `drift`: what was healed; `applied`: topologies with pending
    changes, None if there were none."""
    for name in others:
        log.warning("somebody applied another version of %s; what its file says is in force again", name)
    said, took = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in totals_of(done).items()), seconds * 1000
    if drift:
        log.info("healed %s (%s, %.0f ms)", few(drift), said, took)
    if applied is not None:
        names = ", ".join(sorted(applied)) or "nothing"
        log.info("applied %s: %s, disruption: %s, %.0f ms", names, said, done.plan.disruption, took)


def log_warnings(done: ApplyResult) -> None:
    """Warnings of an apply that had steps, once it is over."""
    for warning in done.warnings if done.plan.steps else ():
        log.warning("%s", warning)


def log_failure(said: str, tries: int, delay: float, *, heal: bool) -> None:
    """Logs the full error once: at the first try; when healing at the second, since the first may race with a netdev that appears
    or disappears. `delay`: seconds until the next try."""
    if tries == (2 if heal else 1):
        what = "what was applied cannot be healed" if heal else "what the files say is not applied; what was applied stays"
        log.error("%s (next try in %g s):\n%s", what, delay, said)
    elif heal and tries == 1:
        log.info("not yet, next try in %g s: %s", delay, said.splitlines()[0])
    else:
        log.info("still so at try %d, next in %g s", tries, delay)


def log_left(drift: Sequence[str], pending: Sequence[str], mode: str) -> None:
    """Log what is not repaired, since the agent only observes, or does not heal."""
    if drift:
        log.warning("drift: %s (not healed: --%s)", few(drift), mode)
    if pending:
        log.warning("pending: %s (not applied: --%s)", few(pending), mode)


def few(addresses: Sequence[str]) -> str:
    """The first of these addresses, and the number of the others."""
    return ", ".join(addresses[:_NAMED]) + (f" and {more} more" if (more := len(addresses) - _NAMED) > 0 else "")
