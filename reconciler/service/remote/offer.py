"""A service of a directory as functions that can be served to other processes and hosts: the other side of `impl` and `slowpath`.

    functions = Offer(services.get("gate")).functions()       {'GET /service': ..., 'POST /tables': ...}
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from reconciler.errors import UsageError
from reconciler.rpc.contract import VERSION, RpcError, from_bytes, from_rows, to_bytes, to_rows
from reconciler.service.implementation import ActionCall, ActionDone
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import TableRows
from reconciler.service.remote import wire
from reconciler.service.remote.cube import RemoteCube
from reconciler.service.remote.manifest import Manifest, read

Function = Callable[[Any], Any]
_LONGEST = 30.0  # seconds that somebody may wait for something to be said


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    offset: int
    size: int
    count: int = 1
    signed: bool = False
    nested: None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    size: int
    fields: tuple[_Field, ...]
    kind: str = "struct"


class Metadata(NamedTuple):
    """As in reconciler/slowpath/handle.py."""

    port: str
    metadata: tuple[int, int, int]
    direction: str
    length: int
    time: int


class Offer:
    """`service` is one of a directory (reconciler/service/registry.py). Its Python half declares in TABLES the tables whose
    rows it derives, in LIVE whether it needs their present rows, and in SENDS whether a thread of its own sends at other
    times than during a call. Raises UsageError, ServiceRefused."""

    def __init__(self, service: Any) -> None:
        self._service, self._impl = service, service.implementation
        self._module = getattr(self._impl, "module", None)
        self._cubes: dict[str, tuple[RemoteCube, Any]] = {}
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._saying, self._heard = threading.Lock(), asyncio.Event()
        self._wake: Callable[[], object] = bool
        self.about = self._about()
        self.manifest: Manifest = read(self.about, service.name)

    def _about(self) -> dict[str, Any]:
        has = [name for name in ("sources", "programs", "constants", "sizes", "tables", "config", "state", "check", "actions")
               if hasattr(self._module, name)]  # fmt: skip
        tables = list(getattr(self._module, "TABLES", ()))
        if "tables" in has and not tables:
            raise UsageError(f"{self._service.files.implementation} must name the tables that it derives: TABLES = (...)")
        if self._impl.slow_path is not None:
            sends = bool(getattr(self._module, "SENDS", False))  # then it need not be asked ten times a second
            has += ["cubes", "packet_in"] + (["tick"] if not sends or hasattr(self._impl.slow_path, "tick") else [])
            has += ["out"] if sends else []
        home: Path = self._service.files.sources
        files = {path.name: path.read_text("utf-8") for path in sorted(home.iterdir()) if path.suffix in (".c", ".h")}
        used = {name for direction in ("ingress", "egress") for name in self._service.meta.get(direction, ())}
        files = {name: text for name, text in files.items() if name in used or name.endswith(".h")}
        return {
            "contract": VERSION, "name": self._service.name, "version": str(self._service.meta.get("version", "")),
            "schema": self._service.schema, "files": files, "functions": has, "tables": tables,
            "facts": list(self._impl.facts), "scratch": sorted(self._impl.scratch),
            "live": bool(getattr(self._module, "LIVE", False)),
        }  # fmt: skip

    def functions(self) -> dict[str, Function]:
        offered = {
            "sources": lambda said: self._impl.sources(said["config"]),
            "programs": lambda said: self._impl.programs(said["config"]),
            "constants": lambda said: self._impl.constants(said["config"]),
            "sizes": lambda said: self._impl.sizes(said["config"]),
            "check": lambda said: [list(found) for found in self._impl.check(said["config"], _env(said))],
            "tables": self._tables, "config": self._config, "state": self._state, "actions": self._actions,
            "cubes": self._serve, "packet_in": self._packet_in, "tick": self._tick, "out": self._out,
        }  # fmt: skip
        return {"GET /service": lambda _: self.about} | {f"POST /{name}": offered[name] for name in self.about["functions"]}

    # -- pure -------------------------------------------------------------------------------------------------------

    def _tables(self, said: Any) -> dict[str, Any]:
        found: Mapping[str, TableRows] = self._impl.tables(said["config"], _env(said), _layouts(said))
        return {
            name: {
                "rows": sorted(from_rows(each.rows)), "mask": from_bytes(each.mask), "sparse": each.sparse, "staged": each.staged,
                **({"bits": True} if each.bits else {}),
            }
            for name, each in found.items()
        }

    def _config(self, said: Any) -> Any:
        return wire.plain(self._impl.config(_rows(said), _env(said), _layouts(said)))

    def _state(self, said: Any) -> Any:
        return wire.plain(self._impl.state(_rows(said), _env(said), _layouts(said)))

    def _actions(self, said: Any) -> dict[str, Any]:
        call = ActionCall(said["name"], said["input"], said["config"], said["state"], _env(said), _layouts(said))
        done: ActionDone = self._impl.actions(call)
        rows = {name: [[from_bytes(key), None if value is None else from_bytes(value)] for key, value in table.items()]
                for name, table in done.rows.items()}  # fmt: skip
        return {"output": wire.plain(done.output), "rows": rows}

    # -- the slow path ----------------------------------------------------------------------------------------------

    def _serve(self, said: Any) -> dict[str, Any]:
        wanted = {str(each["name"]): each for each in said["cubes"]}
        for name in self._cubes.keys() - wanted.keys():
            del self._cubes[name]
        for name, served in wanted.items():
            if name in self._cubes:
                cube, half = self._cubes[name]
                cube.adopt(served)
                getattr(half, "changed", lambda: None)()
            else:
                cube = RemoteCube(served, self._say)
                self._cubes[name] = cube, self._impl.slow_path(cube)
        return {"cubes": sorted(self._cubes)}

    def _packet_in(self, said: Any) -> dict[str, Any]:
        for entry in said["packets"]:
            if entry["cube"] not in self._cubes:
                raise RpcError(f"cube {entry['cube']} is not served")
            md = Metadata(entry["port"], tuple(entry["metadata"]), entry["direction"], entry["length"], entry["time"])
            self._cubes[entry["cube"]][1].packet_in(to_bytes(entry["packet"]), md, entry["reason"])
        return self._outcome()

    def _tick(self, said: Any) -> dict[str, Any]:
        for _, half in self._cubes.values():
            if hasattr(half, "tick"):
                half.tick(float(said.get("now", time.monotonic())))
        return self._outcome()

    async def _out(self, said: Any) -> dict[str, Any]:
        """Messages from a thread of the service's own, as soon as there are any."""
        self._heard, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(self._heard.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(float(said.get("wait", _LONGEST)), _LONGEST)):
                while not self._said:
                    await self._heard.wait()
                    self._heard.clear()
        return self._outcome()

    def _say(self, kind: str, entry: dict[str, Any]) -> None:
        with self._saying:
            self._said.setdefault(kind, []).append(entry)
        self._wake()

    def _outcome(self) -> dict[str, Any]:
        with self._saying:
            said, self._said = self._said, {}
        return {"out": [], **said}


def _env(said: Any) -> Env:
    env = said.get("env", {})
    live = {name: to_rows(pairs) for name, pairs in env.get("live", {}).items()}
    return Env(env.get("ports", {}), int(env.get("now", 0)), env.get("cube", ""), env.get("facts", {}), live)


def _rows(said: Any) -> dict[str, dict[bytes, bytes]]:
    return {name: to_rows(pairs) for name, pairs in said["rows"].items()}


def _layouts(said: Any) -> dict[str, Any]:
    return {
        name: SimpleNamespace(
            name=name, type=each["type"], max_entries=each["max_entries"], key=_struct(each["key"]), value=_struct(each["value"])
        )
        for name, each in said.get("tables", {}).items()
    }


def _struct(said: Mapping[str, Any]) -> _Layout:
    return _Layout(said["size"], tuple(_fields(said["fields"])))


def _fields(said: Sequence[Sequence[Any]]) -> Iterator[_Field]:
    return (_Field(str(name), int(offset), int(size)) for name, offset, size in said)
