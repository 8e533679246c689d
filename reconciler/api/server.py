"""The server process: sockets, HTTP server, and shutdown. Idle clients block nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from reconciler.agent import singleton, stats
from reconciler.agent.notify import Notifier
from reconciler.api.answers import Refusal
from reconciler.api.app import App
from reconciler.api.callers import Policy
from reconciler.api.cube_log import CubeLog
from reconciler.api.drift import CachedDrift
from reconciler.api.events import Hub, watch
from reconciler.api.listeners import BACKLOG, Tls, listeners
from reconciler.api.ownership import refuse_two_sources
from reconciler.api.picture import picture
from reconciler.api.saved import SavedTopology
from reconciler.api.store import Store
from reconciler.engine.apply import Options
from reconciler.errors import PcnError, UsageError
from reconciler.kernel.bpffs import Bpffs

log = logging.getLogger("pcn.api")
MOST_CONNECTIONS = 2048
_HEADERS = 10.0  # seconds to receive a request's headers
_KEEP_ALIVE, _LEAVE = 30, 15  # seconds: idle between requests; for open requests at shutdown
_EVERY = 0.5  # seconds between polls for listeners of events; more where a poll takes long
_YOUNG = 100_000  # threshold of garbage collection: a request allocates many objects, and few stay
CLIENTS_LOG = "/var/log/polycube"  # Polycube's client exits at once without it


@dataclass(slots=True)
class Settings:
    options: Options
    listen: Sequence[str]
    topology: str
    file: str
    policy: Policy = field(default_factory=Policy)
    tls: Tls | None = None


class _Connection(H11Protocol):
    """A connection that is closed if no request arrives, or there are too many. `standing`: all open ones, oldest first, except
    those being closed: a thousand may be accepted before the loop sees a close."""

    standing: ClassVar[dict[_Connection, None]] = {}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self._silence = self.loop.call_later(_HEADERS, self._give_up)
        if len(self.standing) >= MOST_CONNECTIONS:
            oldest = next(filter(_is_idle, self.standing), self)
            self.standing.pop(oldest, None)
            oldest.transport.abort()
            if oldest is self:
                return
        self.standing[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.standing.pop(self, None)
        self._silence.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if not self._asked():
            self.transport.abort()


    def _asked(self) -> bool:
        """Whether a request has arrived; uvicorn's types claim that `cycle` always exists."""
        return getattr(self, "cycle", None) is not None


def _is_idle(connection: Any) -> bool:
    return connection.cycle is None or connection.cycle.response_complete


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process handles signals, as it may have two servers


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. What was applied stays. Raises PcnError."""
    hub = Hub()
    store = Store(settings.options, settings.topology, SavedTopology(settings.file), hub.tell_from_thread)
    Bpffs(settings.options.root).format()
    with suppress(OSError):
        os.makedirs(CLIENTS_LOG, 0o755, exist_ok=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sockets = listeners(settings.listen, settings.tls)
    try:
        try:
            refuse_two_sources(store)
        except Refusal as error:
            raise UsageError(str(error)) from None
        store.start()
        gc.set_threshold(_YOUNG)
        asyncio.run(_serve(App(store, settings.policy, hub), settings, sockets))
    finally:
        for sock in sockets:
            sock.close()
        for place in settings.listen:
            if place.startswith("unix:"):
                with suppress(FileNotFoundError):
                    os.unlink(place.removeprefix("unix:"))
    log.info("leaving; what was applied stays in the kernel")
    return 0


async def _serve(app: App, settings: Settings, sockets: Sequence[socket.socket]) -> None:
    app.hub.start()
    secure = [sock for sock in sockets if settings.tls is not None and sock.family != socket.AF_UNIX]
    plain = [sock for sock in sockets if sock not in secure]
    servers = [(_Server(_config(app, tls)), some) for tls, some in ((None, plain), (settings.tls, secure)) if some]
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tasks = [asyncio.create_task(server.serve(sockets=list(some))) for server, some in servers]
    cube_log = CubeLog(app.hub, app.store.options.root, app.store.options.services)
    watching = [asyncio.create_task(each) for each in (_watch(app), cube_log.run())]
    notifier = Notifier()
    notifier.ready()
    log.info("ready: %s, topology %s in %s", ", ".join(settings.listen), settings.topology, settings.file)
    ended = asyncio.create_task(stopped.wait())
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    notifier.stopping()
    ended.cancel()
    app.hub.close()
    for task in watching:
        task.cancel()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
    await loop.run_in_executor(app.thread, lambda: None)  # a write in progress is completed
    app.thread.shutdown()


def _config(app: App, tls: Tls | None) -> uvicorn.Config:
    secure: Mapping[str, Any] = {}
    if tls is not None:
        secure = {"ssl_certfile": tls.cert, "ssl_keyfile": tls.key, "ssl_ca_certs": tls.ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return uvicorn.Config(
        app,
        http=_Connection, ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False, server_header=False,
        backlog=BACKLOG, timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=_LEAVE, proxy_headers=False, **secure,
    )  # fmt: skip


async def _watch(app: App) -> None:
    store, loop = app.store, asyncio.get_running_loop()
    root, services = store.options.root, store.options.services

    def ask(question: Callable[[], Any]) -> Any:
        return loop.run_in_executor(app.thread, _answered, question)

    questions: dict[str, Callable[[], Any]] = {
        "graph": lambda: picture(store),
        "drift": CachedDrift(store.options),
        "topology": lambda: {name: store.revision(name) for name in store.texts()},
        "agent": lambda: _agent(root),
        "counters": lambda: stats.plain(stats.read(root, services, entries=False)),
    }
    await watch(app.hub, ask, questions, _EVERY)


def _answered(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except (PcnError, OSError) as error:
        return {"error": str(error)}
    except Exception as error:  # a bug of pcn's: reported, and retried
        log.exception("an event could not be told")
        return {"error": f"a mistake in pcn: {error!r}"}


def _agent(root: str) -> dict[str, Any]:
    """The part of the agent's status that changes by itself."""
    said = singleton.ask(root, 1.0)
    told = ("healthy", "problems", "drift", "pending", "waiting", "last")
    return {"running": said is not None, **{name: said[name] for name in told if said is not None and name in said}}
