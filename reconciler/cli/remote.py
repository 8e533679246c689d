"""pcn --host URL VERB: run a verb on another host, with files of this one. Output and exit code are the verb's."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.api.remote_verbs import CHANGES, PATH, READS
from reconciler.cli.arguments import Parser
from reconciler.cli.given import gathered
from reconciler.cli.run import Run
from reconciler.cli.terminal import Terminal
from reconciler.errors import ApplyFailed, NotPermitted, PcnError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from http.client import HTTPResponse

VERBS = (*READS, *CHANGES)
_OPTIONS = ("--host", "--cert", "--key", "--ca")
_PLACES = ("bpffs", "services")
_EITHER = {"delete": ("topologies",), "graph": ("what",)}  # arguments that are names or files
_CONNECT = 10.0  # seconds
_SEE = "what was begun there ends by itself: 'pcn --host {} plan FILE' says what is missing"


def main(words: Sequence[str]) -> int:
    """`words` start with --host. Returns the exit code."""
    terminal = Terminal()
    try:
        where, verb, rest = _split(words)
        return _ask(where, verb, rest)
    except UsageError as error:
        terminal.complain(f"pcn --host: {error}")
        return error.exit_code
    except SystemExit as ended:  # --help
        return int(ended.code or 0)


def _split(words: Sequence[str]) -> tuple[Namespace, str, list[str]]:
    """Splits into options before the verb, the verb, and the verb's arguments."""
    about = "Run a verb on another host, over its pcn-api (docs/api.md), with the files of this one."
    parser = Parser(prog="pcn --host", description=about)
    parser.add_argument("--host", required=True, metavar="URL", help="https://HOST:PORT, http://localhost:PORT or unix:PATH")
    for option, what in {"cert": "this client's certificate", "key": "its key", "ca": "what signed the server's"}.items():
        parser.add_argument(f"--{option}", metavar="FILE", help=f"{what}: PEM, for https")
    parser.add_argument("verb", choices=VERBS, help="what to do there")
    verbs = (at for at, word in enumerate(words) if at and word in VERBS and words[at - 1] not in _OPTIONS)
    end = next(verbs, len(words) - 1) + 1
    where = parser.parse_args(words[:end])
    return where, where.verb, list(words[end:])


def _ask(where: Namespace, verb: str, words: list[str]) -> int:
    from reconciler.cli.dispatch import verb_parser

    prog = f"pcn --host {where.host} {verb}"
    args = verb_parser(verb, prog, words).parse_args(words)
    terminal = Terminal(colour=False if args.no_colour else None, verbose=args.verbose, quiet=args.quiet)
    run = Run(args, verb, terminal)
    try:
        for place in _PLACES:
            if getattr(args, place, None):
                raise UsageError(f"--{place} is a directory of this host, and the verb runs on {where.host}")
        order = {
            "verb": verb, "words": words, "files": gathered(_files(run), sys.stdin.buffer),
            "colour": [terminal.colour, terminal.colour_err],
        }  # fmt: skip
        with _answer(where, order) as answer:
            return terminal.ended(_print(answer, terminal, where.host))
    except PcnError as error:
        return run.failed(error)
    except KeyboardInterrupt:
        return run.failed(ApplyFailed(f"no longer listening to {where.host}; {_SEE.format(where.host)}"))


def _files(run: Run) -> list[str]:
    """The arguments that the verb would open as files."""
    args = run.args
    either = [word for name in _EITHER.get(run.verb, ()) for word in getattr(args, name) if run.is_file(word)]
    before = [path for path in getattr(args, "before", None) or () if path != "/dev/null"]
    return [*(getattr(args, "files", None) or ()), *before, *either]


@contextmanager
def _answer(where: Namespace, order: dict[str, Any]) -> Iterator[HTTPResponse]:
    """The streamed response. Raises PcnError."""
    from http.client import HTTPException

    connection = _connection(where)
    try:
        connection.request("POST", PATH, json.dumps(order), {"Content-Type": "application/json"})
        connection.sock.settimeout(None)  # planning a large graph takes long
        response = connection.getresponse()
        if response.status != 200:
            raise _refused(where.host, response.status, response.read(1 << 20))
        yield response
    except (OSError, HTTPException) as error:
        raise ApplyFailed(f"{where.host}: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()


def _connection(where: Namespace) -> Any:
    import http.client
    from urllib.parse import urlsplit

    scheme, _, rest = where.host.partition(":")
    if scheme == "unix":
        return _unix(rest)
    url = urlsplit(where.host)
    if scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query:
        raise UsageError(f"{where.host!r} is no place of a pcn-api: write https://HOST:PORT, http://localhost:PORT or unix:PATH")
    if scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port or 9000, timeout=_CONNECT)
    import ssl

    if not (where.cert and where.key and where.ca):
        raise UsageError("https wants --cert, --key and --ca: pcn-api knows who writes by a certificate")
    try:
        context = ssl.create_default_context(cafile=where.ca)
        context.load_cert_chain(where.cert, where.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use {where.ca}, {where.cert} and {where.key}: {error}") from None
    return http.client.HTTPSConnection(url.hostname, url.port or 9000, timeout=_CONNECT, context=context)


def _unix(path: str) -> Any:
    import http.client
    import socket

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(_CONNECT)
            self.sock.connect(path)

    return Connection("localhost")


def _refused(host: str, status: int, body: bytes) -> PcnError:
    try:
        said = json.loads(body)["ietf-restconf:errors"]["error"][0]["error-message"]
    except (ValueError, LookupError, TypeError):
        said = f"it answered with status {status}: is a pcn-api there?"
    if status == 403:
        return NotPermitted(f"use {host}", errno.EACCES, said)
    return UsageError(f"{host}: {said}") if status in (400, 404, 405) else ApplyFailed(f"{host}: {said}")


def _print(answer: HTTPResponse, terminal: Terminal, host: str) -> int:
    """Print the verb's output on the same streams; returns its exit code. Raises ApplyFailed if the response is truncated."""
    for line in answer:
        part = json.loads(line)
        if "exit" in part:
            return int(part["exit"])
        terminal.pass_on(part.get("out", ""), part.get("err", ""))
        if terminal.lost is not None:
            return 0
    raise ApplyFailed(f"{host} went away before it was done; {_SEE.format(host)}")
