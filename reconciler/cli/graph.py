"""pcn graph: draw the live topologies, or those of files."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.apply import Options
    from reconciler.model import Topology

DESCRIPTION = """\
Draw the cubes and what joins them: as text, for Graphviz (dot) and Mermaid, or as a picture (svg). Without a file, what the
kernel holds is drawn, or the named topologies of it; drawing a file needs neither root nor a kernel."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", metavar="FILE|TOPOLOGY", help="draw these files, or live topologies, instead of all")
    parser.add_argument("--merge", action="store_true", help="make one topology of documents with the same name")
    shared.output(parser, "text", "dot", "mermaid", "svg")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    from reconciler.present.graph import draw
    from reconciler.present.graph_text import as_dot, as_mermaid, as_text

    options = run.options()
    files = [word for word in run.args.what if run.is_file(word)]
    if files and len(files) < len(run.args.what):
        raise UsageError("name either files or live topologies")
    topologies = _of_files(run, files, options) if files else _live(run, options)
    kinds = {
        name: service.kind
        for name in {cube.service for topology in topologies for cube in topology.cubes}
        if (service := options.services.get(name)) is not None
    }
    netdevs = None if files else _netdevs()
    if run.format == "text":
        if topologies:
            run.terminal.print(as_text(topologies, kinds, netdevs, run.terminal.width))
        else:
            run.terminal.say("nothing is applied")
        return 0
    drawing = draw(topologies, kinds, netdevs)
    if run.format == "svg":
        from reconciler.present.svg import as_svg

        run.terminal.print(as_svg(drawing))
    else:
        run.terminal.print(as_dot(drawing) if run.format == "dot" else as_mermaid(drawing))
    return 0


def _netdevs() -> set[str]:
    """The present netdevs, by name and altnames."""
    from reconciler.kernel import rtnl

    return {name for netdev in rtnl.links().values() for name in (netdev.name, *netdev.other_names)}


def _of_files(run: Run, files: list[str], options: Options) -> list[Topology]:
    from reconciler.check import check

    topologies, warnings = check(run.load(files), options.services, merge=run.args.merge)
    run.warn(warnings)
    return topologies


def _live(run: Run, options: Options) -> list[Topology]:
    """The live topologies, or those named, as in `pcn show`: read back from the kernel."""
    import json

    from reconciler.check import check
    from reconciler.document import Document
    from reconciler.present.show import show

    run.need("read the kernel's programs")
    names: list[str] = run.args.what
    if names:
        from reconciler.cli.names import live_names

        there = live_names(options)
        names = sorted({there.topology_of(name) for name in names})
    documents = [Document(f"live topology {each['metadata']['name']}", json.dumps(each), each) for each in show(options, names)]
    return check(documents, options.services)[0] if documents else []
