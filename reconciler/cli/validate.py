"""pcn validate: check files without a kernel."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.run import Run
    from reconciler.document import Document
    from reconciler.errors import Problem
    from reconciler.model import Topology
    from reconciler.service.registry import Services

DESCRIPTION = """\
Check files as one desired set: their syntax, their leaves against the models, and the graph that they make. Needs
neither root nor a kernel. Exit 65 if anything is wrong. What may be meant, but seldom is, it warns of: netdevs that are
not on this machine, transparent cubes that no packet meets."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="a file, a directory, or - for standard input")
    parser.add_argument("--merge", action="store_true", help="make one topology of documents with the same name")
    shared.output(parser, "text", "json", "yaml")
    shared.services(parser)


def run(run: Run) -> int:
    import socket

    from reconciler.check.advice import advice

    if not run.args.files:
        raise UsageError("say which files, or - for standard input\nsee 'pcn validate --help'")
    documents = run.load(run.args.files)
    run.terminal.doing("checking")
    services = run.services()
    topologies, warnings = _checked(documents, services, merge=run.args.merge)
    _refuse_wrong_filters(documents, topologies, services)
    warnings = [*warnings, *advice(documents, services, [name for _, name in socket.if_nameindex()], _other_names)]
    if run.format != "text":
        run.emit(_document(topologies, warnings))
        return 0
    run.warn(warnings)
    if not run.terminal.quiet:
        run.terminal.print("\n".join(_line(topology) for topology in topologies))
    return 0


def _other_names() -> dict[str, str]:
    """The altnames of netdevs, each with the netdev's name; empty without netlink."""
    from reconciler.errors import KernelError
    from reconciler.kernel import rtnl

    try:
        return {other: name for name, netdev in rtnl.links().items() for other in netdev.other_names}
    except (KernelError, OSError):
        return {}


def _checked(documents: Sequence[Document], services: Services, *, merge: bool) -> tuple[list[Topology], list[Problem]]:
    """As `check`, for each set of documents that a host may have. Raises DocumentError with the errors of all sets."""
    from reconciler.check import check
    from reconciler.document.hosts import sets
    from reconciler.errors import DocumentError

    groups = sets(documents)
    if len(groups) == 1:
        return check(groups[0], services, merge=merge)
    topologies: dict[str, Topology] = {}
    warnings, wrong = dict[str, "Problem"](), dict[str, "Problem"]()
    for group in groups:
        try:
            found, said = check(group, services, merge=merge)
        except DocumentError as error:
            wrong |= {str(problem): problem for problem in error.problems}
            continue
        topologies |= {topology.name: topology for topology in found if topology.name not in topologies}
        warnings |= {str(problem): problem for problem in said}
    if wrong:
        raise DocumentError(list(wrong.values()))
    return list(topologies.values()), list(warnings.values())


def _refuse_wrong_filters(documents: Sequence[Document], topologies: Sequence[Topology], services: Services) -> None:
    """Checks of packet filters beyond the schema. (Their compiler is slow to import.)"""
    used = {cube.service for topology in topologies for cube in topology.cubes}
    if not any(service.has_filters for name in used if (service := services.get(name)) is not None):
        return
    from reconciler.check.polycube import topology_of
    from reconciler.engine.apply import placed
    from reconciler.engine.builder import Builder
    from reconciler.errors import DocumentError

    if wrong := Builder(services).wrong_filters(topologies):
        formed = [topology_of(document, services)[0] for document in documents]
        raise DocumentError([placed(problem, formed) for problem in wrong])


def _line(topology: Topology) -> str:
    from reconciler.document.diagnostics import escape
    from reconciler.present.leaves import counted

    ports = sum(len(cube.ports) for cube in topology.cubes)
    counts = (("cube", len(topology.cubes)), ("port", ports), ("link", len(topology.links)))
    words = ", ".join(counted(number, word) for word, number in counts)
    return escape(f"{topology.name}: valid, {words}")


def _document(topologies: Sequence[Topology], warnings: Sequence[Problem]) -> dict[str, Any]:
    from reconciler.present import FORMAT_VERSION, problem_data

    return {
        "format_version": FORMAT_VERSION,
        "summary": {
            "topologies": len(topologies),
            "cubes": sum(len(topology.cubes) for topology in topologies),
            "errors": 0,
            "warnings": len(warnings),
        },
        "topologies": [topology.name for topology in topologies],
        "warnings": [problem_data(problem) for problem in warnings],
        "errors": [],
    }
