"""The controller: reconciles the kernel with the watched files, and with what was applied by hand beside them.

A poll reads and plans without the writers' lock; only if there are steps is it taken, and the plan computed again under it. A
desired set that fails is retried with backoff, while the previous one is still healed; a new one is tried at once.
"""
from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from reconciler.agent.consent import ConsentNeeded, ask_consent, held, problem_of
from reconciler.agent.counters import AgentCounters
from reconciler.agent.files import DesiredDocuments, words
from reconciler.agent.findings import (
    are_of_ports,
    document_before,
    is_document_lost,
    lacked_by,
    others_versions,
    totals_of,
    waiting_in,
)
from reconciler.agent.following import only_follows
from reconciler.agent.outcome_log import log_failure, log_left, log_success, log_waiting, log_warnings
from reconciler.agent.retry import Retries
from reconciler.agent.snapshots import Snapshots, giving_way
from reconciler.agent.trials import Trials
from reconciler.agent.vanished import Vanished, lost_documents, vanished
from reconciler.document import Document
from reconciler.engine.apply import ApplyResult, Options, apply, plan_for
from reconciler.engine.confirm import refuse_while_unconfirmed
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.errors import ApplyFailed, DocumentError, Interrupted, KernelError, LockBusy, Overtaken, PcnError, Problem
from reconciler.graph.desired import document_text
from reconciler.graph.records import State
from reconciler.kernel.netstate import NetdevState
from reconciler.live.applied import name_of

HEAL, NO_HEAL, OBSERVE = "heal", "no-heal", "observe"
BUSY_RETRY, LAST_BUSY_RETRY = 0.1, 1.0  # seconds
SOON = 0.05  # seconds until the full poll after an edit that was applied by a partial read
AFTER_NETDEVS = 0.3  # the same after a netdev was connected: netdevs appear in bursts, which that poll would delay
log = logging.getLogger("pcn.agent")


