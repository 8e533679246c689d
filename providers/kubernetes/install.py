"""A node's files: the CNI plugin and its configuration."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from providers.kubernetes.cni import netdevs
from providers.kubernetes.settings import SOURCE, Settings, netdev
from reconciler.agent.client import DocumentsClient
from reconciler.rpc.contract import RpcError

PLUGIN, CONFLIST = "pcn", "10-pcn.conflist"
_STUBS = Path(__file__).parent / "cni"


def plugin(binaries: Path) -> None:
    """The stub, with the path of this installation as a fallback while no provider runs. Replaced atomically. In C if it was
    built with the package or a compiler is present; otherwise in Python, which takes 5 ms longer to start."""
    fallback = shutil.which("pcn-k8s") or str(Path(sys.prefix) / "bin" / "pcn-k8s")
    stub = (_STUBS / "stub.py").read_text(encoding="utf-8").replace('b"pcn-k8s"', repr(fallback.encode())).encode()
    _write(binaries / PLUGIN, built(fallback) or stub, 0o755)


def built(fallback: str) -> bytes | None:
    """The stub in C, statically linked: a node may have another C library. None: it cannot be built here."""
    with suppress(FileNotFoundError):
        return (_STUBS / "stub").read_bytes()  # built with the package, which has a fixed path
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or not re.fullmatch(r"[\w./+-]+", fallback):
        return None
    with tempfile.TemporaryDirectory(prefix="pcn-") as directory:
        out = Path(directory) / "stub"
        words = [compiler, "-O2", "-static", f'-DFALLBACK="{fallback}"', "-o", str(out), str(_STUBS / "stub.c")]
        try:
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
            return out.read_bytes()
        except (OSError, subprocess.SubprocessError):  # most likely there is no static C library
            return None


def conflist(configuration: Path) -> None:
    """The configuration with which the container runtime calls the plugin, and the node becomes Ready."""
    said = {"cniVersion": "1.0.0", "name": "pcn", "plugins": [{"type": PLUGIN}]}
    _write(configuration / CONFLIST, (json.dumps(said, indent=1) + "\n").encode(), 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        aside.unlink()
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.chmod(aside, mode)
    aside.rename(path)


async def remove(root: str, binaries: Path, configuration: Path) -> int:
    """Uninstall: the configuration first, so that no pod is added, then pods' netdevs and the topology."""
    for path in (configuration / CONFLIST, binaries / PLUGIN):
        with suppress(FileNotFoundError):
            path.unlink()
    for slot in netdevs.owned():
        netdevs.remove(netdev(slot))
    agent = DocumentsClient(root)
    try:
        said = await agent.delete(SOURCE, Settings().topology, wait=20.0)
    except RpcError as error:
        print(f"pcn-k8s: {error}; 'pcn delete {Settings().topology}' removes the topology", file=sys.stderr)
        return 1
    finally:
        agent.close()
    return 0 if said["state"] == "gone" else 1
