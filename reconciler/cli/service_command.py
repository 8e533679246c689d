"""A command that a service provides (reconciler/service/commands.py), found by its name, such as pcn-iptables.

It edits a topology of its own, stored in a file and applied with each edit, as the REST API does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.errors import PcnError, UsageError

if TYPE_CHECKING:
    from reconciler.api.store import Store
    from reconciler.service.commands import Command, CommandDone
    from reconciler.service.registry import Services

DIRECTORY = "/etc/pcn/commands"
_PATIENCE = 60.0  # seconds to wait for another writer: a script continues with the next line in any case


def main(words: Sequence[str] | None = None, name: str | None = None) -> int:
    """Returns the exit code."""
    called = os.path.basename(sys.argv[0]) if name is None else name
    given = list(sys.argv[1:] if words is None else words)
    from reconciler.service.commands import commands
    from reconciler.service.registry import Services

    services = Services()
    command = commands(services).get(called)
    try:
        if command is None:
            raise UsageError("no service brings this command")
        done = _run(command, given, services)
    except UsageError as error:
        return _failed(called, error, command.failed if command is not None else error.exit_code)
    except PcnError as error:
        return _failed(called, error, 1)
    print(done.output, end="", file=sys.stderr if done.code else sys.stdout, flush=True)
    return done.code


def _failed(name: str, error: PcnError, code: int) -> int:
    from reconciler.document.diagnostics import escape

    lines = [escape(line) for line in str(error).splitlines()]
    print(f"{name}: " + "\n".join(lines), file=sys.stderr)
    return code


def _run(command: Command, words: Sequence[str], services: Services) -> CommandDone:
    from reconciler.engine.edit import Edited
    from reconciler.service.commands import CommandCall, CommandDone

    store = _store(command, services)
    found: list[CommandDone] = []

    def run(document: Mapping[str, Any]) -> CommandDone:
        return command.run(CommandCall(words, document, _edit(services), lambda cube: store.cube(cube, store.look())))

    def make(document: Mapping[str, Any]) -> Edited:
        found.append(run(document))
        return Edited(dict(found[-1].document or document))

    done = run(store.document()[1])
    if done.document is None or done.document == store.document()[1]:
        return done
    if not done.document["spec"].get("cubes"):
        _remove(store, command)
        return done
    store.write(make)
    return found[-1] if found else CommandDone()


def _remove(store: Store, command: Command) -> None:
    """Delete the topology and its file: without cubes neither exists."""
    from reconciler.document import Document
    from reconciler.engine.apply import apply
    from reconciler.engine.confirm import refuse_while_unconfirmed
    from reconciler.engine.edit import empty_topology

    refuse_while_unconfirmed(store.options.root)
    apply([Document(store.saved.path, "", empty_topology(command.topology))], store.options, delete=True)
    store.saved.restore(None)


def _edit(services: Services) -> Any:
    from reconciler.engine.edit import Change, edit

    def change(document: Any, path: str, operation: str, value: Any = None, among: str = "") -> Any:
        return edit(document, path, Change(operation, value, among), services).document

    return change


def _store(command: Command, services: Services) -> Store:
    """The store of the topology; its file is applied first if the kernel has none of it, as after a reboot."""
    from reconciler.api.saved import SavedTopology
    from reconciler.api.store import Store
    from reconciler.engine.apply import Options

    options = Options(services=services, lock_timeout=_PATIENCE)
    directory = os.environ.get("PCN_COMMANDS", DIRECTORY)
    head = f"# Written by the commands of {command.topology}. Apply it elsewhere with pcn-apply.\n"
    store = Store(options, command.topology, SavedTopology(os.path.join(directory, f"{command.topology}.yaml"), head))
    if command.topology not in store.texts():
        store.start()
    return store
