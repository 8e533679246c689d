"""Watches against a server that speaks as the API server does: pages, bookmarks, a cut, a compaction, a minute away."""
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import pytest

from providers.kubernetes.api import Access, Api, ApiError, from_kubeconfig, in_cluster
from providers.kubernetes.watch import Objects, follow, name_of
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.api_server import ApiServer


def run(server: ApiServer, work: Callable[[Objects], Awaitable[None]]) -> None:
    """`work` beside a watch of pods."""

    async def both() -> None:
        found = Objects()
        watching = asyncio.create_task(follow(Api(Access(f"http://127.0.0.1:{server.port}")), "/api/v1/pods", found, lambda: None))
        try:
            await asyncio.wait_for(work(found), 20)
        finally:
            watching.cancel()

    asyncio.run(both())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for has no event
        await asyncio.sleep(0.01)


def names(found: Objects) -> set[str]:
    return {name for _, name in found.by_name}


def lists(server: ApiServer) -> int:
    return sum("watch" not in path and "/api/v1/pods" in path and "continue" not in path for path in server.asked)


def test_a_list_in_pages_and_then_what_changes():
    with ApiServer() as server:
        for number in range(1100):
            server.put("pods", objects.pod(f"p{number}", "n1"))

        async def work(found: Objects) -> None:
            await until(lambda: found.is_synced)
            assert len(found.by_name) == 1100
            kept = found.by_name["default", "p7"]
            server.put("pods", objects.pod("new", "n1"))
            server.delete("pods", "default", "p3")
            server.put("pods", objects.pod("p5", "n1", app="x"))
            await until(lambda: "new" in names(found) and "p3" not in names(found))
            await until(lambda: bool(found.by_name["default", "p5"]["metadata"]["labels"]))
            assert found.by_name["default", "p7"] is kept

        run(server, work)
        assert lists(server) == 1


def test_a_watch_that_ends_is_resumed_without_another_list():
    with ApiServer() as server:

        async def work(found: Objects) -> None:
            await until(lambda: found.is_synced)
            server.put("services", objects.service("other", "10.96.0.1", ports=[]))  # only a bookmark tells of this version
            await until(lambda: found.version == str(server.version))
            server.cut()
            server.put("pods", objects.pod("late", "n1"))
            await until(lambda: "late" in names(found))

        run(server, work)
        assert lists(server) == 1


def test_a_version_that_is_forgotten_is_listed_anew_and_what_went_meanwhile_goes():
    with ApiServer() as server:
        server.put("pods", objects.pod("stays", "n1"))
        server.put("pods", objects.pod("goes", "n1"))

        async def work(found: Objects) -> None:
            await until(lambda: names(found) == {"stays", "goes"})
            kept = found.by_name["default", "stays"]
            server.is_away = True
            server.cut()
            server.delete("pods", "default", "goes")
            server.compact()
            await asyncio.sleep(0.5)
            assert names(found) == {"stays", "goes"}, "while the server is away nothing is gone"
            server.is_away = False
            await until(lambda: names(found) == {"stays"})
            assert found.by_name["default", "stays"] is kept

        run(server, work)
        assert lists(server) >= 2


def test_an_error_in_a_watch_is_raised_with_its_code():
    with pytest.raises(ApiError) as caught:
        Objects().take({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
    assert caught.value.status == 410


def test_a_refusal_is_told_in_the_servers_words():
    with ApiServer() as server, pytest.raises(ApiError, match="not found"):
        asyncio.run(Api(Access(f"http://127.0.0.1:{server.port}")).get("/nothing"))


def test_an_answer_that_is_no_json_is_an_error_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a proxy, say: nobody that asks for an object expects another error, and a provider would end."""

    async def body(*_: object) -> AsyncIterator[bytes]:
        yield b"<html>"

    api = Api(Access("http://127.0.0.1:1"))
    monkeypatch.setattr(api, "_body", body)
    with pytest.raises(ApiError, match="invalid JSON"):
        asyncio.run(api.get("/api"))


def test_a_kubeconfig_that_cannot_be_used_and_a_host_that_is_no_pod_say_so(tmp_path):
    (tmp_path / "bad").write_text("users: []")
    for path in ("bad", "none"):
        with pytest.raises(ApiError, match=path):
            from_kubeconfig(str(tmp_path / path))
    with pytest.raises(ApiError, match="kubeconfig"):
        in_cluster({}, tmp_path)


def test_a_kubeconfig_with_a_token(tmp_path):
    said = {"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": "secret"}}]}  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(said))
    access = from_kubeconfig(str(tmp_path / "config"))
    assert (access.server, access.bearer()) == ("https://10.0.0.1:6443", "secret")
    assert name_of({"metadata": {"name": "x"}}) == ("", "x")


@pytest.mark.parametrize("later", range(6))
def test_a_watch_that_is_ended_just_as_data_comes_ends(later: int) -> None:
    """A provider is to leave at once, however busy the cluster is; it once went on until the server ended the watch."""

    async def work() -> None:
        reader, http = asyncio.StreamReader(), h11.Connection(h11.CLIENT)
        http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        http.send(h11.EndOfMessage())

        async def read() -> None:
            async for _ in Api(Access("http://127.0.0.1"))._events(reader, http):
                pass

        task = asyncio.create_task(read())
        reader.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await asyncio.sleep(0.01)
        reader.feed_data(b"2\r\n{}\r\n")
        for _ in range(later):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.5)
        assert done, "it goes on"
        assert task.cancelled()

    asyncio.run(work())


def test_a_kind_that_the_server_has_not_counts_as_listed_and_what_is_known_of_it_stays(caplog):
    kind = "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies"

    async def work(api: ApiServer, found: Objects, changes: list[int]) -> None:
        asked = Api(Access(f"http://127.0.0.1:{api.port}"))
        task = asyncio.create_task(follow(asked, kind, found, lambda: changes.append(1), optional=True))
        async with asyncio.timeout(5):
            await until(lambda: found.is_synced and bool(changes))
            await asyncio.sleep(0.1)
        task.cancel()

    known = Objects({("", "x"): {"metadata": {"name": "x"}}})
    for found in (Objects(), known):
        with ApiServer(admin=False) as api:
            changes: list[int] = []
            asyncio.run(work(api, found, changes))
            assert len(changes) == 1
            assert len(api.asked) == 1
    assert known.by_name
    assert not caplog.records
