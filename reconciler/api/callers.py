"""Authentication and authorisation: root and the group `pcn` write, others read if allowed, and nobody else gets an answer.

The peer of a unix socket is identified by its credentials, that of a local TCP connection by the owner of the other socket, and
that of a TLS connection by its client certificate, which is mandatory.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.api.answers import Refusal
from reconciler.errors import KernelError
from reconciler.kernel.sockdiag import owner


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    reads: bool
    writes: bool
    is_root: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """`names`: host names of this API beside localhost."""

    group: str = "pcn"
    others_read: bool = False
    names: frozenset[str] = frozenset()

    def caller(self, transport: Any) -> Caller:
        """The peer of a connection."""
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is None:
            return Caller("unknown", False, False)
        if sock.family == socket.AF_UNIX:
            process, user, group = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return self._user(user, group, f" (process {process})")
        if certificate := transport.get_extra_info("peercert"):
            return Caller(f"certificate {_subject(certificate)}", True, True)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        try:
            user = owner(peer[:2], local[:2]) if peer is not None else None
        except KernelError:
            user = None
        return Caller("unknown", False, False) if user is None else self._user(user, None, f" from port {peer[1]}")

    def _user(self, user: int, group: int | None, more: str) -> Caller:
        writes = user == 0 or user == os.geteuid() or self._is_member(user, group)
        return Caller(f"{_name(user)}{more}", writes or self.others_read, writes, user in (0, os.geteuid()))

    def _is_member(self, user: int, group: int | None) -> bool:
        try:
            wanted = grp.getgrnam(self.group).gr_gid
            found = pwd.getpwuid(user)
        except KeyError:
            return False
        return wanted in (group, *os.getgrouplist(found.pw_name, found.pw_gid))

    def check_place(self, headers: Mapping[bytes, bytes], local: bool) -> None:
        """Protect from DNS rebinding and cross-site requests: refuse a foreign Host or Origin header. Raises Refusal. `local`:
        over a unix socket, where host names are not checked."""
        host = headers.get(b"host", b"").decode("latin-1")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if not local and not self._is_known(name.strip("[]").casefold()):
            raise Refusal(403, "access-denied", f"the Host {host!r} is not this one (--name)")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").partition("://")[2] != host:
            raise Refusal(403, "access-denied", "requests from other origins are not answered")

    def _is_known(self, name: str) -> bool:
        if name == "localhost" or name in self.names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _subject(certificate: Mapping[str, Any]) -> str:
    parts = {name: value for part in certificate.get("subject", ()) for name, value in part}
    return str(parts.get("commonName") or certificate.get("serialNumber", "?"))
