"""pcn-agent: keeps the kernel in sync with a watched directory.

    files ──watch──┐
    netdevs ───────┼──▶ poll ──▶ apply ──▶ kernel          every poll reads the kernel; the agent holds no state
    a clock ───────┘                                       that must survive it: kill it at any moment

One event loop, and one job thread in which polls and applies run in sequence. Slow paths are processes of their own
(reconciler/slowpath). The datapath needs the agent for them only, and survives it.
"""
from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reconciler.agent import singleton
from reconciler.agent.carriers import forget_unless_locked
from reconciler.agent.controller import OBSERVE, Controller
from reconciler.agent.discovery import Discovery, discover
from reconciler.agent.facts import PublishedFacts
from reconciler.agent.files import Files
from reconciler.agent.following import facts_changed
from reconciler.agent.gc_policy import GcPolicy
from reconciler.agent.handover import Handover
from reconciler.agent.jobs import Jobs
from reconciler.agent.loop import Loop
from reconciler.agent.netlink_events import LinkEvents
from reconciler.agent.notify import Notifier
from reconciler.agent.polls import Polls
from reconciler.agent.report import Report
from reconciler.agent.server import Answer, Server, http, metrics_listener, unix_listener
from reconciler.agent.settings import Settings
from reconciler.agent.slowlog import SlowLog
from reconciler.agent.sources import SourceServer, Work
from reconciler.agent.status import resident, status
from reconciler.agent.sync import Sync
from reconciler.agent.watch import Watcher
from reconciler.errors import Interrupted, LockBusy
from reconciler.kernel.bpffs import Bpffs
from reconciler.plan.steps import Step
from reconciler.slowpath.supervisor import Supervisor
from reconciler.sources.feed import Feed

QUIET, AT_MOST, POLL = 0.3, 5.0, 5.0  # seconds: debounce of file events, its limit, interval of polling files
LATEST = 0.7  # longest poll interval where polls take long; below it, polls take at most SHARE of a CPU
SHARE = 0.03
_AFTER_POKE = 0.03  # an editor writes and renames: the poll shall not delay the debounce
_AFTER_LINKS = 0.01  # netdevs appear in pairs
_AFTER_FACTS = 0.02  # and so may facts
FIRST_SERVED = 5.0  # seconds to wait for workers before readiness is reported
log = logging.getLogger("pcn.agent")


