"""What a service's own code answers, wherever it runs: `ServiceImpl`, and the adapter that makes one of a Python module.

A module defines what it needs, under the names here; the adapter answers for what it omits, so that nobody else asks what a
module has. A remote service implements the same (docs/rpc.md).
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
    """What an action comes to: its `output`, and rows to set (None: to delete) by table. Only tables of state are the datapath's:
    what is configuration is the file's, and an edit of it is another thing. `then` is asked what is left to do, once the rows
    are written and every packet that saw the old ones is through, with the state that is there by then."""

    output: Config = field(default_factory=dict)
    rows: Mapping[str, Mapping[bytes, bytes | None]] = field(default_factory=dict)
    then: Callable[[ActionCall], ActionDone] | None = None


class ServiceImpl(Protocol):
    """The pure half of a service: the same in, the same out. All that it is given is not to be changed.

    `chooses`, `derives`, `reads`, `checks` and `acts` say whether there is any code of the service's own behind `sources`,
    `tables`, `config` and `state`, `check`, and `actions`. `scratch` are tables in which programs put something down for a
    moment, `migrations` by table, and by sizes of key and value, what makes rows of today of those that were learned in that
    layout. `cut_with` are tables with whose rows connections go, and which those are, as text; `leaves_host`: a standard cube of
    it lets through to the host's stack what is the host's own."""

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
    """A Python module as a `ServiceImpl`; without a module, one that says nothing. `slow_path` is its class `SlowPath`. What the
    module memoises (`sdk.memoised`, `sdk.Owned`) is kept here."""

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
        """Which connections are cut that are there when a cube comes into their way with this configuration (`before` None), or
        when it changes to it, as text; '' if none is."""
        return str(self._ask("cuts", "", before, config))
