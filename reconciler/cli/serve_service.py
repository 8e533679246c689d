"""pcn serve-service: serve a directory's services to pcn on this host, or on others."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Serve the services of a directory, as 'pcn-apply --services DIR' would find them there: to this host's pcn, which finds each by a
socket in /run/pcn/services; or with --listen to other hosts, by TLS with certificates on both sides. Until Ctrl-C or SIGTERM."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="holds NAME.schema.json, NAME.c and NAME.py of each service")
    parser.add_argument("--only", metavar="NAME", help="serve this one of them")
    parser.add_argument("--listen", metavar="HOST:PORT", help="serve one service by TLS 1.3")
    parser.add_argument("--ca", metavar="FILE", help="who must have signed the certificates of those that ask")
    parser.add_argument("--cert", metavar="FILE", help="ours; it names the service (subjectAltName DNS:NAME)")
    parser.add_argument("--key", metavar="FILE", help="the key to it")


def run(run: Run) -> int:
    import asyncio

    from reconciler.service.registry import Services
    from reconciler.service.remote.offer import Offer

    args = run.args
    services = Services([args.directory])
    names = [args.only] if args.only else services.names_near()
    found = [service for name in names if (service := services.get(name)) is not None]
    if not found:
        raise UsageError(f"there is no service {args.only or ''} in {args.directory}".replace("  ", " "))
    offers = [Offer(service) for service in found]
    if args.listen and (len(offers) != 1 or not (args.ca and args.cert and args.key)):
        raise UsageError("--listen takes one service (--only NAME), and --ca, --cert and --key")
    try:
        asyncio.run(_serve(run, offers))
    except KeyboardInterrupt:
        pass
    return 0


async def _serve(run: Run, offers: list) -> None:  # type: ignore[type-arg]
    import asyncio
    import os
    import signal
    from contextlib import suppress

    from reconciler.kernel import rundir
    from reconciler.rpc.serve import serve_tls, serve_unix, server_context
    from reconciler.service.remote.places import SOCKETS, SUFFIX

    args, stopped = run.args, asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    sockets = []
    for offer in offers:
        if args.listen:
            host, _, port = args.listen.rpartition(":")
            if not host or not port.isdecimal():
                raise UsageError(f"{args.listen!r} is no HOST:PORT")
            await serve_tls(offer.functions(), host.strip("[]"), int(port), server_context(args.cert, args.key, args.ca))
            where = f"https://{args.listen}"
        else:
            with rundir.opened(below=SOCKETS):
                where = str(rundir.directory() / SOCKETS / f"{offer.manifest.name}{SUFFIX}")
            await serve_unix(offer.functions(), where)
            sockets.append(where)
        run.terminal.print(f"serving {offer.manifest.name} at {where}, {offer.manifest.digest}")
    await stopped.wait()
    for path in sockets:
        with suppress(FileNotFoundError):
            os.unlink(path)
