"""Serves functions of the contract on unix sockets and over TLS, in one asyncio loop.

    await serve_unix(functions, path)
    await serve_tls(functions, "10.0.0.1", 7443, server_context(cert, key, ca))
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import h11

from reconciler.kernel import rundir
from reconciler.rpc.contract import BOUNDS, Bounds, RpcError, decode, encode

Function = Callable[[Any], Any]
"""Returns the result, or an awaitable of it, during which other connections are served."""
Functions = Mapping[str, Function]
"""By method and path, such as 'POST /tables'."""
_CHUNK = 1 << 16


async def serve_unix(functions: Functions, path: str) -> asyncio.Server:
    """Listen at a path, replacing an earlier listener. Only clients of root, or of our own user, are served."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if rundir.peer(sock)[1] in (0, os.geteuid()):
            await _serve(functions, reader, writer)
        else:
            writer.close()

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    fresh = f"{path}.{os.getpid()}"
    sock.bind(fresh)
    os.chmod(fresh, 0o600)
    server = await asyncio.start_unix_server(answer, sock=sock)
    os.rename(fresh, path)  # atomic: the path is always that of a listening socket
    return server


async def serve_tls(functions: Functions, host: str, port: int, context: ssl.SSLContext) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(functions, reader, writer)

    return await asyncio.start_server(answer, host, port, ssl=context)


def server_context(cert: str, key: str, ca: str) -> ssl.SSLContext:
    """TLS 1.3; a client must have a certificate that `ca` has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _serve(
    functions: Functions, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bounds: Bounds = BOUNDS
) -> None:
    http = h11.Connection(h11.SERVER)
    try:
        while True:
            request, body = await _request(http, reader, bounds)
            name = f"{request.method.decode()} {request.target.decode().partition('?')[0]}"
            status, value = await _answer(functions, name, body, bounds)
            content = encode(value)
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
            events = (h11.Response(status_code=status, headers=headers), h11.Data(data=content), h11.EndOfMessage())
            writer.write(b"".join(http.send(event) or b"" for event in events))
            await writer.drain()
            if http.our_state is not h11.DONE:
                return
            http.start_next_cycle()
    except (OSError, EOFError, h11.ProtocolError):
        pass
    finally:
        writer.close()


async def _request(http: h11.Connection, reader: asyncio.StreamReader, bounds: Bounds) -> tuple[h11.Request, bytes]:
    request, body = None, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > bounds.body:
                raise EOFError("there is no end to wait for")
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, bytes(body)
        else:
            raise EOFError("it closed the connection")


async def _answer(functions: Functions, name: str, body: bytes, bounds: Bounds) -> tuple[int, Any]:
    function = functions.get(name)
    if function is None:
        return 404, {"error": f"there is no {name}"}
    try:
        value = function(decode(body, bounds))
        return 200, (await value if inspect.isawaitable(value) else value)
    except RpcError as error:
        return 400, {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - the caller gets the error, and later calls are served
        return 500, {"error": f"{type(error).__name__}: {error}"}
