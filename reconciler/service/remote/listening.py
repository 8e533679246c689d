"""Messages that a remote service sends on its own (POST /out): a thread polls for them, and the worker handles them in its
own time."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

from reconciler.errors import PcnError
from reconciler.service.remote.contact import Contact

WAIT, MARGIN = 30.0, 2.0  # seconds that the service may take to have something to say; that an answer may be late
PAUSE, AWAY = 0.1, 1.0  # seconds between two questions, however soon the first is answered; to the next one if it is not


class Listener:
    """One answer waits to be taken, and no other is requested meanwhile. `lost`: it was away, and may have forgotten its
    cubes."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._answers: Queue[Any] = Queue(1)
        self.lost = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> Any:
        """The messages, once; None: none. The first call starts the polling, which lasts as long as this process."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="pcn-out", daemon=True)
            self._thread.start()
        with suppress(Empty):
            return self._answers.get_nowait()
        return None

    def _listen(self) -> None:
        contact = self._contact.beside()
        while True:
            began = time.monotonic()
            try:
                answer = contact.ask("out", {"wait": WAIT}, seconds=WAIT + MARGIN)
            except PcnError:
                self.lost.set()
                time.sleep(AWAY)
                continue
            if answer:
                self._answers.put(answer)
            time.sleep(max(0.0, began + PAUSE - time.monotonic()))