@dataclass(slots=True)
class Agent:
    """One agent. `run` returns the exit code."""

    settings: Settings
    loop: Loop = field(default_factory=Loop)
    jobs: Jobs = field(init=False)
    polls: Polls = field(init=False)
    report: Report = field(init=False)
    started: float = field(default_factory=time.time)
    files: Files = field(init=False)
    healer: Controller = field(init=False)
    watcher: Watcher = field(init=False)
    links: LinkEvents = field(init=False)
    workers: Supervisor = field(init=False)
    feeds: list[Feed] = field(init=False)
    slow_log: SlowLog = field(default_factory=SlowLog)
    published: PublishedFacts = field(init=False)
    tidier: GcPolicy = field(default_factory=GcPolicy)
    _first_poke: float = 0.0
    _begun: bool = False  # the first poll is over, and requests are answered
    _stopping: bool = False
    _stamps: tuple[Any, ...] = ()
    _found: Discovery | None = None
    _servers: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = self.settings.options
        self.files = Files([*self.settings.paths, *(str(spool.directory) for _, spool in self.settings.feeds)], options.merge)
        self.feeds = [
            Feed(source, spool, self.files.host, self.settings.care, self._published, self._own_status)
            for source, spool in self.settings.feeds
        ]
        self.published = PublishedFacts(options.services)
        self.healer = Controller(options, self.settings.mode, self.settings.prune, self.files.texts)
        self.jobs = Jobs(self.loop, lambda: status(self.files, self.healer, self.started, None))
        self.polls = Polls(self.loop, self._poll_once, self._reported, self.settings.interval)
        self.report = Report(self.loop, self.jobs, Notifier())
        self.healer.is_awaited = lambda: self.jobs.is_awaited
        self.healer.in_force = self._in_force
        self.healer.accepts_state_reset = self.settings.accepts_state_reset
        options.compiling = self.jobs.gets_on
        options.progress = self._step

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; the kernel's state stays. Raises LockBusy, NewerFormat, UsageError."""
        with ExitStack() as stack:
            one = singleton.Singleton(self.settings.options.root)
            stack.callback(one.release)
            stack.callback(self.loop.close)
            Bpffs(self.settings.options.root).format()
            self._open(stack)
            self.tidier.begin()
            self.loop.start(self._begin())
            self.loop.run()
            self.report.notifier.stopping()
            self.loop.run_until(self.workers.close())
            log.info("leaving; what was applied stays in the kernel")
        return 0

    def _open(self, stack: ExitStack) -> None:
        """Register all event sources."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.on_signal(number, self._stop)
        self.loop.on_signal(signal.SIGHUP, self._refresh)
        root, services = self.settings.options.root, self.settings.options.services
        self.watcher, self.links = Watcher(), LinkEvents()
        self.workers = Supervisor(root, services, self._worker_says)
        for part in (self.watcher, self.links):
            stack.callback(part.close)
        for feed in self.feeds:
            stack.callback(feed.close)
        self.loop.readable(self.watcher, self._files_poked)
        self.loop.readable(self.links, self._links_changed)
        answers: dict[str, Answer] = {"": lambda _: json.dumps(self.status()).encode(), "log": self.slow_log.drain}
        for what, answer in answers.items():
            self._listen(stack, what, partial(Server, self.loop, answer=answer))
        handover = Handover(self.files, self.healer, self.jobs.do_awaited, self._read, self.polls.fresh, self._poll_overtaken)
        functions: dict[str, Work] = {**handover.functions(), "POST /sync": Sync(self.feeds, self._retry_all, self.status)}
        self._listen(stack, "documents", partial(SourceServer, self.loop, functions=functions))
        if self.settings.metrics:
            from reconciler.agent import metrics

            listener = metrics_listener(self.settings.metrics)
            page = metrics.Page(root, services, self.status, self.healer.tally)
            self._servers.append(lambda: Server(
                self.loop, listener, lambda request: http(request, page.render, metrics.CONTENT_TYPE), b"\r\n\r\n"))
            stack.callback(listener.close)

    def _listen(self, stack: ExitStack, what: str, serve: Callable[..., object]) -> None:
        """Serve a unix socket, from the first poll on: earlier there is no state to report."""
        path = singleton.socket_path(self.settings.options.root, what)
        listener = unix_listener(path)
        stack.callback(os.unlink, path)
        stack.callback(listener.close)
        self._servers.append(lambda: serve(listener=listener))

    def status(self) -> dict[str, Any]:
        """The present status; while a job runs, the one before it."""
        said = self.jobs.status()
        slow_path = {**self.workers.counters(), "published": self.slow_log.published}
        feeds = [feed.about() for feed in self.feeds]
        lost = [feed["problem"] for feed in feeds if feed["problem"]]
        said = {**said, "healthy": said["healthy"] and not lost, "problems": [*said["problems"], *lost], "feeds": feeds}
        return {**said, "slow_path": slow_path, "memory_kib": resident()}

    def _published(self) -> None:
        """On a feed's thread: its directory changed."""
        self.loop.from_thread(self._files_poked_by_feed)

    async def _files_poked_by_feed(self) -> None:
        if self._begun and await self.jobs.do(self.files.changed):
            await self._read_files()

    def _own_status(self) -> dict[str, Any] | None:
        """On a feed's thread: the status."""
        return singleton.ask(self.settings.options.root, 2.0)

    # -- signals ----------------------------------------------------------------------------------------------------

    def _step(self, _number: int, _total: int, step: Step) -> None:
        """Called at each step of an apply; on SIGTERM the apply is interrupted and rolled back."""
        self.jobs.gets_on()
        if self._stopping and step.rank.phase != "retire":
            raise Interrupted("stopped by SIGTERM")

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    async def _refresh(self) -> None:
        log.info("SIGHUP: looking at everything now")
        for feed in self.feeds:
            feed.sync()
        await self._retry_all()

    async def _retry_all(self) -> None:
        """Retry failures, read all files, and poll everything."""
        await self.jobs.do(self.healer.forget)
        await self.jobs.do(self._read)
        await self.polls.fresh()

    # -- files ------------------------------------------------------------------------------------------------------

    def _files_poked(self) -> None:
        """An event in a watched directory: read it after the debounce. Polling the kernel meanwhile saves reads then."""
        self.watcher.discard()
        now = time.monotonic()
        if not self._first_poke:
            self.loop.at("kernel poll", now + _AFTER_POKE, self.polls.now)
        self._first_poke = self._first_poke or now
        self.loop.at("files", min(now + QUIET, self._first_poke + AT_MOST), self._files_quiet)

    async def _files_quiet(self) -> None:
        if not await self.jobs.do(self.files.settled) and time.monotonic() < self._first_poke + 2 * AT_MOST:
            self.loop.after("files", 0.05, self._files_quiet)
            return
        self._first_poke = 0.0
        if await self.jobs.do(self.files.changed):
            await self._read_files()

    async def _read_files(self) -> None:
        await self.jobs.do(self._read)
        await self.polls.now()

    def _read(self) -> None:
        self.healer.want(self.files.refresh(self.settings.options.services))
        for bad, words in self.files.news:
            log.log(logging.ERROR if bad else logging.INFO, "%s", words)
        self.files.news.clear()
        self.watcher.follow(self.files.paths())

    async def _poll_files(self) -> None:
        """Changes without an event."""
        self.loop.after("file poll", POLL, self._poll_files)
        if not self._first_poke and await self.jobs.do(self.files.changed):
            self._files_poked()
        elif self.files.waits:
            await self._read_files()
        await self.jobs.do(lambda: self.watcher.follow(self.files.paths()))

    def _services_changed(self) -> bool:
        """Whether the code of a service changed, or it is installed again. Failures that it caused are retried at once."""
        before, self._stamps = self._stamps, self.settings.options.services.stamps()
        if before != self._stamps:
            self.healer.forget()
        return before != self._stamps

    # -- the kernel -------------------------------------------------------------------------------------------------

    def _links_changed(self) -> None:
        self.links.discard()
        self.loop.sooner("links", _AFTER_LINKS, self._links_settled)

    async def _links_settled(self) -> None:
        changes = self.links.changes()
        dead = self.links.lost(changes)
        if changes:
            await self.polls.ended()
            changes = {name: what for name, what in changes.items() if not self.links.is_as(name, self.healer.netdevs.get(name))}
        if changes:
            log.debug("%s", ", ".join(f"{name} {what}" for name, what in changes.items()))
            self.polls.moved |= changes.keys()
        if dead:  # which no poll handles
            await self.jobs.do(lambda: self._forget_behind(dead))
        is_needed = bool(changes) or await self.jobs.do(self._facts_changed)
        if is_needed:
            await self.polls.now()

    def _forget_behind(self, netdevs: Collection[str]) -> None:
        """On the job thread."""
        if self.settings.mode != OBSERVE:
            forget_unless_locked(netdevs, self.settings.options, self.healer.records)

    def _facts_changed(self) -> bool:
        return facts_changed(self.healer.facts, self.settings.options.root)

    def _worker_says(self, kind: str, said: Mapping[str, Any]) -> None:
        if kind != "fact":
            self.slow_log.take(kind, said)
        elif self.published.take(said):
            self.loop.sooner("facts", _AFTER_FACTS, self.polls.now)

    async def _poll_once(self, moved: Collection[str]) -> float:
        """Returns the seconds until the next poll. `moved`: netdevs that appeared, disappeared or changed."""
        pause, found = await self.jobs.do(lambda: self._poll_kernel(moved))
        self._serve(found)
        self.slow_log.forget({cube.name for cube in found.cubes})
        return pause

    def _in_force(self) -> None:
        """On the job thread, during the poll."""
        self.jobs.in_force()
        self.loop.from_thread(self.polls.in_force)

    async def _poll_overtaken(self) -> None:
        """Wait for the current poll; since a source waits, one that finds nothing new ends early."""
        with self.jobs.awaited():
            await self.polls.ended()

    def _serve(self, found: Discovery) -> None:
        self.published.serve(found.cubes)
        self.workers.serve(found.cubes, found.shared_ring)

    def _poll_kernel(self, moved: Collection[str]) -> tuple[float, Discovery]:
        """On the job thread: returns the delay until the next poll, and the cubes with a slow path."""
        self.healer.moved.update(moved)
        if self._services_changed():
            self._read()
        if self.settings.mode != OBSERVE:
            with suppress(LockBusy):  # the next poll retries
                self.published.keep(self.settings.options.root, self.settings.options.lock_timeout)
        began, before = time.monotonic(), sum(self.healer.tally.results.values())
        again = self.healer.poll()
        took = time.monotonic() - began
        idle = sum(self.healer.tally.results.values()) == before  # an apply takes long once, a poll every time
        usual = max(self.settings.interval, min(LATEST, took / SHARE)) if idle else self.settings.interval
        if idle and not again:
            self.tidier.quiet()
        else:
            self.tidier.busy()
        return min(again, usual) if again else usual, self._discovered()

    def _discovered(self) -> Discovery:
        self._found = discover(self.settings.options.root, self.settings.options.services, self._found)
        return self._found

    # -- what is said -----------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """The first poll, then the periodic work. Packets of programs of an older version are served before: the first apply may
        remove the pin of their ring."""
        found = await self.jobs.do(self._discovered)
        self._serve(found)
        await self._read_files()
        await self.workers.settled(FIRST_SERVED)
        for serve in self._servers:
            serve()
        for feed in self.feeds:
            feed.start()
        self._begun = True
        self._reported()
        self.report.begin()
        await self._poll_files()

    def _reported(self) -> None:
        """Nothing is reported before the first poll is over."""
        if self._begun:
            self.report.tell(self.status, is_concluded=self.healer.concluded)
