"""Fast path of the poll: compare a fresh read with the snapshot of the last poll in sync.

Checking documents, building the desired graph and planning are two thirds of a poll, with the same result as long as
nothing has changed. So the snapshot of the last poll without steps is kept, and compared with the current one. Any difference
causes a full poll.
"""
from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from reconciler.engine.apply import ApplyResult, Options
from reconciler.engine.builder import Builder
from reconciler.engine.session import Reconciler
from reconciler.engine.states import without_network
from reconciler.facts import SHADOW
from reconciler.graph.records import Live, OfNetwork, Record
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader
from reconciler.live.facts import host_facts
from reconciler.live.shadows import shadow_facts

_FRESH = 2.0  # seconds for which a poll's snapshot is recent: polls are about as frequent, and one follows each edit


class UnchangedCheck:
    """The snapshot of a poll that was in sync, to be compared with the kernel's current state."""

    def __init__(self, options: Options, seen: ApplyResult) -> None:
        session = seen.session
        self._ended = time.monotonic()
        self._options = options
        builder = Builder(options.services, root=options.root)
        self._reconciler = Reconciler(options.root, options.services, builder, kept=options.kept)
        self._calm: Live = session.live
        self._read = without_network(session.live)
        self._facts = session.facts
        wanted = session.desired.state.values()
        self._network: list[Record] = [r for r in wanted if isinstance(r, OfNetwork)]

    def is_unchanged(self) -> bool:
        """Read the kernel: whether nothing has changed since the snapshot. Raises LockBusy, KernelError."""
        with Bpffs(self._options.root).read_locked(self._options.lock_timeout):
            live = self._reconciler.live()
            state, conflicts = self._reconciler.with_links(live, self._network)
        calm = self._calm
        same = not conflicts and state == calm.state and live.netdevs == calm.netdevs and live.orphans == calm.orphans
        same = same and live.taps == calm.taps and live.published == calm.published
        same = same and self._facts_now(live) == self._facts
        if same:  # the new read is equal, and shares more objects
            self._ended, self._read, self._calm = time.monotonic(), live, replace(live, state=state)
        return same

    def _facts_now(self, live: Live) -> dict[str, Any]:
        root = Bpffs(self._options.root)
        return host_facts(self._facts, live.netdevs) | shadow_facts(Reader(root), self._facts.get(SHADOW, {}))

    def recent(self) -> Live | None:
        """The last read, if it is recent enough to base an apply on; else None."""
        return self._read if time.monotonic() - self._ended <= _FRESH else None

    def last(self) -> Live:
        """The last read, of any age."""
        return self._read
