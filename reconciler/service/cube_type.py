"""A cube type, as found by name: its model, its C, and its Python half if it has one.

The reconciler learns all it knows of a service through this class; nothing else may name one.
service/registry finds them.

The Python half is pure and optional; of these it defines what it needs (`ServiceImpl` says what holds for the rest):
    sources(config) -> {direction: [source]}       the cube's own C, where it depends on the configuration: of each µCube the
                                                   name of a file of the service's, or (name, text), or (name, text,
                                                   {name in C: another one}); see service/sources.py
    programs(config) -> {direction: [indices]}     which µCubes are needed; without it, all
    constants(config) -> {NAME: int}               load-time constants beyond what the model declares
    tables(config, env, tables) -> {table: TableRows}   rows that the model cannot declare (derived tables)
    config(rows, env, tables) -> config            the inverse of `tables`
    state(rows, env, tables) -> config             `config`, with the leaves that the datapath or the derivation owns; env.config
                                                   is what was applied
    namespace(config, cube) -> {port: {"mac": ..., "addresses": [...], "routes": [{"to": ..., "via": ...}]}}
                                                   what the netdevs in a shadow's namespace are told, all of it optional; what
                                                   Linux tools made of them is the fact `shadow`, of the same form
    actions(call) -> ActionDone                    what an action of the model comes to (service/implementation.py)
    check(config, env) -> iterable of (path, sentence, "error" | "warning")   what the schema cannot say;
                                                   `path`: steps from the cube, such as ("route", 0, "nexthop")
    MIGRATIONS {table: {(key size, value size): migrate}}   what rows become that were learned in an older layout
    sizes(config) -> {table: rows}                 sizes of tables that depend on a cube's configuration
    FACTS ("netdevs", ...)                         which facts it wants in env.facts (reconciler/facts)
    SCRATCH {table}                                tables in which nothing is kept from one packet to the next
    IMPORTS {format: Import}                       other programs' files that it can make topologies of (service/importers.py)
    COMMANDS {program: Command}                    programs that edit a topology in another one's language (service/commands.py)

Arguments are never changed, and entries of long lists that an edit did not touch are the very same objects in the next call. So
a half may memoise (`memoised`, `recent`, `Owned` and `EntryMemo` of the SDK), as long as its results stay the same. A memo
belongs to the service that calls, never to a module, and ends with it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.errors import PcnError, of_code
from reconciler.incremental.memo import Node
from reconciler.service.directories import ServiceFiles
from reconciler.service.implementation import ModuleImpl, ServiceImpl
from reconciler.service.model import bindings as model_bindings
from reconciler.service.model.bindings import Binding
from reconciler.service.model.codec import Env
from reconciler.service.model.owned import owned_by
from reconciler.service.model.packing import refuse_misfits
from reconciler.service.model.rows import Migrate, TableRows, decode_rows, encode_rows

if TYPE_CHECKING:
    from reconciler.service.sources import CubeSources

HERE = Path(__file__).resolve().parents[2]
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF")


class Service:
    """One cube type. `kind` is 'standard' or 'transparent'; `ingress` and `egress` are its C files in µCube order."""

    def __init__(self, files: ServiceFiles, implementation: ServiceImpl | None = None) -> None:
        self.name, self.files, self._elsewhere = files.name, files, implementation

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.files.schema.read_text(), object_hook=Node)
        return loaded

    @functools.cached_property
    def meta(self) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self.schema["x-pcn-service"]
        return described

    @property
    def kind(self) -> str:
        return str(self.meta["kind"])

    @property
    def max_ports(self) -> int:
        return min(int(self.meta.get("max-ports", 128)), pins.MOST_PORTS)

    @property
    def min_kernel(self) -> str:
        """The oldest Linux that its programs load on, such as 6.1; '' if its model does not declare it."""
        return str(self.meta.get("min-kernel", ""))

    @property
    def floods(self) -> bool:
        return bool(self.meta.get("floods", False))

    @property
    def taps(self) -> bool:
        """Whether cubes of it can be placed while a command runs, without being in any document."""
        return bool(self.meta.get("taps", False))

    @property
    def floods_groups(self) -> bool:
        """Whether it floods to some of its ports, each copy with a tag or without: XDP's broadcast can do neither."""
        return self.meta.get("floods") == "groups"

    @property
    def drop_reasons(self) -> tuple[str, ...]:
        """The names of its own reasons to drop a packet; the first is PCN_DROP_SERVICE in C."""
        return tuple(self.meta.get("drop-reasons", ()))

    def programs(self, direction: str, sources: CubeSources | None = None) -> tuple[Path, ...]:
        """Its C files in a direction, or those of a cube with `sources` of its own, some of which may be texts under these
        names. If it has a slow path, the framework's program for packets from there is added."""
        if direction == pins.INJECT:
            return (HERE / "bpf" / "framework" / "inject.c",) if self.takes_packets else ()
        names = self.meta.get(direction, ()) if sources is None else [each.name for each in sources.programs.get(direction, ())]
        return tuple(self.files.sources / name for name in names)

    @property
    def has_sources(self) -> bool:
        """Whether its C, or a filter in it, may depend on a cube's configuration."""
        return self.implementation.chooses or self.has_filters

    @functools.cached_property
    def has_filters(self) -> bool:
        """Whether leaves of it are filters of packets."""
        return '"x-pcn-filter"' in json.dumps(self.schema)

    def sources(self, config: Mapping[str, Any]) -> CubeSources | None:
        """The C of a cube with this configuration, and the filters in it; None if it is the service's own. Raises ValueError."""
        if not self.has_sources:
            return None
        from reconciler.service.sources import Filter, cube_sources

        own = {direction: self.meta.get(direction, ()) for direction in ("ingress", "egress")}
        filters = model_bindings.filters(self.schema, config) if self.has_filters else ()
        return cube_sources(self.implementation.sources(config), own, tuple(Filter(*each) for each in filters))

    @property
    def slow_path(self) -> Any:
        """The class `SlowPath` of its Python half, None if there is none (reconciler/slowpath/handle.py)."""
        return self.implementation.slow_path

    @property
    def takes_packets(self) -> bool:
        """Whether its slow path handles packets. If not, there are no ring, no stubs for injected packets, and no code for
        either."""
        return self.slow_path is not None and bool(getattr(self.slow_path, "packets", True))

    def is_served(self, config: Mapping[str, Any]) -> bool:
        """Whether a cube with this configuration has something for a slow path to do."""
        serves = getattr(self.slow_path, "serves", None)
        return self.slow_path is not None and (serves is None or serves(config))

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts that its Python half wants."""
        return self.implementation.facts

    @functools.cached_property
    def bindings(self) -> tuple[Binding, ...]:
        return model_bindings.bindings(self.schema)

    @functools.cached_property
    def _constants(self) -> tuple[Any, ...]:
        return tuple(model_bindings.constants(self.schema))

    @functools.cached_property
    def implementation(self) -> ServiceImpl:
        """What its own code answers, here or elsewhere; where there is none, what follows from the model alone."""
        return self._elsewhere or ModuleImpl(self._module())

    @property
    def edition(self) -> str:
        """Another one when its code is another one, of a service that may change while the reconciler runs; else ''."""
        return self.files.edition

    def _module(self) -> ModuleType | None:
        if not self.files.implementation.exists():
            return None
        room = "cubes" if self.files.implementation.name == "__init__.py" else "services"  # a service from elsewhere is one file
        spec = importlib.util.spec_from_file_location(f"{room}.{self.name}", self.files.implementation)
        if spec is None or spec.loader is None:
            return None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(spec.name, module)
        try:
            spec.loader.exec_module(module)
        except PcnError:
            raise
        except Exception as error:
            raise PcnError(f"service {self.name}: its Python half cannot be loaded: {of_code(error)}") from error
        return module

    @functools.cached_property
    def _sizes(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        return tuple(model_bindings.sizes(self.schema))

    def constants(self, cube: str, loglevel: str, config: Mapping[str, Any], ports: Mapping[str, int]) -> dict[str, int]:
        """Every constant that the cube's programs may request, by name; u32 values. `ports` are the indices of its ports."""
        values = {"CUBE": cube_number(cube), "LOGLEVEL": LEVELS.index(loglevel)}
        values["SHADOW"] = bool(config.get("shadow", False)) + bool(config.get("span", False))
        values |= {"LEAP_SECONDS": leap_seconds(), "PORTS": room_for(ports.values())}
        for name, segments, node, asks_any in self._constants:
            value = _value_at(config, (step for step, _ in segments))
            values[name] = int(bool(value)) if asks_any else _constant(value, node)
        return values | dict(self.implementation.constants(config))

    def sizes(self, config: Mapping[str, Any]) -> Mapping[str, int]:
        """The sizes of tables that differ from the C's, by name."""
        said = {table: _value_at(config, path) for path, tables in self._sizes for table in tables}
        return {table: int(size) for table, size in said.items() if size is not None} | dict(self.implementation.sizes(config))

    @functools.cached_property
    def grows(self) -> frozenset[str]:
        """The tables that become larger than the C's size if their rows need it."""
        return frozenset(model_bindings.grows(self.schema))

    def init_only(self, config: Mapping[str, Any]) -> str:
        """The cube's init-only leaves as JSON, '' if it has none: if they change, the cube is recreated."""
        found = model_bindings.init_only(self.schema, config)
        return json.dumps(found, sort_keys=True, default=str) if found else ""

    def chosen(self, config: Mapping[str, Any]) -> Mapping[str, Sequence[int]] | None:
        """The µCubes that a configuration needs, by direction; None: all of them."""
        return self.implementation.programs(config)

    def rows(self, config: Mapping[str, Any], tables: Mapping[str, Any], env: Env) -> dict[str, TableRows]:
        """Configuration as table rows, by table name."""
        derived = self.implementation.tables(config, _as_of_today(env, tables), tables)
        found = encode_rows([binding for binding in self.bindings if binding.table not in derived], config, tables, env)
        refuse_misfits(self.bindings, tables)
        for name in {binding.table for binding in self.bindings}:
            tuple(owned_by(name, self.bindings, tables))  # like the line before, raises before anything is planned
        return {name: rows.without_zeros() for name, rows in {**found, **derived}.items()}

    def config(
        self,
        rows: Mapping[str, Mapping[bytes, bytes]],
        tables: Mapping[str, Any],
        env: Env,
        *,
        state: bool = False,
        said: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The inverse of `rows`. `said`: the applied configuration, for what rows cannot express (see `decode_rows`)."""
        found = decode_rows(self.bindings, rows, tables, env, state=state, said=said)
        found |= self.implementation.config(rows, env, tables)
        if state:
            found |= self.implementation.state(rows, replace(env, config=said or {}), tables)
        return found

    def migration(self, table: str, key_size: int, value_size: int) -> Migrate | None:
        """Converts learned rows of these sizes to today's layout; None: there is no migration."""
        if table in self.implementation.scratch:
            return _forget
        return self.implementation.migrations.get(table, {}).get((key_size, value_size))

    def check(self, config: Mapping[str, Any], env: Env) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        """Findings of the Python half about a cube that is valid by its schema: (steps from the cube, sentence, severity)."""
        return self.implementation.check(config, env)


def _forget(_key: bytes, _value: bytes) -> None:
    """The migration of rows that need not be kept."""


def _value_at(config: Mapping[str, Any], path: Iterable[str]) -> Any:
    """What the configuration declares there, or None."""
    value: Any = config
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _constant(value: Any, node: Mapping[str, Any]) -> int:
    enum: Mapping[str, int] | None = node.get("x-pcn-enum")
    return enum[value] if enum is not None and value in enum else int(value or 0)


def cube_number(name: str) -> int:
    """The number by which log records name a cube."""
    import zlib

    return zlib.crc32(name.encode())


def room_for(indices: Iterable[int]) -> int:
    """An upper bound of a cube's port indices, out of few: the constant by which a program bounds its loop over ports."""
    most = max(indices, default=0)
    return next(room for room in (8, 32, 128, 384) if most < room)


def _as_of_today(env: Env, tables: Mapping[str, Any]) -> Env:
    """Without live rows of another layout than today's tables (of other sizes): nothing here can decode them."""
    other = {name for name, rows in env.live.items() if name in tables and _differ(next(iter(rows.items()), None), tables[name])}
    return replace(env, live={name: rows for name, rows in env.live.items() if name not in other}) if other else env


def _differ(row: tuple[bytes, bytes] | None, table: Any) -> bool:
    return row is not None and (len(row[0]), len(row[1])) != (table.key.size, table.value.size)


def leap_seconds() -> int:
    """By how much the kernel's atomic clock, the one that programs can read, is ahead of its civil one."""
    return round(time.clock_gettime(time.CLOCK_TAI) - time.time())
