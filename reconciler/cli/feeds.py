"""Arguments for sources of documents beside files: Git and etcd."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.sources.etcd import EtcdSource
    from reconciler.sources.git import GitSource
    from reconciler.sources.source import Source
    from reconciler.sources.spool import Spool


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--git", metavar="URL[#BRANCH][:PATH]", help="a directory of a Git repository")
    parser.add_argument("--verify", metavar="FILE", help="take only commits signed by one of these (allowed_signers)")
    parser.add_argument("--etcd", metavar="URL", help="keys of etcd, each a document")
    parser.add_argument("--prefix", metavar="KEY", default="/pcn/topologies/", help="what keys begin with (/pcn/topologies/)")
    for name, about in (("ca", "who has signed etcd's certificate"), ("cert", "our certificate"), ("key", "its key")):
        parser.add_argument(f"--etcd-{name}", metavar="FILE", help=about)


def git(args: Namespace, every: float = 30.0) -> GitSource:
    from reconciler.kernel import cachedir
    from reconciler.sources.git import GitPlace, GitSource

    if args.verify and not os.path.isfile(args.verify):
        raise UsageError(f"{args.verify} is not there")
    if args.verify:
        _refuse_shared(args.verify)
    return GitSource(GitPlace.of(args.git), cachedir.directory(), every, os.path.abspath(args.verify) if args.verify else "")


def etcd(args: Namespace) -> EtcdSource:
    from reconciler.sources.etcd import EtcdSource

    tls = {name: value for name in ("ca", "cert", "key") if (value := getattr(args, f"etcd_{name}"))}
    for path in tls.values():
        _refuse_shared(path)
    return EtcdSource(args.etcd, args.prefix, tls)


def _refuse_shared(path: str) -> None:
    """Refuses a file that others than root can replace: it decides what is trusted."""
    from reconciler.kernel import trusted

    try:
        trusted.refuse_shared(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def sources(args: Namespace) -> list[Source]:
    if args.verify and not args.git:
        raise UsageError("--verify goes with --git")
    every = getattr(args, "every", 30.0)
    return [*([git(args, every)] if args.git else []), *([etcd(args)] if args.etcd else [])]


def feeds(args: Namespace) -> list[tuple[Source, Spool]]:
    """Each source with its spool directory below /run/pcn."""
    from reconciler.agent import singleton
    from reconciler.engine.apply import Options
    from reconciler.kernel import rundir
    from reconciler.sources.spool import Spool

    found: list[tuple[Source, Spool]] = []
    for source in sources(args):
        name = singleton.socket_name(args.bpffs or Options().root, source.name).removesuffix(".sock")
        with rundir.opened(below="feeds"):
            home = Path(rundir.directory()) / "feeds" / name
            home.mkdir(mode=0o700, exist_ok=True)
        found.append((source, Spool(home)))
    return found
