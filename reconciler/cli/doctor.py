"""pcn doctor: capabilities of this machine, what is missing, and what that prevents."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.cli.diagnosis import LIMITED, MISSING, OK, UNKNOWN, Check
from reconciler.errors import FeatureMissing

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.kernel.features import Feature

DESCRIPTION = """\
Try out what pcn needs, and say what is missing, what that keeps from working, and what would mend it. Exit 69 if something
is missing without which nothing works, or if --load meets a program that the kernel refuses. Needs no root, but can then not
try everything."""
_STYLES = {OK: "green", MISSING: "red", LIMITED: "yellow", UNKNOWN: "dim"}
_NEEDED = {"bpf", "bpffs"}
_BLOCKS = {
    "bpf": "everything that reads or changes the kernel",
    "bpffs": "everything: the live graph is kept there",
    "tcx": "TC links: pcn falls back on clsact filters",
    "xdp-link": "cubes of type XDP_SKB and XDP_DRV",
    "redirect-peer": "the short way into a namespace: packets take the long one",
    "batch": "writing many rows at once: big tables take longer",
    "ringbuf": "messages from programs (pcn_log)",
    "btf": "type information of tables for other tools",
    "jit": "speed",
    "unprivileged-bpf-disabled": "nothing, but it is a risk",
    "memlock": "big tables, unless the limit is raised",
}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--load", action="store_true", help="have the verifier look at every compiled program; needs root")
    shared.output(parser, "text", "json", "yaml")
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    if run.args.load:
        run.need("load programs", change=True)
    checks = []
    for check in _checks(run):
        checks.append(check)
        if run.format == "text" and (check.status != OK or not run.terminal.quiet):
            run.terminal.print(_line(check, run))  # at once: the verifier may take long for the next
    if run.format != "text":
        run.emit({"format_version": "1.0", "checks": [asdict(check) for check in checks], "errors": []})
    broken = any(check.status == MISSING for check in checks)
    return FeatureMissing.exit_code if broken else 0


def _line(check: Check, run: Run) -> str:
    found = check.found.replace("\n", f"\n{'':<36}")
    head = f"{run.terminal.paint(_STYLES[check.status], f'{check.status:<8}')} {check.name:<26} {found}"
    more = [
        f"{'':<9}{'':<27}{text}"
        for text in (check.blocks and f"keeps from working: {check.blocks}", check.mend and f"mend: {check.mend}")
        if text
    ]
    return "\n".join([head, *more])


def _checks(run: Run) -> Iterator[Check]:
    from reconciler.cli import diagnose_services
    from reconciler.cli.run import lacking
    from reconciler.engine.builder import units_of
    from reconciler.kernel.release import release

    permitted = not lacking(("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"))
    yield Check("kernel", OK, f"Linux {release()} on {os.uname().machine}")
    yield (
        Check("permissions", OK, "may load programs and change the network")
        if permitted
        else Check(
            "permissions", LIMITED, "not root", "all but validate, graph FILE, services, explain and schema", "run it as root"
        )
    )
    yield from _features(permitted)
    yield _root(run)
    services = run.services()
    units = units_of(services)
    yield diagnose_services.check_compiler(units)
    yield _libpcap()
    yield from diagnose_services.check_services(services)
    if run.args.load:
        yield from diagnose_services.check_programs(units)


def _libpcap() -> Check:
    from reconciler.compiler.libpcap import there

    if there():
        return Check("libpcap", OK, "filters of packets can be compiled")
    return Check("libpcap", LIMITED, "not installed", "filters of packets, as of 'pcn capture'", "apt-get install libpcap0.8")


def _features(permitted: bool) -> Iterator[Check]:
    from reconciler.kernel.features import features

    for feature in features().values():
        yield _of_feature(feature, permitted)


def _of_feature(feature: Feature, permitted: bool) -> Check:
    if feature.present:
        return Check(feature.name, OK, feature.why)
    kind = feature.name.removeprefix("link-")
    blocks = _BLOCKS.get(feature.name, f"links of kind {kind}")
    if not permitted and ("not permitted" in feature.why or "ermission" in feature.why):
        return Check(feature.name, UNKNOWN, "only root can try it")
    return Check(feature.name, MISSING if feature.name in _NEEDED else LIMITED, feature.why, blocks, feature.needs)


def _root(run: Run) -> Check:
    """Whether the root is, or can be, on a bpf filesystem."""
    from pathlib import Path

    root = Path(run.options().root)
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    within = [fields[1] for fields in mounts if fields[2] == "bpf" and root.is_relative_to(fields[1])]
    if within:
        return Check("live graph", OK, f"{root}, on the bpf filesystem at {max(within, key=len)}")
    if root.parent == Path("/sys/fs/bpf"):
        return Check("live graph", OK, f"{root}; the bpf filesystem is mounted there by the first apply")
    return Check(
        "live graph",
        MISSING,
        f"{root} is not on a bpf filesystem",
        "everything that reads or changes the kernel",
        "another --bpffs, such as /sys/fs/bpf/pcn",
    )
