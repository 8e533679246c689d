"""pcn-api as a process of its own, and a client that sends what it is told to, byte for byte."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MAIN = "import sys; from reconciler.cli.api import main; sys.exit(main())"
PREFIX = "/polycube/v1"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        return self.json["ietf-restconf:errors"]["error"][0]


class ApiProcess:
    """`pcn-api` in the network namespace of the caller, on a port of its own, with its file and its log in `home`."""

    def __init__(self, root: str, home: Path, *arguments: str, listen: str = "") -> None:
        self.root, self.home, self.file, self.log = root, home, home / "rest.yaml", home / "api.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.place = listen or f"127.0.0.1:{self.port}"
        self.arguments = ["--listen", self.place, "--file", str(self.file), *arguments]

    def __enter__(self) -> ApiProcess:
        self.start()
        return self

    def start(self) -> None:
        environment = os.environ | {"PCN_BPFFS": self.root}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *self.arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        ready = self.text().count("ready:")
        deadline = time.monotonic() + 60
        while self.text().count("ready:") == ready:
            assert self.process.poll() is None, f"it ended\n{self.text()}"
            assert time.monotonic() < deadline, f"it is not ready\n{self.text()}"
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def text(self) -> str:
        return self.log.read_text()

    def connect(self) -> socket.socket:
        if self.place.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self.place.removeprefix("unix:"))
        else:
            sock = socket.create_connection(("127.0.0.1", self.port))
        sock.settimeout(60)
        return sock

    def raw(self, data: bytes) -> Reply:
        """Send these bytes, and read one reply."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_reply(sock, head_only=data.startswith(b"HEAD "))

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """As Polycube's client sends it. `body` is text as it is, or data."""
        return self.raw(as_go_sends(method, PREFIX + path, body, f"localhost:{self.port}", headers))

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        reply = self(method, path, body, **headers)
        assert reply.status < 300, f"{method} {path}: {reply.status} {reply.body.decode()}\n{self.text()[-2000:]}"
        return reply

    def get(self, path: str) -> Any:
        return self.ok("GET", path).json

    def get_options(self, path: str) -> Any:
        return self.ok("OPTIONS", path).json


def as_go_sends(method: str, target: str, body: Any, host: str, headers: dict[str, str] | None = None) -> bytes:
    """What Go's net/http makes of it: a type only for a POST, no Accept."""
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "User-Agent: Go-http-client/1.1"]
    lines += [f"Content-Length: {len(text.encode())}"] if method in ("POST", "PATCH", "PUT") else []
    lines += ["Content-Type: application/json"] if method == "POST" else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join([*lines, "Accept-Encoding: gzip"]) + "\r\n\r\n" + text).encode()


def read_reply(sock: socket.socket, *, head_only: bool = False) -> Reply:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(1 << 16)
        assert part, f"the connection ended: {data!r}"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split()[1])
    length = 0 if head_only else int(headers.get("content-length", 0))
    while len(body) < length:
        part = sock.recv(1 << 16)
        assert part, f"the connection ended: {data!r}"
        body += part
    return Reply(status, headers, body)
