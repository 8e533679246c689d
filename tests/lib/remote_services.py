"""Services elsewhere, for tests: served by a process, or by functions in a thread of this one; and certificates for them."""
from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.kernel import netns, rundir
from reconciler.rpc.serve import serve_unix
from reconciler.service.registry import HERE, Services
from reconciler.service.remote.offer import Offer

Start = Callable[[Mapping[str, Callable[[Any], Any]]], Coroutine[Any, Any, asyncio.Server]]
GATE = HERE / "examples" / "remote"
PCN = str(Path(sys.executable).parent / "pcn")


def socket_of(name: str) -> Path:
    with rundir.opened(below="services"):
        return rundir.directory() / "services" / f"{name}.sock"


class Served:
    """A process that serves a service; `kill` it, `start` it again."""

    def __init__(self, *command: str, at: Path | None = None, space: str | None = None) -> None:
        self.command, self.at, self.space = command, at, space
        self.start()

    def start(self) -> None:
        if self.at is not None:
            self.at.unlink(missing_ok=True)
        with netns.inside(self.space):
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        if self.at is None:
            assert self.process.stdout is not None
            assert self.process.stdout.readline().startswith("serving")
        while self.at is not None and not self.at.exists():
            assert self.process.poll() is None, "it ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self.at is not None:
            self.at.unlink(missing_ok=True)


def python(directory: Path = GATE) -> Served:
    return Served(PCN, "serve-service", str(directory), "--only", "gate", at=socket_of("gate"))


def node() -> Served:
    return Served("node", str(GATE / "gate.js"), str(socket_of("gate")), at=socket_of("gate"))


@contextmanager
def functions(change: Callable[[dict[str, Any]], Mapping[str, Any]], name: str = "gate", start: Start | None = None) -> Iterator[list[str]]:
    """The gate's functions, some of them changed, served by a thread, by `start` or a socket; gives the calls that were made."""
    service = Services([GATE]).get("gate")
    offered: dict[str, Any] = Offer(service).functions()
    offered |= change(offered)
    calls: list[str] = []
    loop, ready = asyncio.new_event_loop(), threading.Event()

    def noted(name: str) -> Callable[[Any], Any]:
        def call(said: Any) -> Any:
            calls.append(name)
            return offered[name](said)

        return call

    path = socket_of(name)
    all_noted = {each: noted(each) for each in offered}

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(start(all_noted) if start is not None else serve_unix(all_noted, str(path)))
        ready.set()
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0.02))  # what was accepted a moment ago becomes a transport
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()  # TLS would wait for the other side
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield calls
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        path.unlink(missing_ok=True)


class Pki:
    """An authority in a directory, and certificates by name, as paths of PEM files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        self.ca = directory / "ca.pem"
        _openssl("req", "-x509", *_NEW, "-keyout", str(directory / "ca.key"), "-out", str(self.ca), "-days", "2", "-subj", "/CN=test")

    def issue(self, name: str, *, days: int = 2, edition: str = "") -> tuple[str, str]:
        """(certificate, key). Negative days: it has expired."""
        cert, key, request = (str(self.directory / f"{name}{days}{edition}.{kind}") for kind in ("pem", "key", "csr"))
        extension = self.directory / "extension"
        extension.write_text(f"subjectAltName=DNS:{name}\n")
        _openssl("req", *_NEW, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl("x509", "-req", "-in", request, "-CA", str(self.ca), "-CAkey", str(self.directory / "ca.key"), "-CAcreateserial",
                 "-out", cert, "-extfile", str(extension), "-days", str(days))  # fmt: skip
        return cert, key

    def of_tomorrow(self, name: str) -> tuple[str, str]:
        """As an authority issues one whose clock is a day ahead of ours."""
        cert, key, request = (str(self.directory / f"{name}-tomorrow.{kind}") for kind in ("pem", "key", "csr"))
        _openssl("req", *_NEW, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        (self.directory / "extension").write_text(f"subjectAltName=DNS:{name}\n")
        begins, ends = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400)) for days in (1, 3))
        self._authority("-in", request, "-out", cert, "-startdate", begins, "-enddate", ends, "-extfile", str(self.directory / "extension"), "-notext")
        return cert, key

    def revoked(self, *certificates: str, days: int = 1) -> str:
        """A new list of what is not accepted any more. Negative days: it is out of date."""
        for each in certificates:
            self._authority("-revoke", each)
        crl, now = str(self.directory / "crl.pem"), time.time()
        last, after = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + 86400 * days)) for days in (min(days, 0) - 1, days))
        self._authority("-gencrl", "-out", f"{crl}.new", "-crl_lastupdate", last, "-crl_nextupdate", after)
        os.replace(f"{crl}.new", crl)
        return crl

    def _authority(self, *words: str) -> None:
        config, index = self.directory / "ca.conf", self.directory / "index.txt"
        index.touch()
        config.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ndefault_md=sha256\ncertificate={self.ca}\nprivate_key={self.directory}/ca.key\n"
                          f"new_certs_dir={self.directory}\nrand_serial=yes\nunique_subject=no\npolicy=p\n[p]\ncommonName=supplied\n")
        _openssl("ca", "-batch", "-config", str(config), *words)


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr


def run_ip(device: str, address: str, space: str | None) -> None:
    """Give a netdev an address, and set it up."""
    from tests.lib.netns_topology import run_in

    run_in(space, ["ip", "address", "add", address, "dev", device])
    run_in(space, ["ip", "link", "set", device, "up"])
