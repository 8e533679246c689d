"""A fleet in one network namespace: a Git repository behind a daemon, an etcd, and agents that are hosts, each with a root of its own."""
from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lib.agent_process import AgentProcess
from tests.lib.commands import pcn


def topology(name: str, action: str = "DROP", hosts: str = "", more: str = "") -> str:
    """A topology of one cube, which is called like it."""
    said = f"  hosts: {hosts}\n" if hosts else ""
    return (f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {name}{more}}}\nspec:\n{said}"
            f"  cubes: [{{name: {name}, service-name: helloworld, action: {action}, ports: [{{name: p1}}, {{name: p2}}]}}]\n")  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Repository:
    """A bare repository, a clone to commit in, and a daemon; `commit` writes these files and no others."""

    def __init__(self, home: Path, address: str = "127.0.0.1") -> None:
        self.bare, self.work, self.port, self.address = home / "r.git", home / "work", free_port(), address
        home.mkdir(exist_ok=True)
        self.url = f"git://{address}:{self.port}/r.git#main"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), cwd=home)
        self.git("clone", "--quiet", str(self.bare), str(self.work), cwd=home)
        self.git("checkout", "--quiet", "-b", "main")
        self.start()

    def git(self, *words: str, cwd: Path | None = None) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@t"]
        return subprocess.run(["git", *who, *words], cwd=cwd or self.work, capture_output=True, text=True, check=True).stdout

    def commit(self, files: dict[str, str], message: str = "change", *, force: bool = False, sign: str = "") -> str:
        for path in self.work.glob("*.yaml"):
            path.unlink()
        for name, text in files.items():
            (self.work / name).write_text(text)
        self.git("add", "--all")
        signed = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={sign}"] if sign else []
        self.git(*signed, "commit", "--quiet", "--allow-empty", *(["--amend"] if force else []), *(["-S"] if sign else []), "-m", message)
        self.git("push", "--quiet", "--force", "origin", "main")
        return self.git("rev-parse", "HEAD").strip()

    def start(self) -> None:
        self.daemon = subprocess.Popen(
            ["git", "daemon", "--export-all", "--enable=receive-pack", "--reuseaddr", f"--listen={self.address}", f"--port={self.port}",
             f"--base-path={self.bare.parent}", str(self.bare.parent)],
            stderr=subprocess.DEVNULL)  # fmt: skip
        _wait_for(self.port, self.address)

    def stop(self) -> None:
        self.daemon.terminate()
        self.daemon.wait(10)

    def status(self, host: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.git("cat-file", "blob", f"refs/pcn/status/{host}", cwd=self.bare))
        except subprocess.CalledProcessError:
            return {}
        return found


class Etcd:
    """`tls`: paths of ca, cert and key, of its own and as whom tests ask it; then it takes only whom that authority has signed."""

    def __init__(self, home: Path, tls: Mapping[str, str] | None = None, address: str = "127.0.0.1") -> None:
        self.home, self.port, self._peer, self.tls, self.address = home, free_port(), free_port(), tls, address
        self.url = f"https://localhost:{self.port}" if tls else f"http://{address}:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", str(self.home), "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
             "--listen-peer-urls", f"http://127.0.0.1:{self._peer}", "--logger=zap", "--log-level=error",
             *([f"--trusted-ca-file={self.tls['ca']}", f"--cert-file={self.tls['cert']}", f"--key-file={self.tls['key']}",
                "--client-cert-auth"] if self.tls else [])],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        _wait_for(self.port, self.address)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.ask("kv/range", {"key": _b64("x")})
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def ask(self, what: str, said: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}/v3/{what}", json.dumps(said).encode())
        context = None
        if self.tls:
            context = ssl.create_default_context(cafile=self.tls["ca"])
            context.load_cert_chain(self.tls["cert"], self.tls["key"])
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def put(self, key: str, value: str) -> int:
        return int(self.ask("kv/put", {"key": _b64(key), "value": _b64(value)})["header"]["revision"])

    def delete(self, key: str) -> None:
        self.ask("kv/deleterange", {"key": _b64(key)})

    def get(self, key: str) -> str | None:
        kvs = self.ask("kv/range", {"key": _b64(key)}).get("kvs", [])
        return base64.b64decode(kvs[0]["value"]).decode() if kvs else None

    def compact(self) -> None:
        revision = self.ask("kv/range", {"key": _b64("x")})["header"]["revision"]
        self.ask("kv/compaction", {"revision": revision, "physical": True})


class FleetHost:
    """An agent that calls itself so."""

    def __init__(self, name: str, root: str, home: Path, labels: str, *arguments: str) -> None:
        self.name, self.root, self.home, self.arguments = name, f"{root}-{name}", home / name, arguments
        self.home.mkdir(parents=True)
        (self.home / "labels.yaml").write_text(f"hostname: {name}\n{labels}\n")
        self.start()

    def start(self) -> None:
        env = {"PCN_LABELS": str(self.home / "labels.yaml")}
        self.agent = AgentProcess(self.root, self.home / "log", *self.arguments, env=env, patience=60)

    def has(self, name: str, action: str) -> bool:
        """Whether a cube is in its kernel with this action."""
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader

        try:
            found = Reader(Bpffs(self.root)).rows(f"cubes/{name}/tables/action_map")
        except OSError:
            return False
        wanted = ["DROP", "SLOWPATH", "FORWARD"].index(action)
        return found is not None and int.from_bytes(found[1].get(bytes(4), b"\xff"), "little") == wanted

    def close(self) -> None:
        if self.agent.process.poll() is None:
            self.agent.stop()
        if os.path.lexists(self.root):
            names = [path.name for path in Path(self.root, "topologies").iterdir()]
            if names:
                pcn("delete", *names, "--bpffs", self.root, code=0)
            shutil.rmtree(self.root, ignore_errors=True)


def _wait_for(port: int, address: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