@dataclass(slots=True)
class Controller:
    """`wanted`: the desired set of the files; `good`: the last one in force. Of the last poll: `drift` and `pending` (addresses),
    `waiting` (cube, port, netdev), `refused` (omitted), `sealed` (topologies that are unreadable here), `busy_with` (holder of
    the lock). Since the kernel was last in sync: `moved` (netdevs that appeared, disappeared or changed). When it was last in
    sync: `facts` of the host, `published` of workers, `netdevs`, and `records` of the desired state. `is_awaited`: whether a
    source waits for the job thread; `in_force`: called once an edit is in force; `concluded`: whether any attempt has ended;
    `withdrawn`: topologies that their source deleted."""

    options: Options
    mode: str = HEAL
    prune: bool = False
    sources: Callable[[], Mapping[str, str]] = dict
    is_awaited: Callable[[], bool] = lambda: False
    in_force: Callable[[], object] = lambda: None
    wanted: DesiredDocuments = field(default_factory=DesiredDocuments)
    good: DesiredDocuments = field(default_factory=DesiredDocuments)
    tally: AgentCounters = field(default_factory=AgentCounters)
    drift: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    waiting: tuple[tuple[str, str, str], ...] = ()
    refused: tuple[Problem, ...] = ()
    healed: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    last_success: float = 0.0
    moved: set[str] = field(default_factory=set)
    facts: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    applied: dict[str, str] = field(default_factory=dict)
    claimed: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    trials: Trials = field(default_factory=Trials)
    accepts_state_reset: bool = False
    resets: tuple[str, ...] = ()
    _retries: Retries = field(default_factory=Retries)
    _said: DesiredDocuments = field(default_factory=DesiredDocuments)
    busy_with: str = ""
    concluded: bool = False
    sealed: tuple[str, ...] = ()
    _busy: int = 0
    _snapshots: Snapshots = field(default_factory=Snapshots)
    _unread: float = 0.0
    netdevs: Mapping[str, NetdevState] = field(default_factory=dict)
    records: State = field(default_factory=dict)
    _calm_for: str = ""
    _shown: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """Why the desired set is not in force; '' if it is."""
        return self._retries.problem

    def lacks(self, port: str) -> str:
        """The netdev that a port ("cube:port") is not connected to as of the last poll: missing, recreated, or failed to connect.
        '' for a connected or an unknown port."""
        return lacked_by(port, self.waiting, self.records, self.netdevs)

    def want(self, desired: DesiredDocuments) -> None:
        """Take a new desired set."""
        self._said, desired = desired, self.trials.allowed(desired)
        self._snapshots.edited()
        if desired.digest != self.wanted.digest:
            self._retries.passed(self.wanted.digest)
        self.withdrawn -= desired.topologies
        for name in sorted(self.claimed - desired.topologies - self.withdrawn) if not self.prune else ():
            log.warning("topology %s is in no file any more; it stays (pcn delete %s removes it, or --prune)", name, name)
        if not self.prune:
            self.claimed = frozenset()
        self.wanted = desired
        self.claimed |= desired.topologies

    def forget(self) -> None:
        """Retry failures at once, and read everything on the next poll."""
        self._snapshots.unchanged = None
        self._retries.reset()

    def poll(self) -> float:
        """Read, diff, and repair what the mode permits.

        Returns the seconds within which to poll again; 0: at the usual interval.
        """
        if self.trials.running and self.trials.settle():
            self.withdrawn |= self.trials.gone()
            self.want(self._said)
        began = time.monotonic()
        chosen = self.wanted
        if self._retries.is_backing_off(chosen.digest, began):
            chosen = self.good
            if self._retries.is_backing_off(chosen.digest, began):
                return self._retries.seconds_to_next(began)
        try:
            self._attempt(chosen, began)
        except LockBusy as busy:  # another writer, or a trial of another writer
            self._busy += 1
            self.busy_with = str(busy)
            return min(BUSY_RETRY * self._busy, LAST_BUSY_RETRY)
        except Overtaken:
            return SOON
        except Interrupted as stopped:
            log.warning("%s", stopped)
            return BUSY_RETRY
        except (PcnError, OSError) as error:
            self._failed(chosen, error, began)
        self._busy, self.busy_with, self.concluded = 0, "", True
        return self._unread or self._retries.seconds_to_next(began)

    def _attempt(self, chosen: DesiredDocuments, began: float) -> None:
        self._unread = 0.0
        connects = self._connects(chosen)
        is_calm = not connects and chosen.digest == self.good.digest == self._calm_for
        if is_calm and self._snapshots.unchanged is not None:
            with giving_way(self.options, self.is_awaited):
                same = self._snapshots.unchanged.is_unchanged()
            if same:
                self.tally.polls += 1
                self.last_success = time.time()
                return
        since, recent = self._snapshots.taken(began, connects=connects)
        ask = partial(ask_consent, accepts_reset=self.accepts_state_reset)
        options = replace(self.options, drop=self._dropped(chosen), partial=True, planned=ask)
        if self._is_edit(chosen) or connects:
            quick = replace(options, recent=recent, connecting=connects)
            try:
                if self._apply_at_once(chosen, quick, began, since):
                    self._unread = (AFTER_NETDEVS if connects else SOON) if recent is not None else 0.0
                    return
            except (ApplyFailed, KernelError):  # all is undone
                if recent is None:
                    raise
                log.info("somebody else wrote to the kernel meanwhile: looking at everything")
        try:
            self._apply_thoroughly(chosen, options, began, for_nobody=not connects and chosen.digest == self.good.digest)
        except Overtaken:  # the snapshot is still valid
            self._snapshots.verified = since, recent
            raise

    def _apply_thoroughly(self, chosen: DesiredDocuments, options: Options, began: float, *, for_nobody: bool) -> None:
        documents = chosen.documents
        with giving_way(self.options, self.is_awaited) if for_nobody else contextlib.nullcontext():
            seen = plan_for(documents, options)
        lost = lost_documents(seen, self.applied, documents, options)
        if lost:
            documents = (*documents, *lost)
            seen = plan_for(documents, options)
        self._note(seen)
        self.tally.polls += 1
        if self._waits_for_consent(seen):
            self._apply_beside(held(seen), chosen, documents, options, began)
            return
        if not seen.plan.steps:
            self._succeeded(chosen, seen)
            self._snapshots.unchanged, self._calm_for = UnchangedCheck(options, seen), chosen.digest
            return
        if not self._may_write(seen):
            self._say_observed(tuple(step.address for step in seen.plan.steps))
            return
        refuse_while_unconfirmed(options.root)
        try:
            done = apply(documents, options)
        except ConsentNeeded:  # somebody wrote in between: the next poll reports what waits
            return
        log_warnings(done)
        self._done(chosen, done, began, chosen.names_with(seen.topologies))

    def _apply_beside(
        self, waiting: frozenset[str], chosen: DesiredDocuments, documents: Sequence[Document], options: Options, began: float
    ) -> None:
        """Apply the topologies that do not wait for consent; nothing, if another one refers to one that waits."""
        if not waiting or self.mode != HEAL or not all(map(name_of, documents)):
            return
        options, others = replace(options, hold=waiting), [each for each in documents if name_of(each) not in waiting]
        with contextlib.suppress(DocumentError, ConsentNeeded):
            seen = plan_for(others, options)
            if seen.plan.steps:
                refuse_while_unconfirmed(options.root)
                log_warnings(done := apply(others, options))
                self._done(chosen, done, began, frozenset(topology.name for topology in seen.topologies))

    def _is_edit(self, chosen: DesiredDocuments) -> bool:
        """Whether the desired set differs from the one in force: then there are steps, and a plan without the lock would be
        computed twice."""
        return self.mode == HEAL and bool(self.good.documents) and chosen.digest != self.good.digest

    def _connects(self, chosen: DesiredDocuments) -> bool:
        """Whether a netdev of a port has `moved`: most likely it appeared, and a source waits for it, or it disappeared."""
        return self.mode == HEAL and chosen.digest == self.good.digest and are_of_ports(self.moved, self.waiting, self.records)

    def _apply_at_once(self, chosen: DesiredDocuments, options: Options, began: float, since: float) -> bool:
        """False, with nothing written, if an applied document has vanished or state would be reset. `since`: time of the last
        full read."""

        def planned(result: ApplyResult) -> None:
            if vanished(result, self.applied, options.drop):
                raise Vanished
            ask_consent(result, accepts_reset=self.accepts_state_reset)

        def in_force(done: ApplyResult) -> None:
            self.tally.polls += 1
            self._done(chosen, done, began, chosen.names_with(done.topologies))
            self.in_force()

        refuse_while_unconfirmed(options.root)
        try:
            done = apply(chosen.documents, replace(options, planned=planned, in_force=in_force))
        except (Vanished, ConsentNeeded):
            return False
        log_warnings(done)
        self._snapshots.verified = since, done.verified
        return True

    # -- what may be done -------------------------------------------------------------------------------------------

    def _may_write(self, seen: ApplyResult) -> bool:
        """Where healing is off, netdevs are still connected and disconnected, and cubes still follow their facts: that is
        configured behaviour, no drift."""
        if self.mode == OBSERVE:
            return False
        if self.mode == HEAL or seen.session.pending:
            return True
        return only_follows(seen, self.options.services, self.moved, self.facts, self.published)

    def _waits_for_consent(self, seen: ApplyResult) -> bool:
        """Whether the plan would reset state without consent: then its steps are pending, and none is drift."""
        self.resets = () if self.accepts_state_reset else seen.plan.resets
        if self.resets:
            self.drift, self.pending = (), tuple(dict.fromkeys((*self.pending, *self.resets)))
            if self._shown != self.resets:
                log.warning("%s", problem_of(self.resets))
            self._shown = self.resets
        return bool(self.resets)

    def _dropped(self, chosen: DesiredDocuments) -> frozenset[str]:
        """Topologies to delete: with `prune` those that no file has any more, and those that their source deleted."""
        gone = self.withdrawn | self.claimed if self.prune else self.withdrawn
        return gone - chosen.topologies if chosen.digest == self.wanted.digest else frozenset()

    # -- what came of it --------------------------------------------------------------------------------------------

    def _note(self, seen: ApplyResult) -> None:
        """Store the findings of a poll."""
        session = seen.session
        self.drift = tuple(change.address for change in session.drift)
        self.pending = tuple(change.address for change in session.pending)
        self.sealed = tuple(f"topology {name} is left as it is: {why}" for name, why in sorted(session.live.sealed.items()))
        waiting = waiting_in(seen)
        log_waiting(each for each in waiting if each not in self.waiting)
        self.waiting = waiting
        if fresh := [problem for problem in seen.refused if problem not in self.refused]:
            log.error("left out, while all else is applied:\n%s", words(DocumentError(fresh), self.sources()))
        self.refused = seen.refused

    def _succeeded(self, chosen: DesiredDocuments, seen: ApplyResult) -> None:
        """The kernel is in sync with `chosen`."""
        self._retries.passed(chosen.digest)
        self._shown = ()
        self.moved.clear()
        self.netdevs, self.records = seen.session.live.netdevs, seen.session.desired.state
        self.facts, self.published = seen.session.facts, seen.session.live.published
        self.applied = {topology.name: document_text(topology) for topology in seen.wanted}
        self.last_success = time.time()
        if chosen.digest == self.wanted.digest:
            self.good, self.claimed, self.withdrawn = chosen, chosen.topologies, frozenset()
            self._retries.only(chosen.digest)

    def _done(self, chosen: DesiredDocuments, done: ApplyResult, began: float, names: frozenset[str]) -> None:
        """Log and count a successful apply of these topologies."""
        session, duration = done.session, time.monotonic() - began
        others = others_versions(done, self.good.topologies, self.applied) if chosen.digest == self.good.digest else []
        self._note(done)
        forgotten = is_document_lost(done, names & self.applied.keys())
        drift = self.drift if not forgotten else tuple(dict.fromkeys(step.address for step in done.plan.steps))
        pending = bool(session.pending) and not forgotten
        result = "applied" if pending or chosen.digest != self.good.digest else "healed"
        self.trials.begin(chosen.documents, self.good.documents, partial(document_before, session.live.documents))
        self._succeeded(chosen, done)
        if not done.plan.steps:  # another writer was faster
            return
        self.tally.count(result, duration, done)
        self.last = {"result": result, "at": time.time(), "seconds": round(duration, 4), **totals_of(done)}
        self.last["disruption"] = str(done.plan.disruption)
        if drift:
            self.tally.drift_healed += len(drift)
            self.healed = [*self.healed, {"at": time.time(), "addresses": list(drift), "seconds": round(duration, 4)}][-20:]
        log_success(done, others, drift, chosen.topologies if pending else None, duration)
        self.drift, self.pending = (), ()

    def _failed(self, chosen: DesiredDocuments, error: Exception, began: float) -> None:
        said = words(error, self.sources())
        self.tally.count("failed", time.monotonic() - began)
        heal = chosen.digest == self.good.digest
        tries, delay = self._retries.failed(chosen.digest, said, time.monotonic(), heal=heal)
        self.last = {"result": "failed", "at": time.time(), "seconds": round(time.monotonic() - began, 4), "error": said}
        log_failure(said, tries, delay, heal=heal)

    def _say_observed(self, steps: tuple[str, ...]) -> None:
        """Log the steps that are not performed, once for each set of them."""
        if self._shown != steps:
            log_left(self.drift, self.pending, self.mode)
        self._shown = steps
