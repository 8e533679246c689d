"""What a service declares of itself at GET /service, and the digest that is its identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.errors import ServiceRefused
from reconciler.rpc.contract import FUNCTIONS, VERSION

_FILE = re.compile(r"[A-Za-z0-9_][\w.-]*\.[ch]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`schema` is its model as JSON Schema, `files` its C by name. `tables` are those whose rows it derives, `facts` and
    `scratch` as in a Python half; `live`: it needs the present rows of its tables. `digest` covers all of it."""

    name: str
    version: str
    schema: Mapping[str, Any]
    files: Mapping[str, str]
    functions: frozenset[str]
    tables: tuple[str, ...]
    facts: tuple[str, ...]
    scratch: tuple[str, ...]
    live: bool
    digest: str
    text: str


def read(said: Any, name: str) -> Manifest:
    """Raises ServiceRefused for one that nothing can be done with."""
    if not isinstance(said, dict):
        raise ServiceRefused(f"service {name} says nothing of itself that could be read")
    if said.get("contract") != VERSION:
        raise ServiceRefused(f"service {name} speaks version {said.get('contract')!r} of the contract, and not {VERSION}")
    if said.get("name") != name:
        raise ServiceRefused(f"service {name} calls itself {said.get('name')!r}")
    schema, sources = said.get("schema"), said.get("files", {})
    meta = schema.get("x-pcn-service") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(meta, dict) or meta.get("name", name) != name:
        raise ServiceRefused(f"service {name} has no model: 'schema' is made by python -m schemas.generate")
    if not isinstance(sources, dict) or not all(_FILE.fullmatch(str(k)) and isinstance(v, str) for k, v in sources.items()):
        raise ServiceRefused(f"service {name}: 'files' must be C texts by plain names")
    for direction in ("ingress", "egress"):
        if missing := [file for file in meta.get(direction, ()) if file not in sources]:
            raise ServiceRefused(f"service {name}: its model names {missing[0]}, which is not among its files")
    functions, tables = _words(said, name, "functions"), _words(said, name, "tables")
    if unknown := sorted(set(functions) - FUNCTIONS):
        raise ServiceRefused(f"service {name} has a function {unknown[0]!r}, which the contract does not know")
    if ("tables" in functions) != ("config" in functions) or ("tables" in functions) != bool(tables):
        raise ServiceRefused(f"service {name}: 'tables', 'config' and the names of its tables come together")
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return Manifest(
        name, str(said.get("version", meta.get("version", ""))), schema, sources, frozenset(functions), tables,
        _words(said, name, "facts"), _words(said, name, "scratch"), bool(said.get("live")), digest, text,
    )  # fmt: skip


def _words(said: Mapping[str, Any], name: str, key: str) -> tuple[str, ...]:
    found = said.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) and re.fullmatch(r"[\w-]{1,64}", each) for each in found):
        raise ServiceRefused(f"service {name}: {key!r} must be a list of names")
    return tuple(found)
