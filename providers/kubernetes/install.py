"""What stands on a node beside the kernel: the CNI plugin and its configuration."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from providers.kubernetes.cni import netdevs
from providers.kubernetes.settings import SOURCE, Settings, netdev
from reconciler.agent.client import DocumentsClient
from reconciler.rpc.contract import RpcError

PLUGIN, CONFLIST = "pcn", "10-pcn.conflist"


def plugin(binaries: Path) -> None:
    """The stub, with the way back to this installation for when no provider runs. Replaced as a whole."""
    text = (Path(__file__).parent / "cni" / "stub.py").read_text(encoding="utf-8")
    fallback = shutil.which("pcn-k8s") or str(Path(sys.prefix) / "bin" / "pcn-k8s")
    _write(binaries / PLUGIN, text.replace('b"pcn-k8s"', repr(fallback.encode())), 0o755)


def conflist(configuration: Path) -> None:
    """What makes a kubelet's runtime call the plugin, and the node Ready."""
    said = {"cniVersion": "1.0.0", "name": "pcn", "plugins": [{"type": PLUGIN}]}
    _write(configuration / CONFLIST, json.dumps(said, indent=1) + "\n", 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    """Who reads meanwhile reads the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        aside.unlink()
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(aside, mode)
    aside.rename(path)


async def remove(root: str, binaries: Path, configuration: Path) -> int:
    """Leave nothing: the configuration first, so that nothing new comes, then pods' netdevs and the topology."""
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
