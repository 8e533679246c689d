"""The documents socket, at which other root processes submit topologies: a Kubernetes provider, a Git or etcd follower.

    PUT /topology     {"source": "kubernetes", "revision": "8123", "document": {...}, "wait": 5}
    PATCH /topology   {"source": "kubernetes", "topology": "node", "since": "8123", "revision": "8124", "wait": 5,
                       "edits": [{"path": ["lb", "service", "10.0.0.1", "80", "TCP"], "operation": "replace", "value": {...}}]}
    DELETE /topology  {"source": "kubernetes", "topology": "node", "wait": 5}
    GET /topologies   all submitted topologies
    POST /sync        fetch from Git and etcd now (agent/sync)
    POST /look        poll the kernel now; answered after that poll, with the ports that wait for a netdev

HTTP/1.1 with JSON on /run/pcn/<root>.documents.sock. A submitted document counts as a file named `source:topology`: it is checked
with all others, its last good version stays in force while a later one is refused, and it is healed. The answer is sent once it
is in force, or cannot be:

    {"source", "topology", "revision", "state": "applied" | "refused" | "failed" | "waiting", "problem",
     "waiting": [{"port", "netdev"}]}

PATCH edits a few entries of a document of which the agent has revision `since`. If it has another one, or an edit is invalid,
nothing is changed and the answer is an error: then PUT the entire document. Paths and operations are those of `engine/edit`.

`revision` is opaque, chosen by the source, and returned. The agent stores nothing on disk: after its restart the kernel's state
is unchanged, and a source submits the documents that GET does not list.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from reconciler.agent.loop import Loop
from reconciler.document.load import MAX_BYTES
from reconciler.engine.edit import CREATE, DELETE, REPLACE, Change
from reconciler.rpc.contract import Bounds, RpcError
from reconciler.rpc.server import LATER, Connection, accept

Work = Callable[[Any], Awaitable[Any]]
LONGEST_WAIT, USUAL_WAIT = 60.0, 5.0  # seconds until a request is answered with the present state
_MOST = 32
_BOUNDS = Bounds(body=MAX_BYTES)
_SOURCE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TOPOLOGY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Given:
    """A submitted document; None if the source deletes it. `wait` in seconds."""

    source: str
    topology: str
    revision: str
    document: Mapping[str, Any] | None
    wait: float

    @property
    def path(self) -> str:
        """Its name among the files."""
        return f"{self.source}:{self.topology}"


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of a submitted document: path and change of each."""

    path: str
    since: str
    revision: str
    changes: Sequence[tuple[Sequence[str], Change]]
    wait: float


def edits_of(said: Any) -> Edits:
    """Raises RpcError for an invalid request."""
    about = given_of(said, deletes=True)
    edits = said.get("edits")
    if not isinstance(edits, list) or not all(map(_is_edit, edits)):
        raise RpcError('"edits" is a list of objects with "path", "operation" and "value"')
    changes = [(each["path"], Change(each["operation"], each.get("value"))) for each in edits]
    return Edits(about.path, str(said.get("since", "")), about.revision, changes, about.wait)


def _is_edit(said: Any) -> bool:
    path = said.get("path") if isinstance(said, dict) else None
    is_path = isinstance(path, list) and bool(path) and all(isinstance(word, str) for word in path)
    return is_path and said.get("operation") in (CREATE, REPLACE, DELETE)


def given_of(said: Any, *, deletes: bool = False) -> Given:
    """Raises RpcError for an invalid request."""
    if not isinstance(said, dict):
        raise RpcError("expected an object")
    source, document = said.get("source"), None if deletes else said.get("document")
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise RpcError('"source" is a name of lower-case letters, digits and hyphens')
    if not deletes and not isinstance(document, dict):
        raise RpcError('"document" is a topology, as an object')
    named = said if deletes else (document or {}).get("metadata")
    name = (named or {}).get("topology" if deletes else "name") if isinstance(named, dict | None) else None
    if not isinstance(name, str) or not _TOPOLOGY.fullmatch(name):
        raise RpcError("the topology has no name" if not deletes else '"topology" is the name of one')
    return Given(source, name, str(said.get("revision", "")), document, wait_of(said))


def wait_of(said: Any) -> float:
    wait = said.get("wait", USUAL_WAIT) if isinstance(said, dict) else USUAL_WAIT
    if not isinstance(wait, int | float) or not 0 <= wait <= LONGEST_WAIT:
        raise RpcError(f'"wait" is a number of seconds, {LONGEST_WAIT:g} at most')
    return float(wait)


class SourceServer:
    """Serves `functions` (by method and path) to root processes. They may take long; a connection has one request at a time."""

    def __init__(self, loop: Loop, listener: socket.socket, functions: Mapping[str, Work]) -> None:
        self._loop, self._listener, self._functions = loop, listener, functions
        self._open: dict[int, Connection] = {}
        listener.setblocking(False)
        loop.readable(listener, self._accept)

    def _accept(self) -> None:
        sock = accept(self._listener)
        if sock is None:
            return
        if len(self._open) >= _MOST:
            sock.close()
            return
        functions: dict[str, Callable[[Any], Any]] = {}
        connection = Connection(sock, functions, _BOUNDS)
        for name, work in self._functions.items():
            functions[name] = partial(self._begin, connection, work)
        fd = connection.fileno()
        self._open[fd] = connection
        self._loop.readable(fd, lambda: self._happened(fd, connection))

    def _happened(self, fd: int, connection: Connection) -> None:
        connection.writable() if connection.unsent else connection.readable()
        self._follow(fd, connection)

    def _follow(self, fd: int, connection: Connection) -> None:
        """Wait for the next request on a connection."""
        self._loop.forget(fd)
        if connection.closed:
            self._open.pop(fd, None)
        elif connection.unsent:
            self._loop.writable(fd, lambda: self._happened(fd, connection))
        else:
            self._loop.readable(fd, lambda: self._happened(fd, connection))

    def _begin(self, connection: Connection, work: Work, said: Any) -> Any:
        self._loop.start(self._answer(connection, work, said))
        return LATER

    async def _answer(self, connection: Connection, work: Work, said: Any) -> None:
        try:
            status, answer = 200, await work(said)
        except RpcError as error:
            status, answer = 400, {"error": str(error)}
        if not connection.closed:
            fd = connection.fileno()
            connection.reply(status, answer)
            self._follow(fd, connection)
