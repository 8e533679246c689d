"""scripts/bench [--list] [--quick] [--rounds N] [--out DIR] [NAME...]

Runs benchmarks and writes a table and a picture of each to benchmarks/results. A benchmark is a module of this package with
`run(effort) -> list[Table]`; its docstring is the report's first words, and the docstring's first line its title.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import machine, report
from benchmarks.compare import QUICK, Effort, Table

NAMES = (
    "forwarder",
    "anatomy",
    "chain",
    "bridge",
    "stations",
    "router",
    "routes",
    "full_table",
    "nat",
    "balancer",
    "policies",
    "blacklist",
    "cpus",
    "pods",
    "kubernetes",
    "cni",
    "endpoints",
    "releases",
    "control",
    "edit",
    "memory",
    "swap",
    "firewall",
    "firewall_flows",
    "firewall_edit",
    "firewall_flood",
    "iptables",
    "synflood",
    "slowpath",
)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures pcn against its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (all)")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--quick", action="store_true", help="a try: few rounds, few packets, and nothing is written")
    parser.add_argument("--rounds", type=int, help="rounds in each comparison")
    parser.add_argument("--out", type=Path, help="where to write to (benchmarks/results; with --quick nowhere)")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))} (there are {', '.join(NAMES)})")
    if args.list:
        for name in NAMES:
            print(f"{name:<15} {_words(name)[0]}")
        return 0
    if os.geteuid() != 0:
        print("bench: needs root: it makes network namespaces and loads programs", file=sys.stderr)
        return 77
    effort = QUICK if args.quick else Effort()
    effort = replace(effort, rounds=args.rounds or effort.rounds)
    return run(args.names or NAMES, effort, args.out or (None if args.quick else RESULTS))


def run(names: tuple[str, ...] | list[str], effort: Effort, out: Path | None) -> int:
    """In a network and mount namespace of its own, as the tests are; what is left behind is an error."""
    from tests.lib import residue
    from tests.lib.sandbox import enter_sandbox

    enter_sandbox()
    with tempfile.TemporaryDirectory(prefix="pcn-bench-") as cache:
        os.environ |= {"PCN_CACHE": cache, "PCN_BPFFS": "/sys/fs/bpf/pcn-bench"}
        for name in names:
            before, began = residue.snapshot(), time.monotonic()
            tables = importlib.import_module(f"benchmarks.{name}").run(effort)
            _write(name, tables, out)
            print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
            residue.assert_no_residue(before)
    return 0


def _write(name: str, tables: list[Table], out: Path | None) -> None:
    title, about = _words(name)
    text = report.as_markdown(title, about, tables, machine.describe())
    print(text, flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for suffix, content in (("md", text), ("json", report.as_json(title, tables, machine.describe())),
                                ("svg", report.as_svg(title, tables, machine.describe()))):  # fmt: skip
            (out / f"{name}.{suffix}").write_text(content, "utf-8")


def _words(name: str) -> tuple[str, str]:
    """Title and the rest of a benchmark's docstring, without running it."""
    import ast

    source = (Path(__file__).parent / f"{name}.py").read_text("utf-8")
    title, _, about = (ast.get_docstring(ast.parse(source)) or name).partition("\n")
    return title.rstrip("."), about


if __name__ == "__main__":
    sys.exit(main())
