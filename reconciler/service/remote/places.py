"""Where services elsewhere are.

    /run/pcn/services/NAME.sock       a process of this host serves NAME while the socket is there
    /etc/pcn/services/NAME.yaml       {url: "https://host:7443", ca:, cert:, key:, digest: "sha256:..."}     elsewhere, by mTLS
                                      {url: "unix:/path", uid: 1000, digest: "sha256:..."}      here, as an ordinary user
                                      {directory: /path}                                        a directory, as of --services

PCN_SERVICES names another directory than /etc/pcn/services. Both must be root's, like all that root believes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.errors import ServiceRefused

SOCKETS, SUFFIX = "services", ".sock"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEYS = {"url", "ca", "cert", "key", "crl", "digest", "uid", "directory"}
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Place:
    """`file` is the YAML file that states so, '' if a socket does. `socket` is a unix socket's path, else `host` and `port` are
    called by TLS. `digest` is what root has agreed to, '' if nothing. `stamp` is another one when it may be another service."""

    name: str
    url: str = ""
    file: str = ""
    socket: str = ""
    host: str = ""
    port: int = 0
    tls: Mapping[str, str] | None = None
    digest: str = ""
    uid: int = 0
    directory: str = ""
    stamp: tuple[Any, ...] = ()

    @property
    def needs_pin(self) -> bool:
        """Whether its C belongs to another user than this host's root."""
        return not self.directory and (not self.socket or self.uid != 0)


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def files() -> Path:
    return Path(os.environ.get("PCN_SERVICES") or "/etc/pcn/services")


def sockets() -> Path:
    from reconciler.kernel import rundir

    return rundir.directory() / SOCKETS


def names() -> list[str]:
    """All that are registered, reachable or not."""
    found = {path.stem for path in _listed(files()) if path.suffix == ".yaml"}
    return sorted(found | {path.stem for path in _listed(sockets()) if path.suffix == SUFFIX})


def _listed(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if _NAME.fullmatch(path.stem)]
    except OSError:
        return []


def stamp(name: str) -> tuple[Any, ...]:
    """Cheap: changes when the result of `find` may."""
    return identities((files() / f"{name}.yaml", sockets() / f"{name}{SUFFIX}"))


def identities(paths: Iterable[str | Path]) -> tuple[Any, ...]:
    """Another value when one of these files is another one, or is there or not."""
    return tuple(map(_identity, paths))


def _identity(path: str | Path) -> tuple[int, ...]:
    try:
        about = os.stat(path)
    except OSError:
        return ()
    return about.st_dev, about.st_ino, about.st_ctime_ns, about.st_size


def find(name: str) -> Place | None:
    """The registered address of a service. Raises ServiceRefused for an invalid file, NotTrusted."""
    if not is_name(name):
        return None
    path, seen = files() / f"{name}.yaml", stamp(name)
    if seen[0]:
        return _of_file(name, path, seen)
    socket = sockets() / f"{name}{SUFFIX}"
    return Place(name, f"unix:{socket}", socket=str(socket), stamp=seen) if seen[1] else None


def absent(name: str) -> Place:
    """Where a service that is no longer served would be."""
    path = f"{sockets()}/{name}{SUFFIX}"
    return Place(name, f"unix:{path}", socket=path)


def _of_file(name: str, path: Path, seen: tuple[Any, ...]) -> Place:
    import yaml

    from reconciler.kernel import trusted

    try:
        home = trusted.open_directory(path.parent)
        try:
            with open(trusted.open_file(home, path.name), "rb") as file:
                said = yaml.safe_load(file.read(_MOST_BYTES))
        finally:
            os.close(home)
    except OSError as error:
        raise ServiceRefused(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ServiceRefused(f"{path} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(said, dict) or not all(isinstance(value, str | int) for value in said.values()):
        raise ServiceRefused(f"{path} must have url or directory, and what belongs to it")
    if unknown := sorted(map(str, said.keys() - _KEYS)):
        raise ServiceRefused(f"{path} has {unknown[0]!r}, which is none of {', '.join(sorted(_KEYS))}")
    return place_of(name, {key: str(value) for key, value in said.items()}, str(path), seen)


def place_of(name: str, said: Mapping[str, str], file: str = "", seen: tuple[Any, ...] = ()) -> Place:
    """What a file's content means. Raises ServiceRefused."""
    digest, url = said.get("digest", ""), said.get("url", "")
    if digest and not _DIGEST.fullmatch(digest):
        raise ServiceRefused(f"{file}: digest must be sha256: and 64 hexadecimal digits")
    if not said.get("uid", "0").isdecimal():
        raise ServiceRefused(f"{file}: uid must be the number of a user")
    if "directory" in said:
        if not said["directory"].startswith("/") or url:
            raise ServiceRefused(f"{file}: directory must be an absolute path, and there is no url beside it")
        return Place(name, file=file, directory=said["directory"], stamp=seen)
    if url.startswith("unix:/"):
        path = url.removeprefix("unix:").replace("//", "/")
        return Place(name, url, file, path, digest=digest, uid=int(said.get("uid", "0")), stamp=seen)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not url.startswith("https://") or not host or not port:
        raise ServiceRefused(f"{file}: url must be https://HOST:PORT or unix:/PATH")
    if missing := [key for key in ("ca", "cert", "key") if not said.get(key, "").startswith("/")]:
        raise ServiceRefused(f"{file}: {missing[0]} must be the absolute path of a PEM file: both ends show a certificate")
    tls = {key: said[key] for key in ("ca", "cert", "key", "crl") if key in said}
    return Place(name, url, file, host=host, port=port, tls=tls, digest=digest, stamp=seen)
