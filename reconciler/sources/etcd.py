"""Keys of etcd below a prefix, over its JSON gateway (`/v3/...`): each key a document, `<prefix><name>`.

A watch begins after the revision that was read; whenever it ends (etcd restarted, the revision compacted), everything is read
again. A host's status is the key `/pcn/status/<host>` under a lease, and expires with the host.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import select
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.document.load import MAX_BYTES, SUFFIXES
from reconciler.errors import UsageError
from reconciler.sources import fleet
from reconciler.sources.source import Revision, SourceError

STATUS, PRUNE = "/pcn/status/", "/pcn/prune"
LEASE = 60  # seconds after which the status of a silent host expires
SECONDS, MOST = 5.0, 64 << 20  # for one request, and bytes of a response, or of one message of a watch
_AGAIN = 0.5  # seconds between attempts to watch
_ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised by parsing an invalid response
_CHUNK_END = len("\r\n")
_KEY = re.compile(r"[A-Za-z0-9_][\w.-]{0,200}", re.ASCII)


class EtcdSource:
    """`url` as http://127.0.0.1:2379; `tls`: ca, cert and key as paths, for https."""

    name, forgets = "etcd", True

    def __init__(self, url: str, prefix: str = "/pcn/topologies/", tls: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise UsageError(f"{url!r} is no URL of etcd, such as http://127.0.0.1:2379")
        if tls and parts.scheme != "https":
            raise UsageError(f"certificates go with https, and not with {url}")
        self._host, self._port = parts.hostname, parts.port or 2379
        self._tls = dict(tls or {}) if parts.scheme == "https" else None
        self._context: tuple[Any, ssl.SSLContext] | None = None  # identity of its files, and the context
        self._prefix, self.words = prefix, f"etcd {url}{prefix}"
        self._files: dict[str, bytes] = {}
        self._revision = 0  # of `_files`
        self._told = -1
        self._watch: _Watch | None = None
        self._lease = 0

    # -- documents --------------------------------------------------------------------------------------------------

    def kept(self) -> Revision | None:
        return None  # the spool has the last publication

    def fetch(self) -> Revision | None:
        if self._watch is None:
            self._read()
            self._watch = self._open_watch()
        if self._told == self._revision:
            return None
        prune = self._ask("kv/range", {"key": _b64(PRUNE)}).get("kvs", [])
        return Revision(str(self._revision), dict(self._files), bool(prune) and _text(prune[0]["value"]).strip() == "all")

    def keep(self, revision: Revision) -> None:
        self._told = int(revision.id)

    def _read(self) -> None:
        said = self._ask("kv/range", {"key": _b64(self._prefix), "range_end": _b64(_after(self._prefix))})
        try:
            self._files, self._revision = dict(self._documents(said.get("kvs", []))), int(said["header"]["revision"])
        except _ODD:
            raise SourceError(f"{self.words} gives what cannot be read") from None

    def _documents(self, kvs: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
        for each in kvs:
            if (file := self._file(each)) is not None:
                yield file, base64.b64decode(each.get("value", ""))

    def _file(self, kv: Mapping[str, Any]) -> str | None:
        """The file name of a key's document; None for a key that is no document."""
        name = _text(kv["key"]).removeprefix(self._prefix)
        if not _KEY.fullmatch(name) or len(kv.get("value", "")) > MAX_BYTES:
            return None
        return name if name.endswith(SUFFIXES) else f"{name}.yaml"

    def wait(self, poked: threading.Event, seconds: float) -> bool:
        """Whether a key has changed. A burst of changes is reported once."""
        if self._watch is None:
            poked.wait(_AGAIN)
            return True
        deadline = time.monotonic() + seconds
        try:
            while not poked.is_set() and time.monotonic() < deadline:
                if self._take(self._watch.events(min(0.2, seconds))):
                    while self._take(self._watch.events(0.02)):
                        pass
                    return True
            return False
        except (OSError, http.client.HTTPException, *_ODD) as error:
            self._forget()
            raise SourceError(f"{self.words}: the watch has ended: {error}") from None

    def _take(self, events: list[dict[str, Any]]) -> bool:
        for said in events:
            result = said.get("result", {})
            if result.get("canceled") or "error" in said:
                raise ValueError(result.get("cancel_reason") or said.get("error"))
            for event in result.get("events", []):
                file = self._file(event["kv"])
                if event.get("type") == "DELETE" and file is not None:
                    self._files.pop(file, None)
                elif file is not None:
                    self._files[file] = base64.b64decode(event["kv"].get("value", ""))
            if result.get("events"):
                self._revision = int(result["header"]["revision"])
        return bool(events)

    def at(self, revision: str) -> Revision:
        asked = {"key": _b64(self._prefix), "range_end": _b64(_after(self._prefix)), "revision": str(int(revision))}
        said = self._ask("kv/range", asked)
        return Revision(revision, dict(self._documents(said.get("kvs", []))))

    # -- statuses ---------------------------------------------------------------------------------------------------

    def report(self, host: str, status: Mapping[str, Any]) -> None:
        if self._lease and not int(self._ask("lease/keepalive", {"ID": str(self._lease)}).get("result", {}).get("TTL", 0)):
            self._lease = 0  # it has expired
        if not self._lease:
            self._lease = int(self._ask("lease/grant", {"TTL": str(LEASE), "ID": "0"})["ID"])
        try:
            self._ask("kv/put", {"key": _b64(f"{STATUS}{host}"), "value": _b64(json.dumps(status)), "lease": str(self._lease)})
        except SourceError:
            self._lease = 0  # it was lost
            raise

    def statuses(self) -> list[Mapping[str, Any]]:
        said = self._ask("kv/range", {"key": _b64(STATUS), "range_end": _b64(_after(STATUS))})
        return fleet.read(_text(each.get("value", "")) for each in said.get("kvs", []))

    # -- the gateway ------------------------------------------------------------------------------------------------

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=SECONDS, context=self._of_files(self._tls))
        return http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)

    def _of_files(self, tls: Mapping[str, str]) -> ssl.SSLContext:
        """Reloads replaced certificates: they are renewed more often than agents are restarted. Raises SourceError."""
        try:
            seen = [(path, about.st_ino, about.st_ctime_ns) for path in tls.values() for about in (os.stat(path),)]
            if self._context is None or self._context[0] != seen:
                self._context = seen, _context(tls)
        except OSError as error:  # ssl.SSLError, too
            raise SourceError(f"{self.words}: a certificate or key cannot be used: {error.strerror or error}") from None
        return self._context[1]

    def _ask(self, what: str, said: Mapping[str, Any]) -> dict[str, Any]:
        connection = self._connection()
        try:
            connection.request("POST", f"/v3/{what}", json.dumps(said))
            response = connection.getresponse()
            found = json.loads(_whole(response))
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            self._forget()
            raise SourceError(f"{self.words} is away: {self._why(error)}") from None
        finally:
            connection.close()
        if response.status != 200 or not isinstance(found, dict):
            why = found.get("error", response.status) if isinstance(found, dict) else "no object"
            raise SourceError(f"{self.words}: {what}: {why}")
        return found

    def _why(self, error: Exception) -> str:
        """The reason of a failure: a client rejected in TLS 1.3 gets an alert, or a closed connection."""
        words = str(getattr(error, "strerror", None) or error)
        own = (self._tls or {}).get("cert")
        closed = isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError | http.client.RemoteDisconnected)
        return f"{words}; does it accept {own}?" if closed and own else words

    def _open_watch(self) -> _Watch:
        connection = self._connection()
        asked = {"key": _b64(self._prefix), "range_end": _b64(_after(self._prefix)), "start_revision": str(self._revision + 1)}
        try:
            connection.request("POST", "/v3/watch", json.dumps({"create_request": asked}))
            return _Watch(connection)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise SourceError(f"{self.words} is away: {self._why(error)}") from None

    def _forget(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        self._forget()


class _Watch:
    """A stream of JSON objects, one a line, as chunks of a response without end."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._response = connection.getresponse()
        self._poll = select.poll()  # select(2) is limited to descriptors below 1024
        if connection.sock is not None:
            self._poll.register(connection.sock, select.POLLIN)
        self._buffer = b""

    def events(self, seconds: float) -> list[dict[str, Any]]:
        """The events within that time. Raises OSError at the end of the stream, ValueError for invalid JSON."""
        if not self._has_more() and not self._poll.poll(seconds * 1000):
            return []
        part = self._response.read1(1 << 16)
        if not part:
            raise OSError("it was closed")
        *lines, self._buffer = (self._buffer + part).split(b"\n")
        if len(self._buffer) > MOST:
            raise OSError(f"it says more than {MOST} bytes at once")
        return [json.loads(line) for line in lines if line.strip()]

    def _has_more(self) -> bool:
        """Whether more than the CRLF of the last chunk can be read without blocking."""
        sock = self._connection.sock
        if sock is None:
            return True
        sock.setblocking(False)
        try:
            return len(self._response.fp.peek(1)) > _CHUNK_END
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            sock.settimeout(SECONDS)

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def _whole(response: http.client.HTTPResponse) -> bytes:
    """The body, within the deadline and the size limit, however slowly it arrives. Raises OSError."""
    parts, size, until = [], 0, time.monotonic() + SECONDS
    length = response.length  # Python versions differ in whether it decreases with reads
    while length is None or size < length:
        if not (part := response.read1(1 << 16 if length is None else min(1 << 16, length - size))):
            break
        parts.append(part)
        size += len(part)
        if size > MOST:
            raise OSError(f"it answers with more than {MOST} bytes")
        if time.monotonic() > until:
            raise OSError(f"it did not answer within {SECONDS:g} s")
    return b"".join(parts)


def _context(tls: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.get("ca") or None)
    if "cert" in tls:
        context.load_cert_chain(tls["cert"], tls.get("key"))
    return context


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")


def _after(prefix: str) -> str:
    """The range_end for the keys with this prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else os.sep
