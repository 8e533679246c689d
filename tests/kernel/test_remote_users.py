"""Who may serve a service on this host: root, or the user whom root has named, and nobody else; and only what root has agreed to."""
from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.kernel import rundir
from reconciler.rpc import serve
from reconciler.service.registry import Services
from tests.lib import remote_services as remote

SERVER = 4711


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, directory in (("PCN_CACHE", "cache"), ("PCN_SERVICES", "etc")):
        (tmp_path / directory).mkdir(mode=0o755)
        monkeypatch.setenv(name, str(tmp_path / directory))
    return tmp_path / "etc"


def anybody(path: str) -> remote.Start:
    """Serves whoever comes: who serves is what is looked at here."""

    async def start(functions: Mapping[str, Callable[[Any], Any]]) -> asyncio.Server:
        return await asyncio.start_unix_server(lambda reader, writer: serve._serve(functions, reader, writer), path)

    return start


@pytest.mark.parametrize(("user", "said", "words"), [
    (0, {}, ""), (SERVER, {"uid": SERVER}, "it is used once "),
    (SERVER, {}, "is served by user 4711, who is not to be believed"), (SERVER + 1, {"uid": SERVER}, "is served by user 4712, who is not to be believed"),
])  # fmt: skip
def test_a_socket_elsewhere_needs_a_user_who_is_believed_and_a_pin(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, said: dict[str, int], words: str,
) -> None:
    socket, file = tmp_path / "own" / "gate.sock", etc / "gate.yaml"
    socket.parent.mkdir(mode=0o755)
    monkeypatch.setattr(rundir, "peer", lambda _: (os.getpid(), user))
    text = f"url: unix:{socket}\n" + "".join(f"{name}: {value}\n" for name, value in said.items())
    with remote.functions(lambda _: {}, start=anybody(str(socket))):
        file.write_text(text)
        services = Services()
        assert (services.get("gate") is None) == bool(words), "root's own needs no pin"
        why = services.why_not("gate")
        assert words in why
        if "once" in words:
            file.write_text(f"{text}digest: {why.rpartition('digest: ')[2]}\n")
            assert Services().get("gate") is not None


def test_a_directory_where_others_can_put_a_socket_is_not_called(etc: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with remote.functions(lambda _: {}, start=anybody(str(shared / "gate.sock"))) as calls:
        (etc / "gate.yaml").write_text(f"url: unix:{shared}/gate.sock\n")
        services = Services()
        assert services.get("gate") is None
        assert str(shared) in services.why_not("gate")
        assert calls == []


@pytest.mark.parametrize(("text", "words"), [
    ("url: http://h:1\n", "url must be https://HOST:PORT or unix:/PATH"), ("url: https://h\n", "url must be https"), ("url: https://h:x\n", "url must be https"),
    ("url: https://h:1\n", "ca must be the absolute path"), ("url: https://h:1\nca: ca.pem\n", "ca must be the absolute path"),
    ("url: unix:/x\ndigest: md5:1\n", "digest must be sha256:"), ("url: unix:/x\nuid: root\n", "uid must be the number"),
    ("directory: here\n", "directory must be an absolute path"), ("url: unix:/x\nurls: 1\n", "has 'urls'"), ("[", "is no YAML"), ("7", "must have url or directory"),
])  # fmt: skip
def test_a_file_that_says_nothing_useful_says_so(etc: Path, text: str, words: str) -> None:
    (etc / "gate.yaml").write_text(text)
    services = Services()
    assert services.get("gate") is None
    assert words in services.why_not("gate")
