"""ASGI application: authenticates the caller, reads the body within limits, runs handlers on one thread, writes the audit log."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response, StreamingResponse

from reconciler.api import own, page, routes, run
from reconciler.api.answers import NOTHING, Answer, Refusal, errors, not_allowed, refused, said
from reconciler.api.callers import Caller, Policy
from reconciler.api.events import Hub
from reconciler.api.request import Request, query_of, words_of
from reconciler.api.store import Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_BYTES = 16 * 1024 * 1024  # of a body; 10,000 rules are 1.1 MB
PATIENCE = 60.0  # seconds for a body to be received
log = logging.getLogger("pcn.api")
audit = logging.getLogger("pcn.api.audit")


@dataclass(slots=True)
class App:
    """`thread` is the only one in which `store` is used."""

    store: Store
    policy: Policy
    hub: Hub
    runs: run.Runs = field(default_factory=run.Runs)
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "store"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(scope, receive)
        except Refusal as error:
            response = _as_response(refused(error))
        except Exception:  # a bug of pcn's must not look like an answer
            log.exception("%s %s", scope["method"], scope["path"])
            response = _as_response(errors(500, [said("operation-failed", "a mistake in pcn; its log says where")]))
        await response(scope, receive, send)

    async def _response(self, scope: Scope, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        caller: Caller = self.policy.caller(scope["state"]["transport"])
        self.policy.check_place(headers, local=scope["client"] is None)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if not (caller.writes if method in routes.WRITES else caller.reads):
            audit.warning("%s: %s %s: 403", caller.name, method, scope["raw_path"].decode("latin-1"))
            raise Refusal(403, "access-denied", f"{caller.name} may not do that: see group {self.policy.group} in docs/api.md")
        if method not in routes.METHODS:
            raise not_allowed(*routes.METHODS)
        words = words_of(scope["raw_path"])
        if words in (("events",), (*routes.PREFIX, "events")):
            if method != "GET":
                raise not_allowed("GET")
            return self._events(scope, caller)
        if words == run.WORDS:
            return await self._run(scope, receive, caller, headers)
        if (file := page.file_response(method, words)) is not None:
            return file
        is_restconf = words[:1] in (("restconf",), (".well-known",))
        is_own = words[:1] == (page.WORD,) or words[:3] == own.TOPOLOGIES
        if words[:2] != routes.PREFIX and not is_restconf and not is_own:
            raise Refusal(404, "unknown-element", f"paths begin with /{'/'.join(routes.PREFIX)}/ or /restconf/")
        body = await _body(headers, receive)
        match = headers.get(b"if-match", b"").decode("latin-1").strip().removeprefix("W/").strip('"') or None
        host = headers.get(b"host", b"localhost").decode("latin-1")
        below = words if is_restconf or is_own else words[2:]
        request = Request(method, below, query_of(scope["query_string"]), body, caller.name, match, host, caller.is_root)
        if is_restconf:
            answers = functools.partial(routes.restconf_answer, request, self.store, scope["raw_path"])
        elif is_own:
            answers = functools.partial(routes.own_answer, request, self.store)
        else:
            answers = functools.partial(routes.answer, request, self.store)
        answer = await asyncio.get_running_loop().run_in_executor(self.thread, answers)
        self._note(request, answer)
        return _as_response(answer)

    def _events(self, scope: Scope, caller: Caller) -> Response:
        """The event stream. A line of the cubes' log can be read once, so requesting the log needs a writer's permission."""
        wants_log = "log" in query_of(scope["query_string"])
        if wants_log and not caller.writes:
            raise Refusal(403, "access-denied", f"{caller.name} may not take lines out of the log: see group {self.policy.group}")
        lines = self.hub.listen(log=wants_log)
        return StreamingResponse(lines, headers={"Cache-Control": "no-store"}, media_type="text/event-stream")

    async def _run(self, scope: Scope, receive: Receive, caller: Caller, headers: dict[bytes, bytes]) -> Response:
        """A verb for another host, with streamed output. POST needs a writer's permission, checked before."""
        if scope["method"] != "POST":
            raise not_allowed("POST")
        order = run.order_of(await _body(headers, receive), self.store.options)
        audit.info("%s: pcn %s", caller.name, shlex.join([order["verb"], *order["words"]]))
        lines = await self.runs.start(order)
        return StreamingResponse(lines, headers={"Cache-Control": "no-store"}, media_type="application/x-ndjson")

    def _note(self, request: Request, answer: Answer) -> None:
        """Audit log line of each write, successful or not."""
        if request.method not in routes.WRITES:
            return
        path = "/".join(request.words)
        told = {"who": request.who, "method": request.method, "path": f"/{path}", "status": answer.status}
        if "plan" in request.query:
            summary = answer.data.get("summary") if isinstance(answer.data, dict) else None
            self.hub.tell("plan", told | ({"summary": summary} if summary else {}))
            return
        revision = answer.headers.get("ETag", "-").strip('"')
        audit.info("%s: %s /%s: %d, revision %s", request.who, request.method, path, answer.status, revision)
        self.hub.tell("write", told)


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body. Raises Refusal if it is too large or times out."""
    too_big = Refusal(413, "too-big", f"a body has at most {MOST_BYTES} bytes", headers={"Connection": "close"})
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise too_big
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in _parts(receive):
                body += part
                if len(body) > MOST_BYTES:
                    raise too_big
    except TimeoutError:
        raise Refusal(408, "malformed-message", "the body did not come", headers={"Connection": "close"}) from None
    return bytes(body)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "malformed-message", "the client has left")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def _as_response(answer: Answer) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **answer.headers}
    if answer.data is NOTHING:
        return Response(b"", answer.status, headers)
    if isinstance(answer.data, str) and "json" not in answer.kind:
        return Response(answer.data, answer.status, headers | {"Content-Type": answer.kind})
    text = json.dumps(answer.data, ensure_ascii=False, separators=(",", ":"))
    return Response(text, answer.status, headers | {"Content-Type": answer.kind})
