"""pcn api: serve Polycube's REST API (command pcn-api)."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import FeatureMissing, UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Serve Polycube's REST API, so that polycubectl and scripts work as they are. A write is an edit of one topology, applied as
one transaction and kept in a file. Root and the group pcn may write; see docs/api.md."""
FILE, TOPOLOGY, LISTEN = "/etc/pcn/api/{}.yaml", "rest", "localhost:9000"
_PATIENCE = 60.0  # seconds to wait for another writer: requests are delayed, not refused


def main() -> int:
    """`pcn-api` is `pcn api`."""
    from reconciler.cli.main import main as front_door

    return front_door(["api", *sys.argv[1:]])


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--listen", action="append", metavar="PLACE",
                        help=f"where: ADDRESS:PORT or unix:PATH; can be repeated ({LISTEN})")
    parser.add_argument("--topology", metavar="NAME", default=TOPOLOGY, help=f"the topology that is written ({TOPOLOGY})")
    parser.add_argument("--file", metavar="FILE", help=f"where it is kept ({FILE.format(TOPOLOGY)})")
    parser.add_argument("--group", default="pcn", help="whose members may write, beside root (pcn)")
    parser.add_argument("--others-read", action="store_true", help="let every user of this host read")
    parser.add_argument("--name", action="append", default=[], metavar="HOST", help="a name by which it is reached")
    files = {"cert": "the server's certificate", "key": "its key", "ca": "what signs the clients' certificates"}
    for option, what in files.items():
        parser.add_argument(f"--{option}", metavar="FILE", help=f"{what}: PEM; for addresses that others reach")
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    try:
        from reconciler.api.server import Settings, serve
    except ImportError as error:
        raise FeatureMissing(f"pcn-api needs {error.name}: pip install 'pcn[api]'") from None
    from reconciler.agent.log_format import set_up
    from reconciler.api.callers import Policy
    from reconciler.api.listeners import Tls

    run.need("change the kernel's programs", change=True)
    args = run.args
    given = [args.cert, args.key, args.ca]
    if any(given) and not all(given):
        raise UsageError("--cert, --key and --ca go together")
    options = run.options()
    options.planned, options.progress, options.lock_timeout = None, None, _PATIENCE
    set_up(verbose=run.terminal.verbose, quiet=run.terminal.quiet)
    policy = Policy(args.group, args.others_read, frozenset(name.casefold() for name in args.name))
    file = args.file or FILE.format(args.topology)
    return serve(Settings(options, args.listen or [LISTEN], args.topology, file, policy, Tls(*given) if all(given) else None))
