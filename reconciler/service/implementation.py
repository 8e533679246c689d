"""The interface of a service's own code, wherever it runs: `ServiceImpl`, and its adapter for a Python module.

A module defines what it needs, under the names here; the adapter has defaults for the rest, so that no caller has to inspect
a module. A remote service implements the same interface (docs/rpc.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.incremental.memo import Memo
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import Migrate, TableRows

if TYPE_CHECKING:
    from reconciler.service.commands import Command
    from reconciler.service.importers import Import

Config = Mapping[str, Any]
Rows = Mapping[str, Mapping[bytes, bytes]]
Layouts = Mapping[str, Any]
"""Layouts of tables by their names in C, for `place` of the SDK."""
Found = tuple[tuple[str | int, ...], str, str]
"""Of `check`: steps from the cube, such as ("route", 0, "nexthop"), a sentence, and 'error' or 'warning'."""


@dataclass(frozen=True, slots=True)
class ActionCall:
    """An action of the model, such as 'session/forget', with its input as the model checked it. `config` is the cube's as
    applied, `state` what `pcn show --state` has of it, and `env.live` the rows of its tables, of state too."""

    name: str
    input: Config
    config: Config
    state: Config
    env: Env
    tables: Layouts


@dataclass(frozen=True, slots=True)
class ActionDone:
    """The result of an action: its `output`, and rows to set (None: to delete) by table. Only the datapath's tables of state:
    configuration is changed by editing the document. `then` is called with the state at that time, once the rows are written
    and every packet that saw the old ones is through, and returns what is left to do."""

    output: Config = field(default_factory=dict)
    rows: Mapping[str, Mapping[bytes, bytes | None]] = field(default_factory=dict)
    then: Callable[[ActionCall], ActionDone] | None = None


class ServiceImpl(Protocol):
    """The pure half of a service: the same results for the same arguments, which must not be changed.

    `chooses`, `derives`, `reads`, `checks` and `acts`: whether there is code of the service's own behind `sources`, `tables`,
    `config` and `state`, `check`, and `actions`. `scratch` are tables for temporary values of a packet, `migrations` by
    table, and by sizes of key and value, convert learned rows of that layout to today's. `cut_with` are tables whose rows are
    connections, and a description of these; `leaves_host`: a standard cube of it passes the host's own packets to the host's
    stack.
    """

    chooses: bool
    derives: bool
    reads: bool
    checks: bool
    acts: bool
    facts: tuple[str, ...]
    imports: Mapping[str, Import]
    commands: Mapping[str, Command]
    migrations: Mapping[str, Mapping[tuple[int, int], Migrate]]
    scratch: tuple[str, ...]
    slow_path: Any
    cut_with: Mapping[str, str]
    leaves_host: bool

    def sources(self, config: Config) -> Mapping[str, Sequence[Any]]: ...
    def programs(self, config: Config) -> Mapping[str, Sequence[int]] | None: ...
    def constants(self, config: Config) -> Mapping[str, int]: ...
    def sizes(self, config: Config) -> Mapping[str, int]: ...
    def tables(self, config: Config, env: Env, tables: Layouts) -> Mapping[str, TableRows]: ...
    def config(self, rows: Rows, env: Env, tables: Layouts) -> Config: ...
    def state(self, rows: Rows, env: Env, tables: Layouts) -> Config: ...
    def check(self, config: Config, env: Env) -> Iterable[Found]: ...
    def namespace(self, config: Config, cube: str) -> Mapping[str, Config]: ...
    def actions(self, call: ActionCall) -> ActionDone: ...
    def cuts(self, before: Config | None, config: Config) -> str: ...


class ModuleImpl:
    """A Python module as a `ServiceImpl`; without a module, one of defaults. `slow_path` is its class `SlowPath`. It owns the
    memo of the module's functions (`sdk.memoised`, `sdk.Owned`)."""

    def __init__(self, module: ModuleType | None = None) -> None:
        self.module, self._memo = module, Memo()
        self.chooses, self.derives = hasattr(module, "sources"), hasattr(module, "tables")
        self.checks, self.acts = hasattr(module, "check"), hasattr(module, "actions")
        self.reads = hasattr(module, "config") or hasattr(module, "state")
        self.facts: tuple[str, ...] = tuple(getattr(module, "FACTS", ()))
        self.imports: Mapping[str, Import] = getattr(module, "IMPORTS", {})
        self.commands: Mapping[str, Command] = getattr(module, "COMMANDS", {})
        self.migrations: Mapping[str, Mapping[tuple[int, int], Migrate]] = getattr(module, "MIGRATIONS", {})
        self.scratch: tuple[str, ...] = tuple(getattr(module, "SCRATCH", ()))
        self.slow_path: Any = getattr(module, "SlowPath", None)
        self.cut_with: Mapping[str, str] = getattr(module, "CUTS", {})
        self.leaves_host: bool = getattr(module, "LEAVES_HOST", False)

    def _ask(self, name: str, otherwise: Any, *arguments: Any) -> Any:
        function = getattr(self.module, name, None)
        return otherwise if function is None else self._memo.run(function, *arguments)

    def sources(self, config: Config) -> Mapping[str, Sequence[Any]]:
        found: Mapping[str, Sequence[Any]] = self._ask("sources", {}, config)
        return found

    def programs(self, config: Config) -> Mapping[str, Sequence[int]] | None:
        found: Mapping[str, Sequence[int]] | None = self._ask("programs", None, config)
        return found

    def constants(self, config: Config) -> Mapping[str, int]:
        found: Mapping[str, int] = self._ask("constants", {}, config)
        return found

    def sizes(self, config: Config) -> Mapping[str, int]:
        found: Mapping[str, int] = self._ask("sizes", {}, config)
        return found

    def tables(self, config: Config, env: Env, tables: Layouts) -> Mapping[str, TableRows]:
        found: Mapping[str, TableRows] = self._ask("tables", {}, config, env, tables)
        return found

    def config(self, rows: Rows, env: Env, tables: Layouts) -> Config:
        found: Config = self._ask("config", {}, rows, env, tables)
        return found

    def state(self, rows: Rows, env: Env, tables: Layouts) -> Config:
        found: Config = self._ask("state", {}, rows, env, tables)
        return found

    def check(self, config: Config, env: Env) -> Iterable[Found]:
        return self._memo.run(lambda: tuple(self._ask("check", (), config, env)))

    def namespace(self, config: Config, cube: str) -> Mapping[str, Config]:
        found: Mapping[str, Config] = self._ask("namespace", {}, config, cube)
        return found

    def actions(self, call: ActionCall) -> ActionDone:
        found: ActionDone = self._ask("actions", ActionDone(), call)
        return found

    def cuts(self, before: Config | None, config: Config) -> str:
        """A description of the existing connections that are cut when a cube is inserted into their path with this
        configuration (`before` None), or when its configuration changes to it; '' if none is."""
        return str(self._ask("cuts", "", before, config))
