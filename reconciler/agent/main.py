"""pcn-agent: a watched directory that is always true in the kernel.

    files ──watch──┐
    netdevs ───────┼──▶ look ──▶ apply ──▶ kernel          every look reads the kernel afresh; the agent keeps no state
    a clock ───────┘                                       that it could not lose: kill it at any moment

One process, one loop. The datapath needs the agent for slow paths only, and outlives it.
"""
from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from reconciler.agent import place
from reconciler.agent.files import Files
from reconciler.agent.heal import HEAL, Healer
from reconciler.agent.loop import Loop
from reconciler.agent.netlink_events import LinkEvents
from reconciler.agent.notify import Notifier
from reconciler.agent.server import Server, http, metrics_listener, unix_listener
from reconciler.agent.slowpath import TICK, SlowPaths
from reconciler.agent.status import status, summary
from reconciler.agent.tidy import Tidier
from reconciler.agent.watch import Watcher
from reconciler.apply import Options

QUIET, AT_MOST, POLL = 0.3, 5.0, 5.0  # seconds: without a change before files are read, to wait for that, between polls
INTERVAL = 0.5  # seconds between looks, so that drift is healed within one
LATEST = 0.7  # ... even if looking takes long; between the two, it takes no more than this share of a CPU
SHARE = 0.03
_AFTER_POKE = 0.03  # an editor writes and renames: what quiet is counted from shall not wait for a look
_AFTER_LINKS = 0.01  # netdevs come in twos and threes
log = logging.getLogger("pcn.agent")


@dataclass(frozen=True, slots=True)
class Settings:
    """`paths` are files and directories; `metrics` an address, '' for none; `mode` as in `heal`."""

    paths: Sequence[str]
    options: Options
    mode: str = HEAL
    prune: bool = False
    metrics: str = ""
    interval: float = INTERVAL


