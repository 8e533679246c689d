"""Services made up for a test: a directory with a model, C and perhaps Python, as `--services` takes it.

    services = Tree(tmp_path)
    services.add("echo", ["...C of µCube 0..."], half="class SlowPath: ...")
    Options(services=services.load())
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.service.registry import HERE, Services


class Tree:
    """A directory of services, each with nothing but ports (and `leaves`) in its model."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, name: str, ingress: Sequence[str] = (), egress: Sequence[str] = (), *, implementation: str = "",
            kind: str = "standard", leaves: Mapping[str, Any] | None = None, floods: str = "",
            max_ports: int = 128) -> None:  # fmt: skip
        """`ingress`, `egress`: C texts in µCube order. Adding it again makes it another version of itself."""
        like = "helloworld" if kind == "standard" else "transparenthelloworld"
        schema = json.loads((HERE / "schemas" / "json" / f"{like}.schema.json").read_text())
        kept = ("name", "service-name", "type", "fuse", "loglevel", "ports")
        schema["properties"] = {leaf: node for leaf, node in schema["properties"].items() if leaf in kept} | dict(leaves or {})
        schema |= {"title": name, "$id": f"{name}.schema.json"}
        schema["properties"]["service-name"]["const"] = name
        files = {"ingress": list(ingress), "egress": list(egress)}
        names = {direction: [f"{name}_{direction}_{i}.c" for i, _ in enumerate(texts)] for direction, texts in files.items()}
        schema["x-pcn-service"] |= {"name": name, **names} | ({"floods": floods} if floods else {})
        if kind == "standard":
            schema["x-pcn-service"]["max-ports"] = max_ports
            schema["properties"]["ports"].pop("maxItems", None)
        self.directory.mkdir(exist_ok=True)
        (self.directory / f"{name}.schema.json").write_text(json.dumps(schema))
        for direction, texts in files.items():
            for file, text in zip(names[direction], texts, strict=True):
                (self.directory / file).write_text(text)
        if implementation:
            (self.directory / f"{name}.py").write_text(implementation)

    def load(self) -> Services:
        return Services([self.directory])


def rx(body: str, before: str = "") -> str:
    """A µCube whose handle_rx has this body."""
    return before + "\nstatic __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {\n" + body + "\n}\n"
