"""Perform operations: by their type, in files of the same names as those of `plan.operations`. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.errors import kernel_error
from reconciler.kernel.bpffs import Bpffs
from reconciler.live.execute.forwarding import Forwarding
from reconciler.live.execute.names import Names
from reconciler.live.execute.network import Network
from reconciler.live.execute.opened import Opened, Performers
from reconciler.live.execute.programs import Programs
from reconciler.live.execute.tables import Tables
from reconciler.live.prefetch import Prefetcher
from reconciler.plan.operations import Operation
from reconciler.service.registry import Services


class Executor:
    """Performs operations below one root. `objects` are the compiled objects by digest; `planned` are the operations that will be
    requested, in order, of which programs may be loaded ahead. `services` know how rows of an older layout become newer ones."""

    def __init__(
        self, root: Bpffs, objects: Mapping[str, Any], planned: Iterable[Operation] = (), services: Services | None = None
    ) -> None:
        self.warnings: list[str] = []  # what was done in another way than asked for
        self._opened, self._network = Opened(root), Network(root)
        self._ahead = Prefetcher(planned, self._opened.fds, objects)
        self.performers: Performers = {
            **Names(self._opened).performers(),
            **Tables(self._opened, services, self.warnings).performers(),
            **Programs(self._opened, objects, self._ahead, self.warnings).performers(),
            **Forwarding(self._opened).performers(),
            **self._network.performers(),
        }

    def do(self, operation: Operation) -> None:
        """Raises KernelError (or another PcnError); an operation that raises has changed nothing that matters."""
        perform = self.performers[type(operation)]
        try:
            perform(operation)
        except OSError as error:
            raise kernel_error(str(operation), error.errno or 0) from error

    def close(self) -> None:
        self._ahead.close()
        self._opened.close()
        self._network.close()
