"""The feed from etcd against a gateway that this test is: what comes in one packet, ends, says too much or nothing at all."""
from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from reconciler.sources import etcd as module
from reconciler.sources.etcd import EtcdSource
from reconciler.sources.source import SourceError

Answer = Callable[[socket.socket], None]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def event(name: str, value: str, revision: int) -> bytes:
    said = {"result": {"header": {"revision": str(revision)}, "events": [{"kv": {"key": b64(f"/pcn/topologies/{name}"), "value": b64(value)}}]}}
    return json.dumps(said).encode() + b"\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


CREATED = b'{"result":{"header":{"revision":"1"},"created":true}}\n'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(said: object) -> bytes:
    body = json.dumps(said).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Gateway:
    """`range` answers a question for keys, `watch` takes a connection over."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.range: Answer = lambda sock: sock.sendall(whole({"header": {"revision": "1"}, "kvs": []}))
        self.watch: Answer = lambda sock: sock.sendall(STREAM + chunk(CREATED))
        self.over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += sock.recv(65536)
            try:
                if b"/v3/watch" in asked:
                    self.watch(sock)
                    self.over.wait(30)
                else:
                    self.range(sock)
            except OSError:
                pass  # who asked has gone

    def close(self) -> None:
        self.over.set()
        self.listener.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    yield found
    found.close()


@pytest.fixture
def source(gateway: Gateway) -> Iterator[EtcdSource]:
    found = EtcdSource(gateway.url)
    yield found
    found.close()


def news(source: EtcdSource, names: set[str]) -> dict[str, bytes]:
    """What there is once these are there. The gateway says everything at once, so the time is a slow machine's."""
    deadline, nobody = time.monotonic() + 10, threading.Event()
    while source._files.keys() != names and time.monotonic() < deadline:
        source.wait(nobody, 0.3)
    found = source.fetch()
    assert found is not None
    return dict(found.files)


