"""The CNI plugin that runtimes start, in Python and in C: the same to a provider, to a runtime, and where no provider answers."""
from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.kubernetes import install
from tests.providers.kubernetes.stubs import LANGUAGES, stub

LONG = b"x" * 300_000  # more than a pipe or a socket holds
MOST = 1 << 20


@pytest.fixture(params=LANGUAGES)
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    return stub(request.param, tmp_path)


@contextlib.contextmanager
def provider(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """What one is asked, who answers that."""
    asked: list[bytes] = []

    def serve() -> None:
        with listener.accept()[0] as connection:
            parts = iter(lambda: connection.recv(1 << 16), b"")
            asked.append(b"".join(parts))
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def call(plugin: tuple[str, ...], given: bytes, path: object, fallback: object = "/no/pcn-k8s", **more: str) -> tuple[int, bytes]:
    environment = {"PCN_CNI_SOCKET": str(path), "PCN_CNI_FALLBACK": str(fallback), "OTHER": "1", **more}
    done = subprocess.run(plugin, input=given, env=environment, capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout


def without_provider(directory: Path) -> Path:
    """What is run then, instead of pcn-k8s: says how it was called, and what it was given."""
    program = directory / "fallback"
    program.write_text('#!/bin/sh\nprintf "%s %s %s " "$#" "$1" "$CNI_COMMAND"\ncat\nexit 3\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(("code", "output"), [(0, b""), (0, LONG), (1, b'{"code": 11}\n')])
def test_the_provider_is_asked_and_what_it_answers_is_the_plugins_answer(plugin, tmp_path, code, output):
    with provider(tmp_path / "s", b"%d\n" % code + output) as asked:
        assert call(plugin, LONG, tmp_path / "s", CNI_COMMAND="ADD", CNI_ARGS="A=\\;$(x)") == (code, output)
    names, _, given = asked[0].partition(b"\0\0")
    assert sorted(names.split(b"\0")) == [b"CNI_ARGS=A=\\;$(x)", b"CNI_COMMAND=ADD"]
    assert given == LONG


def test_without_variables_and_input_there_is_a_zero_byte(plugin, tmp_path):
    with provider(tmp_path / "s", b"1\nno") as asked:
        assert call(plugin, b"", tmp_path / "s") == (1, b"no")
    assert asked == [b"\0"]


@pytest.mark.parametrize("answer", [b"", b"0", b"\n", b"-1\nx", b"nonsense\n"])
def test_who_does_not_answer_is_done_without(plugin, tmp_path, answer):
    with provider(tmp_path / "s", answer):
        code, said = call(plugin, LONG, tmp_path / "s", without_provider(tmp_path), CNI_COMMAND="DEL")
    assert (code, said) == (3, b"1 cni DEL " + LONG)


@pytest.mark.parametrize("path", ["/no/such", "/" + "x" * 200])
def test_without_a_provider_pcn_k8s_does_what_can_be_done(plugin, tmp_path, path):
    assert call(plugin, b"{}", path, without_provider(tmp_path), CNI_COMMAND="DEL") == (3, b"1 cni DEL {}")


def test_in_c_what_is_too_long_is_refused_and_one_byte_less_is_not(tmp_path):
    plugin = stub("C", tmp_path)
    fits = MOST - len("CNI_COMMAND=ADD..") - 1  # a buffer that is full may be one that has not all
    with provider(tmp_path / "s", b"0\nyes") as asked:
        assert call(plugin, b"x" * fits, tmp_path / "s", CNI_COMMAND="ADD") == (0, b"yes")
    assert len(asked[0]) == MOST - 1
    code, said = call(plugin, b"x" * (fits + 1), tmp_path / "s", CNI_COMMAND="ADD")
    assert (code, json.loads(said)["code"]) == (1, 6)
    with provider(tmp_path / "t", b"0\n" + b"x" * MOST):
        code, said = call(plugin, b"{}", tmp_path / "t", without_provider(tmp_path), CNI_COMMAND="ADD")
    assert (code, said) == (3, b"1 cni ADD {}"), "an answer that does not fit is none"


def test_in_c_it_says_so_if_there_is_no_pcn_k8s_either(tmp_path):
    code, said = call(stub("C", tmp_path), b"{}", "/no/such", CNI_COMMAND="DEL")
    assert (code, json.loads(said)["code"]) == (1, 11)


@pytest.mark.parametrize("compiler", [True, False])
def test_it_is_installed_in_c_where_that_can_be_built(tmp_path, monkeypatch, compiler):
    which = shutil.which
    if compiler:
        stub("C", tmp_path)
    else:
        monkeypatch.setattr(shutil, "which", lambda name: None if name in ("cc", "gcc", "clang") else which(name))
    install.plugin(tmp_path / "bin")
    made = tmp_path / "bin/pcn"
    assert made.read_bytes().startswith(b"\x7fELF" if compiler else b"#!/usr/bin/python3")
    assert made.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in made.parent.iterdir()] == ["pcn"]
