"""Calls a service elsewhere, and ensures with each connection that it is still the one that was agreed on."""

from __future__ import annotations

import os
import socket
import ssl
import time
import weakref
from contextlib import suppress
from datetime import datetime
from typing import Any

from reconciler.errors import PcnError, ServiceAway, ServiceRefused
from reconciler.rpc.blocking import Away, Caller
from reconciler.rpc.contract import RpcError
from reconciler.rpc.exchange import CLOSED
from reconciler.service.remote import manifest as manifests
from reconciler.service.remote.kept import Kept
from reconciler.service.remote.manifest import Manifest
from reconciler.service.remote.places import Place


class _BySocket:
    """By a unix socket in a directory that no other user can write to."""

    def __init__(self, place: Place) -> None:
        self._place, self._fd = place, -1

    def prepare(self) -> None:
        from reconciler.kernel import trusted

        if self._fd < 0:
            home, place = os.path.dirname(self._place.socket), self._place
            anywhere = bool(place.file)
            self._fd = (
                trusted.open_directory(home, sticky=True, also=place.uid) if anywhere else trusted.own_directory(home, make=False)
            )
            weakref.finalize(self, os.close, self._fd)

    def __call__(self, seconds: float) -> socket.socket:
        from reconciler.kernel import rundir, trusted

        self.prepare()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(seconds)
            sock.connect(trusted.at(self._fd, os.path.basename(self._place.socket)))
            user = rundir.peer(sock)[1]
            if user not in (0, os.geteuid(), self._place.uid):
                raise OSError(f"it is served by user {user}, who is not to be believed")
        except BaseException:
            sock.close()
            raise
        return sock


class _ByTls:
    """By TLS, to a peer that proves to be the service of this name."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._context: ssl.SSLContext | None = None
        self._addresses: list[Any] = []

    def prepare(self) -> None:
        self._context = self._context or _context(self._place)
        self._addresses = self._addresses or socket.getaddrinfo(self._place.host, self._place.port, type=socket.SOCK_STREAM)

    def __call__(self, seconds: float) -> socket.socket:
        until = time.monotonic() + seconds
        self.prepare()
        assert self._context is not None
        sock = socket.create_connection(self._addresses[0][4][:2], seconds)
        try:
            sock.settimeout(max(0.001, until - time.monotonic()))
            return self._context.wrap_socket(sock, server_hostname=self._place.name)  # it proves to be NAME, wherever it runs
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise OSError(f"its certificate is not accepted: {error.verify_message}") from None
        except BaseException:
            sock.close()
            raise


def _context(place: Place) -> ssl.SSLContext:
    """Raises OSError, NotTrusted."""
    from reconciler.kernel import trusted

    tls = place.tls or {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        for path in tls.values():
            trusted.refuse_shared(path)
        context.load_verify_locations(tls["ca"])
        context.load_cert_chain(tls["cert"], tls["key"])
        if "crl" in tls:
            context.load_verify_locations(tls["crl"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (OSError, ssl.SSLError) as error:
        raise OSError(f"a certificate, key or list that {place.file} names cannot be used: {error.strerror or error}") from None
    return context


def connector(place: Place) -> _BySocket | _ByTls:
    return _BySocket(place) if place.socket else _ByTls(place)


class Contact:
    """One service at one place, which is to be the one of this digest."""

    def __init__(self, place: Place, kept: Kept, digest: str, connect: _BySocket | _ByTls | None = None) -> None:
        self.place, self.digest, self._kept = place, digest, kept
        self._connect = connect or connector(place)
        self._caller = Caller(place.name, self._connect, self._greet)

    def prepare(self) -> None:
        """Open what connections need, for who cannot open files later."""
        with suppress(OSError, PcnError):
            self._connect.prepare()

    def beside(self) -> Contact:
        """Another line to the same, for calls that wait: they are no reason not to make others."""
        return Contact(self.place, self._kept, self.digest, self._connect)

    def _greet(self, said: Any) -> None:
        found = manifests.read(said, self.place.name)
        if found.digest != self.digest:
            raise ServiceRefused(changed(self.place, found.digest, self.digest))

    def ask(self, function: str, argument: Any = None, method: str = "POST", seconds: float | None = None) -> Any:
        """Raises ServiceAway, ServiceRefused."""
        try:
            found = self._caller.call(function, argument, method=method, seconds=seconds)
        except Away as error:
            raise ServiceAway(away(self.place, self._kept, str(error))) from None
        except RpcError as error:
            raise ServiceRefused(str(error)) from None
        self._kept.answered()
        return found

    def reach(self) -> None:
        """Raises as `ask`, if a call would now."""
        self._greet(self.ask("service", method="GET"))


def introduce(place: Place, kept: Kept) -> Manifest:
    """What is at a place, whatever it is. Raises ServiceAway, ServiceRefused."""
    caller = Caller(place.name, connector(place))
    try:
        return manifests.read(caller.call("service", method="GET"), place.name)
    except Away as error:
        raise ServiceAway(away(place, kept, str(error))) from None
    except PcnError as error:
        raise ServiceRefused(str(error)) from None
    finally:
        caller.close()


def away(place: Place, kept: Kept, why: str) -> str:
    last = kept.last_answer()
    why += f"; does it accept {place.tls['cert']}?" if place.tls and why == CLOSED else ""
    since = f" since {datetime.fromtimestamp(last).astimezone().isoformat(' ', 'seconds')}, when it last answered" if last else ""
    return f"service {place.name} at {place.url} is away{since} ({why})"


def changed(place: Place, now: str, was: str) -> str:
    if not place.needs_pin:
        return f"service {place.name} at {place.url} is another one since a moment ago ({now}): try again"
    before = f" (was {was})" if was else ""
    return f"service {place.name} at {place.url} is now {now}{before}: it is used once {place.file} says digest: {now}"
