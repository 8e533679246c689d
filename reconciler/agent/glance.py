"""A look that costs little: is the kernel exactly as it was when all was well?

Checking documents, building the desired graph and planning are two thirds of a look, and say the same every time as long as
nothing has changed. So what was read when there was nothing to do is kept, and compared with what is read now. Any difference,
whatever it means, leads to a whole look.
"""
from __future__ import annotations

from reconciler.apply import Options
from reconciler.graph.records import LinkRecord, Live, NamespaceRecord, OffloadRecord, Record
from reconciler.kernel.bpffs import Bpffs
from reconciler.survey import Builder, Looker, Survey


class Glance:
    """The kernel as it was when it was as wanted."""

    def __init__(self, options: Options, survey: Survey) -> None:
        self._options = options
        self._looker = Looker(options.root, options.services, Builder(options.services), kept=options.kept)
        self._calm: Live = survey.live
        wanted = survey.desired.state.values()
        self._network: list[Record] = [r for r in wanted if isinstance(r, NamespaceRecord | LinkRecord | OffloadRecord)]

    def is_calm(self) -> bool:
        """Whether nothing has changed since. Raises LockBusy, KernelError."""
        with Bpffs(self._options.root).read_locked(self._options.lock_timeout):
            live = self._looker.live()
            state, conflicts = self._looker.with_links(live, self._network)
        calm = self._calm
        return not conflicts and state == calm.state and live.netdevs == calm.netdevs and live.leftovers == calm.leftovers
