"""pcn services: list the services."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.service.registry import Service

DESCRIPTION = "List the services: the kinds of cube that a topology can have. 'pcn explain SERVICE' says more of one."


def arguments(parser: ArgumentParser) -> None:
    shared.output(parser, "text", "json", "yaml")
    shared.services(parser)


def run(run: Run) -> int:
    services = run.services()
    found = [_about(service) for name in services.names() if (service := services.get(name)) is not None]
    if run.format != "text":
        run.emit({"format_version": "1.0", "services": found, "errors": []})
        return 0
    wide = max((len(entry["name"]) for entry in found), default=0)
    for entry in found:
        run.terminal.print(
            f"{entry['name']:<{wide}}  {entry['kind']:<11}  {entry['version']:<7}  {entry['description']}".rstrip()
        )
    return 0


def _about(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "kind": service.kind,
        "version": str(service.meta.get("version", "")),
        "description": str(service.meta.get("description") or service.schema.get("description", "")),
        "max_ports": service.max_ports if service.kind == "standard" else None,
        "programs": {direction: len(service.programs(direction)) for direction in ("ingress", "egress")},
        "schema": str(service.files.schema),
    }
