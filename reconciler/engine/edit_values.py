"""Values for a node of a model: normalised; members that the model lacks are refused by name.

Constraints on more than the value itself (a missing peer, a `when`) are for the check of the entire document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from reconciler.check.messages import findings, quoted
from reconciler.check.schema_compiler import quick_test
from reconciler.check.spoken import meant
from reconciler.document.suggest import did_you_mean
from reconciler.errors import EditRefused
from reconciler.service.model.walk import CONTAINER, LEAF, LEAVES, LIST, kind_of

Schema = Mapping[str, Any]


def vetted(schema: Schema, value: Any, path: str, *, whole: bool, given: Collection[str] = ()) -> Any:
    """`value` in the model's normal form. `whole`: all required nodes must be present, except those `given` elsewhere;
    otherwise it is a partial change. Raises EditRefused."""
    kind = kind_of(schema)
    if kind == LIST:
        return [vetted_entry(schema, entry, f"{path}/{number}", whole) for number, entry in enumerate(_array(value, path))]
    if kind in (LEAF, LEAVES):
        return vetted_leaf(schema, value, path)
    return _object(schema, value, path, whole, given)


def vetted_entry(schema: Schema, entry: Any, path: str, whole: bool) -> Any:
    """An entry of a list with this schema; its keys are required even if not `whole`."""
    items, keys = schema["items"], schema.get("x-yang-key", ())
    if not isinstance(entry, dict):
        raise EditRefused("invalid-value", "expected an object for each entry of the list", path)
    _need(keys, entry, path)
    return _object(items, entry, path, whole, ())


def vetted_leaf(schema: Schema, value: Any, path: str) -> Any:
    found = meant(schema, value)
    if not quick_test(schema)(found) and (why := next(_complaints(schema, found), "")):
        raise EditRefused("bad-attribute", why, path, path.rpartition("/")[2])
    return found


def _object(schema: Schema, value: Any, path: str, whole: bool, given: Collection[str]) -> Any:
    if not isinstance(value, dict):
        raise EditRefused("bad-attribute", f"expected an object, not {quoted(value)}", path, path.rpartition("/")[2])
    found = {}
    for name, part in value.items():
        node = _member(schema, name, path, whole)
        found[name] = vetted(node, part, f"{path}/{name}", whole=whole or kind_of(node) not in (CONTAINER, LIST))
    if whole:
        _need((name for name in schema.get("required", ()) if name not in given), value, path)
    return found


def _member(schema: Schema, name: str, path: str, whole: bool) -> Schema:
    """The schema of a member that may be written. Raises EditRefused."""
    known: Mapping[str, Schema] = schema.get("properties", {})
    where = f"{path}/{name}"
    if name not in known:
        state = name in schema.get("x-state", {})
        near = did_you_mean(name, known)
        why = "it is read-only state" if state else f"there is no {quoted(name)} here" + (f"; {near}" if near else "")
        raise EditRefused("invalid-value", why, where, name)
    if known[name].get("x-init-only") and not whole:
        raise EditRefused("invalid-value", "it is set when the cube is made, and not changed later", where, name)
    return known[name]


def _need(names: Iterable[str], value: Mapping[str, Any], path: str) -> None:
    missing = [name for name in names if name not in value]
    if missing:
        raise EditRefused("missing-attribute", f"{quoted(missing[0])} is missing", f"{path}/{missing[0]}", missing[0])


def _array(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise EditRefused("invalid-value", f"expected an array of entries, not {quoted(value)}", path, path.rpartition("/")[2])
    return value


def _complaints(schema: Schema, value: Any) -> Iterator[str]:
    """The errors of a leaf, as sentences; none if it is valid after all."""
    from jsonschema import Draft7Validator

    for error in Draft7Validator(schema).iter_errors(value):
        for finding in findings(error, schema, value):
            hint = str(finding.hint)
            yield finding.message + (f" ({hint})" if hint else "")
