"""The cubes' log for `GET /events?log`: lines of programs and slow paths, as in `pcn log -f`.

Each line can be read once. So the log is read only while there is a listener; meanwhile `pcn log` is refused, and without one
lines are kept in the ring.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reconciler.agent.logs import follow
from reconciler.api.events import Hub
from reconciler.errors import PcnError
from reconciler.service.registry import Services

MOST_LINES = 200  # of one event; of more, the last ones and the number of those before
_TOGETHER, _AGAIN = 0.2, 2.0  # seconds: to batch lines; to retry while another process reads the log
log = logging.getLogger("pcn.api")


class CubeLog:
    """Reads on a thread of its own. `log` events are {"lines", "left_out"}, or {"error"} while the log is unreadable."""

    def __init__(self, hub: Hub, root: str, services: Services) -> None:
        self._hub, self._root, self._services = hub, root, services
        self._lines: deque[dict[str, Any]] = deque(maxlen=MOST_LINES)
        self._came = 0
        self._lock = threading.Lock()

    async def run(self) -> None:
        """Run until cancelled; the thread ends once nobody wants lines."""
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "log")
        try:
            while True:
                await self._hub.somebody_for_log()
                reading = loop.run_in_executor(thread, self._read)
                while not reading.done():
                    await asyncio.wait([reading], timeout=_TOGETHER)
                    self._tell()
                if why := reading.result():
                    self._hub.tell("log", {"error": why}, log=True)
                    await asyncio.sleep(_AGAIN)
        finally:
            thread.shutdown(wait=False)

    def _read(self) -> str:
        """Returns the error that ended it; '' if nobody wants lines any more."""
        try:
            for line in follow(self._root, self._services, forever=True, wanted=lambda: self._hub.wants_log):
                with self._lock:
                    self._lines.append(line)
                    self._came += 1
        except (PcnError, OSError) as error:
            return str(error)
        except Exception as error:  # a bug of pcn's: reported, and retried
            log.exception("the cubes' log cannot be told")
            return f"a mistake in pcn: {error!r}"
        return ""

    def _tell(self) -> None:
        with self._lock:
            lines, left_out = list(self._lines), self._came - len(self._lines)
            self._lines.clear()
            self._came = 0
        if lines:
            self._hub.tell("log", {"lines": lines, "left_out": left_out}, log=True)
