"""pcn agent: run the agent, which keeps the kernel in sync with files; its status and sync."""
from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.errors import ApplyFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.run import Run

DESCRIPTION = """\
run     watch files and directories, and keep the kernel as they say: a saved file is applied, a netdev that appears is
        connected, and what drifts is healed within a second (the command pcn-agent)
status  say how the running agent does; exit 0 if all is well
sync    have it ask Git and etcd, read its files and look at the kernel now; exit 0 if all is well then"""
_BUSY = 0.2  # seconds to wait for another writer before the loop continues and retries


def main() -> int:
    """`pcn-agent [run]` is `pcn agent run`; `pcn-agent status` and `sync` likewise."""
    from reconciler.cli.main import main as front_door

    words = sys.argv[1:]
    asks = words[:1] in (["run"], ["status"], ["sync"]) and not os.path.lexists(words[0])
    return front_door(["agent", *words] if asks else ["agent", "run", *words])


def arguments_for(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Raises UsageError for a path in place of the verb."""
    if words and words[0] not in ("run", "status", "sync") and os.path.lexists(words[0]):
        raise UsageError(f"{words[0]} is a path: 'pcn agent run {words[0]}' watches it")
    arguments(parser)


def arguments(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="run|status|sync")
    watching = verbs.add_parser("run", help="watch files, and keep the kernel as they say", description=DESCRIPTION)
    watching.add_argument("paths", nargs="*", metavar="FILE",
                          help="files and directories to watch; none: only heal what is applied")
    mode = watching.add_mutually_exclusive_group()
    mode.add_argument("--no-heal", action="store_const", dest="mode", const="no-heal", default="heal",
                      help="apply files and connect netdevs, but report drift only")
    mode.add_argument("--observe", action="store_const", dest="mode", const="observe", help="change nothing: only report")
    watching.add_argument("--prune", action="store_true", help="remove a topology when its file is removed")
    watching.add_argument("--merge", action="store_true", help="make one topology of documents with the same name")
    watching.add_argument("--accept-state-reset", action="store_true",
                          help="after an upgrade, exchange tables whose layout is another one, though what they learned is lost")
    _feeds(watching)
    watching.add_argument("--metrics", metavar="ADDRESS", default="",
                          help="serve metrics for Prometheus at 127.0.0.1:PORT, [::1]:PORT or unix:PATH")
    shared.services(watching)
    asking = verbs.add_parser("status", help="say how the running agent does; exit 0 if all is well")
    shared.output(asking, "text", "json")
    syncing = verbs.add_parser("sync", help="have the running agent ask its sources and look, now")
    shared.output(syncing, "text", "json")
    for verb in (watching, asking, syncing):
        shared.root(verb)
        shared.common(verb)


def _feeds(parser: ArgumentParser) -> None:
    from reconciler.cli.feeds import arguments

    arguments(parser)
    parser.add_argument("--every", metavar="SECONDS", type=shared.seconds, default=30.0, help="how often to ask Git (30)")
    parser.add_argument("--spread", metavar="SECONDS", type=shared.seconds, default=0.0,
                        help="apply a new revision within this time, each host at a moment of its own")
    parser.add_argument("--report", action="store_true", help="keep this host's status where the documents are from")


def run(run: Run) -> int:
    return {"run": _run, "status": _status, "sync": _sync}[run.args.what](run)


def _run(run: Run) -> int:
    from reconciler.agent.log_format import set_up
    from reconciler.agent.main import Agent
    from reconciler.agent.settings import Settings
    from reconciler.cli.feeds import feeds
    from reconciler.sources.feed import Care

    run.need("change the kernel's programs", change=True)
    for path in run.args.paths:
        _can_be_watched(path)
    options = run.options()
    options.planned, options.lock_timeout, options.prune = None, _BUSY, False
    set_up(verbose=run.terminal.verbose, quiet=run.terminal.quiet)
    care = Care(run.args.spread, run.args.prune, run.args.report)
    return Agent(Settings(
        run.args.paths, options, run.args.mode, run.args.prune, run.args.metrics, run.args.accept_state_reset,
        feeds=feeds(run.args), care=care,
    )).run()  # fmt: skip


def _can_be_watched(path: str) -> None:
    """Raises UsageError for a missing path, unless it is a file that may be created later in an existing directory."""
    from reconciler.document.load import SUFFIXES
    from reconciler.document.suggest import did_you_mean

    directory, name = os.path.split(os.path.abspath(path))
    if os.path.lexists(path) or (name.endswith(SUFFIXES) and os.path.isdir(directory)):
        return
    beside = os.listdir(directory) if os.path.isdir(directory) else []
    hint = did_you_mean(name, beside)
    raise UsageError(f"{path} is not there, so it cannot be watched" + (f"; {hint}" if hint else ""))


def _status(run: Run) -> int:
    from reconciler.agent import singleton
    from reconciler.agent.status import render

    run.need("ask the agent")
    root = run.options().root
    found = singleton.ask(root)
    if found is None and singleton.is_there(root):
        raise ApplyFailed(f"the agent of {root} is there, but too busy to answer; it may be compiling")
    if found is None:
        raise ApplyFailed(f"no agent of {root} is running")
    if run.format == "json":
        run.emit(found)
    else:
        run.terminal.print(render(found))
    return 0 if found["healthy"] else ApplyFailed.exit_code


def _sync(run: Run) -> int:
    import asyncio

    from reconciler.agent import singleton
    from reconciler.rpc.contract import RpcError

    run.need("ask the agent")
    root = run.options().root
    if not singleton.is_there(root):
        raise ApplyFailed(f"no agent of {root} is running")
    try:
        found = asyncio.run(_synced(root))
    except RpcError as error:
        raise ApplyFailed(f"the agent of {root} does not answer: {error}") from None
    if run.format == "json":
        run.emit({"format_version": "1.0", **found})
    else:
        for feed in found["feeds"]:
            run.terminal.print(f"{feed['source']} is at {feed['revision'][:12] or 'no revision'}")
        for problem in found["problems"]:
            run.terminal.print(problem)
    return 0 if found["healthy"] else ApplyFailed.exit_code


async def _synced(root: str) -> dict[str, Any]:
    from reconciler.agent.client import DocumentsClient

    client = DocumentsClient(root)
    try:
        return await client.sync()
    finally:
        client.close()
