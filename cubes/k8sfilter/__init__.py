"""The filter's control plane: its two ports and its range, as rows and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.layout import index, number, pack, unpack
from cubes.lib.ranges import span_of
from reconciler.service.sdk import Env, TableRows

__all__ = ["LEAVES_HOST", "check", "config", "tables"]

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]
Said = tuple[tuple[str | int, ...], str, str]

KINDS = {"EXTERNAL": 1, "INTERNAL": 2}  # enum port_kind in bpf/k8sfilter/k8sfilter.c
NODEPORTS = "30000-32767"
LEAVES_HOST = True  # what is no NodePort, and for the host


def check(config: Config, env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    ports = config.get("ports", ())
    for kind in KINDS:
        places = [place for place, port in enumerate(ports) if port["type"] == kind]
        for place in places[1:]:
            yield ("ports", place, "type"), f"there is a port of type {kind} already, and there can be one", "error"
        if ports and not places:
            yield ("ports", 0, "type"), f"there is no port of type {kind}, so NodePorts are the host's", "warning"
    low, high = span_of(config.get("nodeport-range", NODEPORTS))
    if not 0 < low <= high <= 65535:
        yield ("nodeport-range",), f"{low}-{high} is no range of ports", "error"


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    ports = config.get("ports", ())
    first = {kind: next((env.ports[port["name"]] + 1 for port in ports if port["type"] == kind), 0) for kind in KINDS}
    low, high = span_of(config.get("nodeport-range", NODEPORTS))
    layout = tables["ports"].value
    found = {
        "ports": {
            index(env.ports[port["name"]]): pack(
                layout, kind=KINDS[port["type"]], other=first["INTERNAL" if port["type"] == "EXTERNAL" else "EXTERNAL"]
            )
            for port in ports
        },
        "ranges": {index(0): pack(tables["ranges"].value, low=low, high=high)},
    }
    return {name: TableRows(rows, b"\xff" * tables[name].value.size, True) for name, rows in found.items()}


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    words = {value: word for word, value in KINDS.items()}
    kinds = {key: number(unpack(tables["ports"].value, row)["kind"]) for key, row in sorted(rows.get("ports", {}).items())}
    said = unpack(tables["ranges"].value, rows.get("ranges", {}).get(index(0), bytes(tables["ranges"].value.size)))
    ports = [{"name": env.port_name(number(key)), "type": words.get(kind, f"#{kind}")} for key, kind in kinds.items() if kind]
    return {
        "ports": ports,
        "nodeport-range": f"{number(said['low'])}-{number(said['high'])}",
    }
