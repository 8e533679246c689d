"""pcn-k8s: the Kubernetes provider of a node.

    pcn-k8s run --node NAME      watch the cluster, and keep this node's topology in force (beside pcn-agent)
    pcn-k8s status               how it does; exit 0 if all is well
    pcn-k8s fleet                how all nodes do with the topologies that are for them; exit 1 if one does badly
    pcn-k8s refused              who was refused by which policy; -f: as it happens (run --log-refused)
    pcn-k8s document FILE        the topology that would follow from objects in a file of JSON, without a cluster
    pcn-k8s install, uninstall   the CNI plugin and its configuration on this node
    pcn-k8s cni                  what the CNI plugin does while no provider runs
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from providers.kubernetes.settings import Settings

if TYPE_CHECKING:
    from providers.kubernetes.api import Access

DEFAULT_ROOT = "/sys/fs/bpf/pcn"
CONFIGURATION, BINARIES = "/etc/cni/net.d", "/opt/cni/bin"
log = logging.getLogger("pcn.k8s")


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 0 success, 1 failure, 64 for invalid arguments."""
    parser = argparse.ArgumentParser("pcn-k8s", description="The Kubernetes network provider of a node.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|status|fleet|refused|document|install|uninstall|cni")
    runs = verbs.add_parser("run", help="watch the cluster, and keep this node's topology in force")
    for verb in (runs, verbs.add_parser("document", help="print the topology that follows from objects in a file")):
        _of_a_node(verb)
    config = os.environ.get("KUBECONFIG", "")
    fleet = verbs.add_parser("fleet", help="say how all nodes do; exit 1 if one does badly")
    fleet.add_argument("-o", dest="format", choices=("text", "json"), default="text")
    for verb in (runs, fleet):
        verb.add_argument("--kubeconfig", default=config, help="how to reach the API server; '': as a pod is told")
    logged = "write a line to pcn's log for what policies refuse (at most 100 a second and CPU)"
    runs.add_argument("--log-refused", action="store_true", help=logged)
    big = "let pods' TCP use segments of 192 KiB (BIG TCP): faster between pods of a node, slower where they are cut"
    runs.add_argument("--big-tcp", action="store_true", help=big)
    when_away = "pods that are added while the API server is away: strict: they wait; best-effort: they begin without labels"
    runs.add_argument("--policy", choices=("strict", "best-effort"), default="strict", help=when_away)
    figures = "serve Prometheus metrics there: 127.0.0.1:9478, or unix:/a/path"
    runs.add_argument("--metrics", default="", metavar="ADDRESS", help=figures)
    runs.add_argument("--health", default="", metavar="ADDRESS", help="where health checks are answered; '': everywhere")
    document = verbs.choices["document"]
    document.add_argument("file", help="a List of API objects, in JSON; - for standard input")
    status = verbs.add_parser("status", help="say how the provider does; exit 0 if all is well")
    status.add_argument("-o", dest="format", choices=("text", "json"), default="text")
    refused = verbs.add_parser("refused", help="what policies have refused, by their names")
    refused.add_argument("-f", "--follow", action="store_true", help="pods' names, as it happens; this reads pcn's log")
    refused.add_argument("-o", dest="format", choices=("text", "json"), default="text")
    verbs.add_parser("cni", help="one call of CNI, by environment and standard input, without the provider")
    what = {"install": "put the CNI plugin in place", "uninstall": "take topology, pods' netdevs and plugin away"}
    for name, words_ in what.items():
        verb = verbs.add_parser(name, help=words_)
        verb.add_argument("--cni-bin", default=BINARIES)
        verb.add_argument("--cni-conf", default=CONFIGURATION)
    runs.add_argument("--cni-conf", default=CONFIGURATION, help="where its configuration goes after the first sync; '': nowhere")
    for verb in verbs.choices.values():
        verb.add_argument("--bpffs", default=os.environ.get("PCN_BPFFS", DEFAULT_ROOT), help="the agent's root")
    arguments = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return int(_VERBS[arguments.verb](arguments))


def _of_a_node(verb: argparse.ArgumentParser) -> None:
    usual = Settings()
    verb.add_argument("--node", default=os.environ.get("NODE_NAME", os.uname().nodename), help="this node's name in the API")
    verb.add_argument("--uplink", default=usual.uplink, help="the netdev that leads out of the node")
    verb.add_argument("--services", choices=("all", "none"), default=usual.services, help="none: kube-proxy serves them")
    verb.add_argument("--service-range", action="append", help="the cluster's range for services; once for each family")
    verb.add_argument("--not-masqueraded", action="append", default=[], help="a prefix that pods reach with their own address")
    verb.add_argument("--slots", type=int, default=usual.slots, help="how many pods the node has at most")
    ways = "how nodes reach each other's pods: by routes, or in VXLAN"
    verb.add_argument("--overlay", choices=("none", "vxlan"), default="none", help=ways)
    verb.add_argument("--vxlan-id", type=int, default=usual.vxlan_id, help="the overlay's network identifier")
    past = "let packets between nodes pass by the host's stack: faster, and its own firewall does not see them"
    verb.add_argument("--direct", action="store_true", help=past)
    verb.add_argument("--mtu", type=int, default=0, help="of pods; 0: the uplink's, less what the overlay adds")


