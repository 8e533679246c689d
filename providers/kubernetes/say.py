"""Reports of a running provider: its status, and whom policies have refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from providers.kubernetes import fleet as fleets
from providers.kubernetes import refused as refusals
from providers.kubernetes.api import Access, Api, ApiError
from providers.kubernetes.policies import CUBE
from providers.kubernetes.provider import KINDS
from providers.kubernetes.topologies import PATH
from reconciler.agent.singleton import ask


def status(root: str, form: str) -> int:
    found = ask(root, what="k8s")
    if found is None:
        print("pcn-k8s: no provider is running", file=sys.stderr)
        return 1
    print(json.dumps(found) if form == "json" else words(found))
    return 0 if found["healthy"] else 1


def fleet(access: Access, form: str) -> int:
    """Prints all nodes. The exit code: 1 if a node is unhealthy, or the API server unreachable."""

    async def work() -> tuple[Any, Any]:
        api = Api(access)
        return await api.get(KINDS["nodes"]), await api.get(PATH)

    try:
        nodes, topologies = asyncio.run(work())
    except (ApiError, TimeoutError) as error:
        print(f"pcn-k8s: {str(error) or 'the API server did not answer in time'}", file=sys.stderr)
        return 1
    found = fleets.rows(nodes.get("items") or (), topologies.get("items") or ())
    if form == "json":
        print(json.dumps({"format_version": "1.0", "hosts": found}, indent=1))
    else:
        print("\n".join(fleets.as_text(found) or ["there is no node"]))
    return 0 if found and all(row["state"] in ("InSync", "Pending") for row in found) else 1


def words(said: Mapping[str, Any]) -> str:
    how = "in force" if said["healthy"] else f"NOT IN FORCE: {said['problem'] or 'not all was listed yet'}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in said["objects"].items())
    lines = [f"node {said['node']}: {how}", f"known: {kinds}", f"pods here: {said['attached']} of {said['slots']}"]
    if said["in_force_since"]:
        lines.append(f"last put in force: {_when(said['in_force_since'])}")
    lines += [f"pending: {each}" for each in said["pending"]]
    if (last := said["last_problem"]) and said["healthy"]:
        lines.append(f"last problem: {_when(last['at'])}: {last['words']}")
    return "\n".join([*lines, *(f"note: {note}" for note in said["notes"])])


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def refused(root: str, form: str) -> int:
    """Prints the kernel's counters. Needs no provider."""
    shown = _shown(root, "--state")
    if shown is None:
        return 1
    found = refusals.counts(shown)
    text = "\n".join(each.words() for each in found if each.packets) or "nothing was refused"
    print(json.dumps([each._asdict() for each in found]) if form == "json" else text)
    return 0


def refused_as_it_happens(root: str, form: str) -> int:
    """Prints lines of pcn's log with names, until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen([_pcn(), "log", CUBE, "-f", "-o", "json", "--bpffs", root], stdout=subprocess.PIPE, text=True) as log:
        try:
            for told in _named(root, map(json.loads, log.stdout or ())):
                print(json.dumps(told) if form == "json" else refusals.words(told), flush=True)
            return log.wait()
        except (KeyboardInterrupt, BrokenPipeError):
            log.terminate()
            return 0


def _named(root: str, lines: Iterable[Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Names are requested again when a line has a new address or rule."""
    names: dict[str, str] = {}
    shown: Mapping[str, Any] = {}
    for line in lines:
        told = refusals.named(line["text"], names, refusals.policies_by_rule(shown))
        if told is not None and not (told["source_name"] and told["target_name"] and told["policies"]):
            names, shown = ask(root, what="k8s-names") or names, _shown(root) or shown
            told = refusals.named(line["text"], names, refusals.policies_by_rule(shown))
        if told is not None:
            yield {"time": line["time"], **told}


def _shown(root: str, *words: str) -> Mapping[str, Any] | None:
    """The firewall as the kernel has it; None, after pcn's error message, if it cannot be shown."""
    asked = [_pcn(), "show", CUBE, *words, "-o", "json", "--bpffs", root]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False)
    return next(iter(json.loads(done.stdout)), None) if done.returncode == 0 else None


def _pcn() -> str:
    """pcn of the same installation: it reads the kernel, which a provider does not."""
    beside = Path(sys.prefix) / "bin" / "pcn"
    return str(beside) if beside.exists() else shutil.which("pcn") or "pcn"
