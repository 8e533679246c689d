"""What the log reports of looks and applies."""
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
    """`others`: topologies of which somebody had applied another version; `drift`: what was healed; `applied`: topologies of
    which something was pending, None if nothing was."""
    for name in others:
        log.warning("somebody applied another version of %s; what its file says is in force again", name)
    said, took = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in totals_of(done).items()), seconds * 1000
    if drift:
        log.info("healed %s (%s, %.0f ms)", few(drift), said, took)
    if applied is not None:
        names = ", ".join(sorted(applied)) or "nothing"
        log.info("applied %s: %s, disruption: %s, %.0f ms", names, said, done.plan.disruption, took)


def log_warnings(done: ApplyResult) -> None:
    """Those of an apply that did something, once it is over."""
    for warning in done.warnings if done.plan.steps else ():
        log.warning("%s", warning)


def log_failure(said: str, tries: int, delay: float, *, heal: bool) -> None:
    """In full once: at the first try, and of what heals at the second, for it may have met a netdev that appeared or
    disappeared just then. `delay`: seconds until the next."""
    if tries == (2 if heal else 1):
        what = "what was applied cannot be healed" if heal else "what the files say is not applied; what was applied stays"
        log.error("%s (next try in %g s):\n%s", what, delay, said)
    elif heal and tries == 1:
        log.info("not yet, next try in %g s: %s", delay, said.splitlines()[0])
    else:
        log.info("still so at try %d, next in %g s", tries, delay)


def log_left(drift: Sequence[str], pending: Sequence[str], mode: str) -> None:
    """What is left as it is, since the agent shall only observe, or not heal."""
    if drift:
        log.warning("drift: %s (not healed: --%s)", few(drift), mode)
    if pending:
        log.warning("pending: %s (not applied: --%s)", few(pending), mode)


def few(addresses: Sequence[str]) -> str:
    """The first of these, and how many more there are."""
    return ", ".join(addresses[:_NAMED]) + (f" and {more} more" if (more := len(addresses) - _NAMED) > 0 else "")
