"""pcn stats: counters of packets carried and dropped by cubes and ports."""
from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.agent.stats import CubeStats
    from reconciler.cli.run import Run
    from reconciler.engine.apply import Options

DESCRIPTION = """\
Show what each port has carried, what each cube has dropped and why, and how full its tables are: totals, and with -w
rates, every second until Ctrl-C. rx is what came in at a port. Of a cube that is named,
what each of its rules decided. Reads only, but for --between: where a port leads to another cube
the kernel counts nothing, so a tap is placed at each, for as long as this runs, and loses no packet."""
_PERIOD = 1.0
_SHOWN = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cubes", nargs="*", metavar="CUBE|TOPOLOGY", help="only these cubes, or those of these topologies")
    parser.add_argument("-w", "--watch", action="store_true", help="show rates, every second")
    parser.add_argument("-b", "--between", action="store_true", help="as -w, and at ports between two cubes, too")
    shared.lock(parser)
    shared.output(parser, "text", "json")
    shared.services(parser)
    shared.root(parser)


def run(run: Run) -> int:
    from reconciler.agent import stats

    run.need("read the kernel's tables")
    options = run.options()
    run.args.watch |= run.args.between
    if run.args.watch:
        return _watch(run, options)
    cubes = _read(options, run.args.cubes)
    _show(run, stats.plain(cubes), options.root)
    if run.format == "text":
        _show_counted(run, options, [cube for cube in cubes if cube.name in run.args.cubes])
    return 0


def _watch(run: Run, options: Options) -> int:
    from reconciler.agent import stats

    with _reading(run, options) as read:
        before, began = read(), time.monotonic()
        try:
            while run.terminal.wait(_PERIOD):
                now = time.monotonic()
                after = read()
                if run.format == "text" and run.terminal.out.isatty():
                    run.terminal.print("\x1b[H\x1b[2J")
                _show(run, stats.rates(before, after, now - began), options.root)
                before, began = after, now
        except KeyboardInterrupt:
            pass
    return 0


@contextmanager
def _reading(run: Run, options: Options) -> Iterator[Callable[[], list[CubeStats]]]:
    """Yields a function that reads the cubes; within the context ports between cubes are counted, if requested."""
    names = run.args.cubes
    if not run.args.between:
        yield lambda: _read(options, names)
        return
    from reconciler.agent import stats
    from reconciler.capture.count import counting

    run.need("count packets between cubes", change=True)
    options.progress = None
    with counting(options, stats.between(_read(options, names))) as counted:
        yield lambda: stats.with_counted(_read(options, names), counted())


def _read(options: Options, names: Sequence[str]) -> list[CubeStats]:
    from reconciler.agent import stats

    found = stats.read(options.root, options.services, names)
    if missing := sorted(set(names) - {cube.name for cube in found} - {cube.topology for cube in found}):
        from reconciler.document.suggest import did_you_mean

        there = stats.read(options.root, options.services, entries=False)
        hint = did_you_mean(missing[0], [name for cube in there for name in (cube.name, cube.topology)])
        raise UsageError(f"there is no cube or topology {', '.join(missing)} in {options.root}" + (f"; {hint}" if hint else ""))
    return found


def _show_counted(run: Run, options: Options, cubes: Sequence[CubeStats]) -> None:
    """Print the counters of these cubes' list entries. Rows are read only if a model has such counters."""
    from reconciler.present.counted import counted, has_counts
    from reconciler.present.show import show

    services = {cube.name: service for cube in cubes if (service := options.services.get(cube.service)) is not None}
    services = {name: service for name, service in services.items() if has_counts(service.schema)}
    topologies = {cube.topology for cube in cubes if cube.name in services}
    for document in show(options, topologies, state=True) if topologies else ():
        for cube in document["spec"].get("cubes", ()):
            if cube["name"] in services:
                for found in counted(services[cube["name"]].schema, cube, cube["name"]):
                    run.terminal.print("\n".join(found.lines()))


def _show(run: Run, cubes: list[dict[str, Any]], root: str) -> None:
    from reconciler.agent import singleton

    agent = singleton.ask(root, 0.5)
    slow_path = agent["slow_path"] if agent else None
    if run.format == "json":
        import json

        document = {"format_version": "1.0", "at": time.time(), "cubes": cubes, "slow_path": slow_path}
        text = json.dumps(document) if run.args.watch else json.dumps(document, indent=2)  # watched: one line per reading
        run.terminal.print(text)
        return
    run.terminal.print(render(cubes, slow_path) or "no cubes")


def render(cubes: Sequence[Mapping[str, Any]], slow_path: Mapping[str, Any] | None) -> str:
    """A block per cube: table of ports, then lines for drops, table entries and slow path."""
    blocks = []
    for cube in cubes:
        lines = [f"{cube['name']}  {cube['service']} ({cube['type']})"]
        rows = [_port(port) for port in cube["ports"]]
        if rows:
            per = "/s" if any("rates" in port for port in cube["ports"]) else ""
            lines += _columns([("  port", "peer", *(name.replace("_", " ") + per for name in _SHOWN), "dropped"), *rows])
        if any("rx_packets" not in port and ":" in port["peer"] for port in cube["ports"]):
            lines.append("  -: between two cubes the kernel counts nothing; -b counts there, while it runs")
        growth = {why: f" ({rate:g}/s)" for why, rate in cube.get("rates", {}).get("drops", {}).items() if rate}
        if cube["drops"]:
            lines.append("  drops: " + ", ".join(f"{why} {count}{growth.get(why, '')}" for why, count in cube["drops"].items()))
        if cube["entries"]:
            lines.append("  entries: " + ", ".join(f"{table} {count}" for table, count in cube["entries"].items()))
        own = (slow_path or {}).get("cubes", {}).get(cube["name"])
        if own:
            lines.append("  slow path: " + ", ".join(f"{name} {value}" for name, value in own.items()))
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _port(port: Mapping[str, Any]) -> tuple[str, ...]:
    if "rx_packets" not in port:
        return (f"  {port['name']}", port["peer"], "-", "-", "-", "-", "-")
    shown = port.get("rates", port)
    carried = (f"{shown[name]:,.0f}" for name in _SHOWN)
    dropped = str(port["rx_dropped"] + port["tx_dropped"]) if "rx_dropped" in port else "-"  # a tap counts no drops
    return (f"  {port['name']}", port["peer"], *carried, dropped)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Names left-aligned, numbers right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust, str.ljust] + [str.rjust] * (len(widths) - 2)
    return ["  ".join(side(cell, width) for cell, width, side in zip(row, widths, sides, strict=True)) for row in rows]
