"""Hints about the agent after a manual apply: an agent that follows the topology, or cubes that need one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.apply import ApplyResult
    from reconciler.model import Cube
    from reconciler.service.registry import Services


def say_whose(run: Run, names: Collection[str], root: str) -> None:
    """Warn if an agent follows one of these topologies in a file that is not among the arguments, and will revert to that
    version."""
    from reconciler.agent import singleton

    if not singleton.is_there(root):
        return
    agent = singleton.ask(root, 1.0) or {}
    files = () if run.args.delete else getattr(run.args, "files", ())
    for path, followed in others_files(agent.get("files", ()), names, files):
        run.terminal.complain(
            f"{followed}: an agent (process {agent['pid']}) follows {path}, and puts back what that says; change that file"
        )


def say_unserved(run: Run, result: ApplyResult, root: str) -> None:
    """Name the applied cubes that need an agent, if there is none."""
    from reconciler.agent import singleton

    if run.format != "text" or run.terminal.quiet:
        return
    cubes = unserved((cube for topology in result.topologies for cube in topology.cubes), run.services())
    if cubes and not singleton.is_there(root):
        run.terminal.complain(
            f"{', '.join(cubes)}: no agent is running, which would do what a fast path cannot (see docs/services);"
            " pcn agent run FILE is one"
        )


def unserved(cubes: Iterable[Cube], services: Services) -> list[str]:
    """The cubes with work for a slow path: 'r1 (router)'."""
    found = ((cube, services.get(cube.service)) for cube in cubes)
    return [f"{cube.name} ({cube.service})" for cube, service in found if service is not None and service.is_served(cube.config)]


def others_files(watched: Iterable[dict[str, Any]], names: Collection[str], given: Iterable[str]) -> list[tuple[str, str]]:
    """(path, matching topologies) of each watched file that is not among the arguments, neither itself nor by its directory."""
    own = {os.path.realpath(word) for word in given}
    found = []
    for file in watched:
        path = os.path.realpath(file["path"])
        followed = sorted({*file.get("topologies", ())} & {*names})
        if followed and not own & {path, os.path.dirname(path)}:
            found.append((str(file["path"]), ", ".join(followed)))
    return found