@dataclass(slots=True)
class Agent:
    """One agent. `run` returns the exit code."""

    settings: Settings
    loop: Loop = field(default_factory=Loop)
    notifier: Notifier = field(default_factory=Notifier)
    started: float = field(default_factory=time.time)
    files: Files = field(init=False)
    healer: Healer = field(init=False)
    watcher: Watcher = field(init=False)
    links: LinkEvents = field(init=False)
    slow_path: SlowPaths = field(init=False)
    tidier: Tidier = field(default_factory=Tidier)
    _first_poke: float = 0.0
    _ready: bool = False

    def __post_init__(self) -> None:
        options = self.settings.options
        self.files = Files(self.settings.paths, options.merge)
        self.healer = Healer(options, self.settings.mode, self.settings.prune, self.files.texts)
        options.compiling = lambda *_: self.notifier.alive()
        options.progress = lambda *_: self.notifier.alive()

    def run(self) -> int:
        """Until SIGTERM or SIGINT. What is in the kernel stays there. Raises LockBusy, UsageError."""
        with ExitStack() as stack:
            one = place.OneAgent(self.settings.options.root)
            stack.callback(one.release)
            self._open(stack)
            self._read_files()
            self._poll()
            self._tick()
            if self.notifier.period:
                self._sign_of_life()
            self.loop.run()
            self.notifier.stopping()
            log.info("leaving; what was applied stays in the kernel")
        return 0

    def _open(self, stack: ExitStack) -> None:
        """Everything that the loop listens to."""
        self._take_signals(stack)
        root, services = self.settings.options.root, self.settings.options.services
        self.watcher, self.links, self.slow_path = Watcher(), LinkEvents(), SlowPaths(root, services)
        for part in (self.watcher, self.links, self.slow_path):
            stack.callback(part.close)
        self.loop.readable(self.watcher, self._files_poked)
        self.loop.readable(self.links, self._links_changed)
        self.loop.readable(self.slow_path, self.slow_path.drain)
        path = place.socket_path(root)
        serving = Server(self.loop, unix_listener(path), lambda _: json.dumps(self.status()).encode())
        stack.callback(os.unlink, path)
        stack.callback(serving.close)
        if self.settings.metrics:
            from reconciler.agent import metrics

            listener = metrics_listener(self.settings.metrics)
            page = metrics.Page(root, services, self.status, self.healer.tally)
            web = Server(self.loop, listener, lambda request: http(request, page.render, metrics.CONTENT_TYPE), b"\r\n\r\n")
            stack.callback(web.close)

    def status(self) -> dict[str, Any]:
        return status(self.files, self.healer, self.started, self.slow_path.counters())

    # -- signals ----------------------------------------------------------------------------------------------------

    def _take_signals(self, stack: ExitStack) -> None:
        """Signals come through a pipe, so that one which arrives in the middle of an apply is not lost."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        old = {number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for number, handler in old.items():
            stack.callback(signal.signal, number, handler)
        self.loop.readable(reading, lambda: self._signalled(os.read(reading, 64)))

    def _signalled(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.loop.stop()
        elif signal.SIGHUP in numbers:
            log.info("SIGHUP: looking at everything now")
            self.healer.forget()
            self._read_files()

    # -- files ------------------------------------------------------------------------------------------------------

    def _files_poked(self) -> None:
        """Something happened in a watched directory: read once it is quiet. Looking at the kernel now leaves less to look at
        then."""
        self.watcher.discard()
        now = time.monotonic()
        if not self._first_poke:
            self.loop.at("look", now + _AFTER_POKE, self._look)
        self._first_poke = self._first_poke or now
        self.loop.at("files", min(now + QUIET, self._first_poke + AT_MOST), self._files_quiet)

    def _files_quiet(self) -> None:
        if not self.files.settled() and time.monotonic() < self._first_poke + 2 * AT_MOST:
            self.loop.after("files", 0.05, self._files_quiet)
            return
        self._first_poke = 0.0
        if self.files.changed():
            self._read_files()

    def _read_files(self) -> None:
        self.healer.want(self.files.refresh(self.settings.options.services))
        for bad, words in self.files.news:
            log.log(logging.ERROR if bad else logging.INFO, "%s", words)
        self.files.news.clear()
        self.watcher.follow(self.files.paths())
        self._look()

    def _poll(self) -> None:
        """What no event told."""
        self.loop.after("poll", POLL, self._poll)
        if not self._first_poke and self.files.changed():
            self._files_poked()
        self.watcher.follow(self.files.paths())

    # -- the kernel -------------------------------------------------------------------------------------------------

    def _links_changed(self) -> None:
        self.links.discard()
        self.loop.sooner("links", _AFTER_LINKS, self._links_settled)

    def _links_settled(self) -> None:
        changes = self.links.changes()
        if changes:
            log.debug("%s", ", ".join(f"{name} {what}" for name, what in changes.items()))
            self.healer.moved |= changes.keys()
            self._look()

    def _look(self) -> None:
        began, before = time.monotonic(), sum(self.healer.tally.results.values())
        again = self.healer.look()
        took = time.monotonic() - began
        idle = sum(self.healer.tally.results.values()) == before  # what is done takes long for once; looking takes long always
        usual = max(self.settings.interval, min(LATEST, took / SHARE)) if idle else self.settings.interval
        if idle and not again:
            self.tidier.quiet()
        else:
            self.tidier.busy()
        self.loop.after("look", min(again, usual) if again else usual, self._look)
        self.slow_path.refresh()
        self._report()

    def _report(self) -> None:
        """Tell systemd how it goes."""
        if self._ready and not self.notifier.listened_to:
            return
        said = summary(self.status())
        self.notifier.status(said)
        if not self._ready:
            self._ready = True
            self.notifier.ready()
            log.info("ready: %s", said)

    def _tick(self) -> None:
        self.loop.after("tick", TICK, self._tick)
        self.slow_path.tick()

    def _sign_of_life(self) -> None:
        self.notifier.alive()
        self.loop.after("alive", self.notifier.period, self._sign_of_life)


def _nothing(*_: object) -> None:
    """A handler, so that the signal does not end the process."""
