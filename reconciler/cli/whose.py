"""Whose a topology is: of one that an agent follows in a file, an apply of another version does not last."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.engine.apply import ApplyResult


def say_whose(run: Run, result: ApplyResult, names: Collection[str], root: str) -> None:
    """Say so where an agent follows one of these topologies in a file that was not given here, and will put that version back."""
    from reconciler.agent import singleton

    if not result.plan.steps or not singleton.is_there(root):
        return
    agent = singleton.ask(root, 1.0) or {}
    files = () if run.args.delete else getattr(run.args, "files", ())
    for path, followed in others_files(agent.get("files", ()), names, files):
        run.terminal.complain(
            f"{followed}: an agent (process {agent['pid']}) follows {path}, and puts back what that says; change that file"
        )


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
