"""Contents of a table or of a program's constants, as leaves of the model.

The readers of a plan wrote `action: DROP`, not `00000000`. Where the model binds bytes to a leaf, or the service's Python half
can decode a row, the leaf is shown; rows that a half derives are shown as the fields of their C structs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.facts import of_cube
from reconciler.graph.records import CubeRecord, PortRecord, ProgramRecord
from reconciler.present import fields
from reconciler.service.model.bindings import constants
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import decode_rows
from reconciler.service.registry import LEVELS, Service, Services

if TYPE_CHECKING:
    from reconciler.engine.session import Session

Leaves = dict[str, Any]
"""Leaf to value; for rows of a list, the entry's path ('fdb/entry[02:00:00:00:00:01]') to its leaves."""
_HIDDEN_CONSTANTS = ("CUBE",)


@dataclass(slots=True)
class Decoder:
    """Decodes rows and constants of a session."""

    session: Session
    services: Services

    def rows(self, cube: str, table: str, rows: Mapping[bytes, bytes], *, live: bool, written: bool = False) -> Leaves:
        """Rows as leaves, else as fields, or as hexadecimal text if there is no layout. `live`: port numbers refer to the live
        ports, else to the desired ones. `written`: only leaves, since only they are configuration."""
        service, tables = self.service(cube), self._tables(cube)
        if service is None or table not in tables:
            return {_hex(key): _hex(value) for key, value in rows.items()}
        facts = of_cube(service.facts, self.session.facts, self.session.live.published.get(cube, {}))
        env = Env(self._ports(cube, live=live), cube=cube, facts=facts)
        bound = [binding for binding in service.bindings if binding.table == table]
        if not bound:
            return _read_back(service, table, rows, tables, env) or ({} if written else _fields(table, rows, tables[table]))
        found: Leaves = {}
        for key, value in rows.items():
            config = decode_rows(bound, {table: {key: value}}, tables, env)
            if not config and bound[0].is_list:  # a row of zeros in an array is no entry
                found[_hex(key)] = _hex(value)
            for entry, leaves in entries(service.schema, config):
                if entry:
                    found[entry] = leaves
                else:
                    found |= leaves
        return found

    def constants(self, record: ProgramRecord) -> Leaves:
        """Leaves that are constants of a program, with their values; empty for an unknown program."""
        compiled = self.session.objects.get(record.object)
        service = self.service(record.cube)
        if compiled is None or service is None:
            return {}
        words = {
            name: int.from_bytes(record.constants[offset : offset + 4], "little") for name, offset in compiled.constants.items()
        }
        return _named_constants(words, service)

    def _cube(self, name: str) -> CubeRecord | None:
        for state in (self.session.desired.state, self.session.live.state):
            record = state.get(f"cube/{name}")
            if isinstance(record, CubeRecord):
                return record
        return None

    def is_bound(self, cube: str, table: str) -> bool:
        """Whether the model binds a table."""
        service = self.service(cube)
        return service is not None and any(binding.table == table for binding in service.bindings)

    def service(self, cube: str) -> Service | None:
        record = self._cube(cube)
        return self.services.get(record.service) if record is not None else None

    def _tables(self, cube: str) -> Mapping[str, Any]:
        record = self._cube(cube)
        built = self.session.built.get(record.build_key) if record is not None else None
        return built.tables if built is not None else {}

    def _ports(self, cube: str, *, live: bool) -> Mapping[str, int]:
        state = self.session.live.state if live else self.session.desired.state
        return {record.name: record.index for record in state.values() if isinstance(record, PortRecord) and record.cube == cube}


def entries(schema: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[tuple[str, Leaves]]:
    """A service's data as (path of the list entry, its leaves), leaves outside of lists under ''."""
    found: dict[str, Leaves] = {}
    _walk(schema, config, "", "", found)
    return found.items()


def _walk(schema: Mapping[str, Any], data: Mapping[str, Any], entry: str, inner: str, found: dict[str, Leaves]) -> None:
    for name, value in data.items():
        node = schema.get("properties", {}).get(name, {})
        path = f"{inner}/{name}" if inner else name
        whole = f"{entry}/{path}" if entry else path
        if isinstance(value, list) and node.get("type") == "array":
            for item in value:
                if not isinstance(item, Mapping):
                    found.setdefault(f"{whole}[{item}]", {})
                    continue
                keys = node.get("x-yang-key", ())
                here = f"{whole}[{','.join(str(item.get(key, '?')) for key in keys)}]"
                rest = {leaf: each for leaf, each in item.items() if leaf not in keys}
                if not any(isinstance(each, list) for each in rest.values()):
                    found.setdefault(here, {})
                _walk(node.get("items", {}), rest, here, "", found)
        elif isinstance(value, Mapping):
            _walk(node, value, entry, path, found)
        else:
            found.setdefault(entry, {})[path] = value


def _named_constants(words: Mapping[str, int], service: Service) -> Leaves:
    """Constants by their leaf; one that the model does not bind keeps its name."""
    found: Leaves = {name: number for name, number in words.items() if name not in _HIDDEN_CONSTANTS}
    if "LOGLEVEL" in found and found["LOGLEVEL"] < len(LEVELS):
        found["loglevel"] = LEVELS[found.pop("LOGLEVEL")]
    for name, segments, node, asks_any in constants(service.schema):
        if name not in found:
            continue
        number, path = found.pop(name), "/".join(segment for segment, _ in segments)
        if asks_any:
            found[f"{path} has entries"] = bool(number)
        elif node.get("type") == "boolean":
            found[path] = bool(number)
        else:
            found[path] = next((word for word, known in (node.get("x-pcn-enum") or {}).items() if known == number), number)
    return found


def _read_back(service: Service, table: str, rows: Mapping[bytes, bytes], tables: Mapping[str, Any], env: Env) -> Leaves:
    """Rows decoded by the service's Python half; empty if it has no decoder, or cannot decode these alone."""
    half = service.implementation
    for read in (half.config, half.state) if half.reads else ():
        try:
            found = dict(entries(service.schema, read({table: rows}, env, tables)))
        except (LookupError, ValueError, TypeError):
            continue
        outside = found.pop("", {})
        if found:
            return found | outside
    return {}


def _fields(table: str, rows: Mapping[bytes, bytes], described: Any) -> Leaves:
    return {fields.name(table, described.key, key): fields.said(described.value, value) for key, value in rows.items()}


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"
