"""What an apply by hand learns of the agent: whose a topology is that it follows, and which cubes want one that is not
there."""

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
    """Say so where an agent follows one of these topologies in a file that was not given here, and will put that version back."""
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
    """Say which of the cubes that were applied want an agent, where there is none."""
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
    """Of these cubes, those that have work for a slow path: 'r1 (router)'."""
    found = ((cube, services.get(cube.service)) for cube in cubes)
    return [f"{cube.name} ({cube.service})" for cube, service in found if service is not None and service.is_served(cube.config)]


def others_files(watched: Iterable[dict[str, Any]], names: Collection[str], given: Iterable[str]) -> list[tuple[str, str]]:
    """(path, the topologies of these that it holds) of each watched file that is neither given itself nor by its directory."""
    own = {os.path.realpath(word) for word in given}
    found = []
    for file in watched:
        path = os.path.realpath(file["path"])
        followed = sorted({*file.get("topologies", ())} & {*names})
        if followed and not own & {path, os.path.dirname(path)}:
            found.append((str(file["path"]), ", ".join(followed)))
    return found