def _settings(arguments: argparse.Namespace) -> Settings:
    from providers.kubernetes.host import mtu_for

    ranges = tuple(arguments.service_range or Settings().service_ranges)
    overlay = arguments.overlay if arguments.overlay != "none" else ""
    found = Settings(
        uplink=arguments.uplink, services=arguments.services, service_ranges=ranges, slots=arguments.slots, overlay=overlay,
        vxlan_id=arguments.vxlan_id, not_masqueraded=tuple(arguments.not_masqueraded), mtu=arguments.mtu or Settings().mtu,
        mtu_follows=not arguments.mtu, log_refused=getattr(arguments, "log_refused", False),
        big_tcp=getattr(arguments, "big_tcp", False), best_effort=getattr(arguments, "policy", "") == "best-effort",
        direct=arguments.direct,
    )  # fmt: skip
    return replace(found, mtu=mtu_for(found))


# -- verbs -----------------------------------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    from providers.kubernetes.node import Node
    from reconciler.agent.server import metrics_listener
    from reconciler.errors import UsageError

    access = _access(arguments)
    if access is None:
        return 64
    settings = _settings(arguments)
    if settings.big_tcp and settings.overlay:
        print("pcn-k8s: --big-tcp: not with an overlay, which carries no segment of more than 64 KiB", file=sys.stderr)
        return 64
    if settings.services == "all" and (why := _kube_proxy()):
        print(f"pcn-k8s: {why}", file=sys.stderr)
        return 1
    try:
        metrics = metrics_listener(arguments.metrics) if arguments.metrics else None
    except UsageError as error:
        print(f"pcn-k8s: {error}", file=sys.stderr)
        return 64

    async def work() -> None:
        node = Node(settings, arguments.node, access, arguments.bpffs, arguments.cni_conf, arguments.health, metrics)
        running = asyncio.create_task(node.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            log.info("leaving; what was applied stays in the kernel")
        finally:
            await node.close()

    asyncio.run(work())
    return 0


def _access(arguments: argparse.Namespace) -> Access | None:
    """How to reach the API server; None, after an error message, if it is not configured."""
    from providers.kubernetes.api import ApiError, from_kubeconfig, in_cluster

    try:
        return from_kubeconfig(arguments.kubeconfig) if arguments.kubeconfig else in_cluster(os.environ)
    except ApiError as error:
        print(f"pcn-k8s: {error}", file=sys.stderr)
        return None


def _fleet(arguments: argparse.Namespace) -> int:
    from providers.kubernetes.say import fleet

    access = _access(arguments)
    return 64 if access is None else fleet(access, arguments.format)


def _kube_proxy() -> str:
    """An error message if kube-proxy's rules are present, '' if not: both would serve the same services."""
    import shutil
    import subprocess

    if shutil.which("iptables-save") is None:
        return ""
    found = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=False).stdout
    where = ":KUBE-SVC-" in found or ":KUBE-SERVICES" in found
    return "kube-proxy's rules are here (KUBE-SERVICES): end it and remove them, or say --services none" if where else ""


def _document(arguments: argparse.Namespace) -> int:
    from providers.kubernetes.document import node_document
    from providers.kubernetes.recorded import left_out, state_of

    text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
    listed = json.loads(text)
    made = node_document(state_of(listed), arguments.node, _settings(arguments))
    print(json.dumps(made.topology, indent=1))
    for note in (*made.notes, *left_out(listed)):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from providers.kubernetes.say import status

    return status(arguments.bpffs, arguments.format)


def _refused(arguments: argparse.Namespace) -> int:
    from providers.kubernetes.say import refused, refused_as_it_happens

    return (refused_as_it_happens if arguments.follow else refused)(arguments.bpffs, arguments.format)


def _cni(arguments: argparse.Namespace) -> int:
    from providers.kubernetes.cni.plugin import standalone

    code, output = asyncio.run(standalone(dict(os.environ), sys.stdin.buffer.read(), arguments.bpffs))
    sys.stdout.write(output)
    return code


def _install(arguments: argparse.Namespace) -> int:
    from providers.kubernetes import install

    install.plugin(Path(arguments.cni_bin))
    return 0


def _uninstall(arguments: argparse.Namespace) -> int:
    from providers.kubernetes import install

    return asyncio.run(install.remove(arguments.bpffs, Path(arguments.cni_bin), Path(arguments.cni_conf)))


_VERBS = {
    "run": _run, "status": _status, "fleet": _fleet, "refused": _refused, "document": _document, "cni": _cni, "install": _install,
    "uninstall": _uninstall,
}  # fmt: skip
