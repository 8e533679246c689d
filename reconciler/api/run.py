"""POST /pcn/v1/run: runs a verb for another host, in a process of its own that takes the same lock as any command.

The request is {verb, words, files, colour}; the response is lines of JSON, {"out": TEXT} and {"err": TEXT} as they are printed,
then {"exit": CODE}. Files are sent as texts: the process reads none of this host's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from reconciler.api.answers import Refusal
from reconciler.api.remote_verbs import CHANGES, PATH, READS
from reconciler.engine.apply import Options

WORDS = tuple(PATH.strip("/").split("/"))
MOST_AT_ONCE = 8
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from reconciler.cli.remote_run import main; sys.exit(main())"
_FORBIDDEN = ("--bpffs", "--services")
_PART = 1 << 16  # bytes


def order_of(body: bytes, options: Options) -> dict[str, Any]:
    """The order for the process. Raises Refusal."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "malformed-message", f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict) or asked.get("verb") not in (*READS, *CHANGES):
        raise Refusal(400, "invalid-value", f"of verbs there are {', '.join((*READS, *CHANGES))}", info="verb")
    words, files, colour = asked.get("words", []), asked.get("files", {}), asked.get("colour", [False, False])
    if not _are_texts(words) or not _are_files(files) or not isinstance(colour, list) or len(colour) != 2:
        raise Refusal(400, "invalid-value", "words is a list of texts, files {word: [[name, text]]}, colour [bool, bool]")
    own = next((word for word in words if word.partition("=")[0] in _FORBIDDEN), None)
    if own is not None:
        raise Refusal(400, "invalid-value", f"{own} is said when pcn-api is started", info="words")
    more = [f"--bpffs={options.root}", *(f"--services={each}" for each in options.services.directories)]
    return {"verb": asked["verb"], "words": words, "files": files, "colour": colour, "more": more}


def _are_texts(words: Any) -> bool:
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def _are_files(files: Any) -> bool:
    if not isinstance(files, dict) or not all(isinstance(texts, list) for texts in files.values()):
        return False
    return all(_are_texts(pair) and len(pair) == 2 for texts in files.values() for pair in texts)


class Runs:
    """The processes that run for other hosts."""

    def __init__(self) -> None:
        self._count = 0

    async def start(self, order: Mapping[str, Any]) -> AsyncIterator[str]:
        """Start a process; yields its output as lines. A change that has started finishes even if the client disconnects."""
        if self._count >= MOST_AT_ONCE:
            return _busy()
        self._count += 1
        try:
            return self._counted(await _started(order), reads=order["verb"] in READS)
        except BaseException:
            self._count -= 1
            raise

    async def _counted(self, process: Process, *, reads: bool) -> AsyncIterator[str]:
        try:
            async for line in _printed(process):
                yield line
        finally:
            self._count -= 1
            if process.returncode is None and reads:
                with suppress(ProcessLookupError):
                    process.kill()


async def _busy() -> AsyncIterator[str]:
    yield _line(err="error: too many commands run here for other hosts\n") + _line(exit=75)


async def _started(order: Mapping[str, Any]) -> Process:
    """A process that has received its order."""
    command = [sys.executable, "-I", "-S", "-c", _START, json.dumps([path for path in sys.path if path])]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd="/", start_new_session=True
    )
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(json.dumps(order).encode())
        await process.stdin.drain()
        process.stdin.close()
    return process


async def _printed(process: Process) -> AsyncIterator[str]:
    """Yields a process's output as lines for the other host, then its exit code."""
    assert process.stdout is not None
    assert process.stderr is not None
    lines: asyncio.Queue[str | None] = asyncio.Queue(64)
    streams = {"out": process.stdout, "err": process.stderr}
    readers = [asyncio.create_task(_pass_on(stream, name, lines)) for name, stream in streams.items()]
    try:
        for _ in readers:
            while (line := await lines.get()) is not None:
                yield line
        yield _line(exit=_code(await process.wait()))
    finally:
        for reader in readers:
            reader.cancel()


def _code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned


def _line(**part: Any) -> str:
    return json.dumps(part, ensure_ascii=False) + "\n"


async def _pass_on(stream: asyncio.StreamReader, name: str, printed: asyncio.Queue[str | None]) -> None:
    """Put the text of a stream as lines into the queue, and None at its end."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    while part := await stream.read(_PART):
        if text := decoder.decode(part):
            await printed.put(_line(**{name: text}))
    await printed.put(None)