@pytest.mark.parametrize("cut", ["one packet", "in the middle of a chunk", "in the middle of its end"])
def test_keys_that_come_together_are_seen_together(gateway: Gateway, source: EtcdSource, cut: str) -> None:
    events = [event("one", "1", 2), event("two", "2", 3), event("three", "3", 4)]
    stream = b"".join(map(chunk, events))
    where = {"one packet": len(stream), "in the middle of a chunk": len(stream) // 2, "in the middle of its end": len(chunk(events[0])) - 1}[cut]

    def watch(sock: socket.socket) -> None:
        sock.sendall(STREAM + chunk(CREATED) + stream[:where])
        if stream[where:]:
            time.sleep(0.1)
            sock.sendall(stream[where:])

    gateway.watch = watch
    assert source.fetch() is not None
    assert news(source, {"one.yaml", "two.yaml", "three.yaml"}) == {"one.yaml": b"1", "two.yaml": b"2", "three.yaml": b"3"}


@pytest.mark.parametrize(("said", "words"), [
    (STREAM + chunk(CREATED) + b"0\r\n\r\n", "it was closed"),
    (STREAM + chunk(CREATED) + chunk(b"no json\n"), "the watch has ended"),
    (STREAM + chunk(CREATED) + chunk(b'{"result":{"canceled":true,"cancel_reason":"the revision has been compacted"}}\n'), "the revision has been compacted"),
    (STREAM + chunk(CREATED) + chunk(b'{"error":{"message":"no leader"}}\n'), "no leader"),
    (STREAM + chunk(CREATED) + chunk(b'{"result":{"events":[{}]}}\n'), "the watch has ended"),
    (STREAM + chunk(CREATED) + chunk(b'[1]\n'), "the watch has ended"),
    (STREAM + b"".join([chunk(b"x" * 1000)] * 100), "more than 65536 bytes"),
])  # fmt: skip
def test_a_watch_that_ends_or_is_odd_is_said_to_have_ended_and_everything_is_read_again(
    gateway: Gateway, source: EtcdSource, said: bytes, words: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 65536)
    gateway.watch = lambda sock: sock.sendall(said)
    assert source.fetch() is not None
    with pytest.raises(SourceError, match=words):
        source.wait(threading.Event(), 10.0)
    gateway.watch = lambda sock: sock.sendall(STREAM + chunk(CREATED))
    kvs = [{"key": b64("/pcn/topologies/after"), "value": b64("1")}]
    gateway.range = lambda sock: sock.sendall(whole({"header": {"revision": "9"}, "kvs": kvs}))
    assert source.wait(threading.Event(), 1.0), "it is to be asked again"
    found = source.fetch()
    assert found is not None
    assert (found.id, found.files) == ("9", {"after.yaml": b"1"})


def drip(sock: socket.socket) -> None:
    """A byte now and then, for longer than anybody should wait."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        sock.sendall(b" ")
        time.sleep(0.05)


ODD: dict[str, tuple[Answer, str]] = {
    "gigantic, and says so": (lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b" " * 70000), "more than 65536 bytes"),
    "gigantic, and does not": (lambda sock: sock.sendall(STREAM + b"".join([chunk(b" " * 1000)] * 100)), "more than 65536 bytes"),
    "endless": (drip, "did not answer within 0.5 s"),
    "silent": (lambda sock: time.sleep(3), "timed out"),
    "closed": (lambda sock: None, "without response|reset by peer"),
    "no JSON": (lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{"), "is away"),
    "deep": (lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60000), "is away"),
    "a list": (lambda sock: sock.sendall(whole([1])), "no object"),
    "no header": (lambda sock: sock.sendall(whole({"kvs": []})), "gives what cannot be read"),
    "keys of something else": (lambda sock: sock.sendall(whole({"header": {"revision": "1"}, "kvs": [{"value": 7}]})), "gives what cannot be read"),
    "an error": (lambda sock: sock.sendall(b'HTTP/1.1 401 No\r\nContent-Length: 33\r\n\r\n{"error":"invalid auth token !!"}'), "invalid auth token"),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_etcd_that_answers_oddly_is_an_error_with_its_words_soon(
    gateway: Gateway, source: EtcdSource, odd: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 65536)
    monkeypatch.setattr(module, "SECONDS", 0.5)
    gateway.range, words = ODD[odd]
    began = time.monotonic()
    with pytest.raises(SourceError, match=words):
        source.fetch()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_comes_in_parts_is_read_to_its_end(gateway: Gateway, source: EtcdSource, chunked: bool) -> None:
    kvs = [{"key": b64(f"/pcn/topologies/{n}"), "value": b64("x" * 2000)} for n in range(100)]
    said = {"header": {"revision": "1"}, "kvs": kvs}
    body = json.dumps(said).encode()
    parts = [body[start:start + 30000] for start in range(0, len(body), 30000)]

    def answer(sock: socket.socket) -> None:
        sock.sendall(STREAM if chunked else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for part in parts:
            sock.sendall(chunk(part) if chunked else part)
            time.sleep(0.02)
        if chunked:
            sock.sendall(b"0\r\n\r\n")

    gateway.range = answer
    found = source.fetch()
    assert found is not None
    assert len(found.files) == 100


def test_a_key_that_is_no_document_is_none(gateway: Gateway, source: EtcdSource) -> None:
    names = ["fine", "also.json", "../x", "a/b", "", ".hidden", "-x", "long" * 60, "n\n"]
    kvs = [{"key": b64(f"/pcn/topologies/{name}"), "value": b64("1")} for name in names]
    kvs.append({"key": b64("/pcn/topologies/empty")})
    gateway.range = lambda sock: sock.sendall(whole({"header": {"revision": "1"}, "kvs": kvs}))
    found = source.fetch()
    assert found is not None
    assert found.files == {"fine.yaml": b"1", "also.json": b"1", "empty.yaml": b""}
