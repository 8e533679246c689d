"""The pcn: extensions as x-pcn- keywords: where a node lives in the tables of its service.

Nothing here knows a table: names of tables and fields are the C source's, and the core of pcn meets them there.
"""
from __future__ import annotations

from schemas.generate.numbers import INTEGERS
from schemas.generate.typedefs import base_type, enum_values, type_names
from schemas.generate.yang import PCN, Schema, Statement, extension, extension_arg, extension_args

# By the name of a type or typedef; the nearest name that is known decides.
_BY_TYPE = {
    "ipv4-address": "ipv4", "ipv4-address-no-zone": "ipv4",
    "ipv6-address": "ip", "ipv6-address-no-zone": "ip", "ip-address": "ip", "ip-address-no-zone": "ip",
    "mac-address": "mac",
    "ipv4-prefix": "prefix4",
    "ipv6-prefix": "prefix", "ip-prefix": "prefix",
    "enumeration": "enum", "boolean": "bool",
    "uint8": "uint", "uint16": "uint", "uint32": "uint", "uint64": "uint",
    "int8": "uint", "int16": "uint", "int32": "uint", "int64": "uint",
}

_OF_TABLES = ("table", "learned", "counts", "owned-by", "grows", "const-any")

# The built-in types that each encoding can be said of.
ENCODINGS: dict[str, tuple[str, ...]] = {
    "uint": INTEGERS,
    "be": INTEGERS,
    "bool": ("boolean",),
    "enum": ("enumeration",),
    "port": ("string",),
    "ipv4": ("string",),
    "ip": ("string", "union"),
    "mac": ("string",),
    "prefix4": ("string",),
    "prefix": ("string", "union"),
    "age": INTEGERS,
}


def table_keywords(node: Statement) -> Schema:
    """x-pcn-table, x-pcn-learned, x-pcn-counts, x-pcn-owned-by, x-pcn-grows and x-pcn-const-any of a node or the module."""
    found = {f"x-pcn-{name}": extension_arg(node, PCN, name) for name in _OF_TABLES}
    return {keyword: value for keyword, value in found.items() if value is not None}


def leaf_keywords(leaf: Statement) -> Schema:
    """All x-pcn- keywords of a leaf. Needs a leaf that `placement` has nothing against."""
    schema = table_keywords(leaf)
    schema |= {"x-pcn-ref": what} if (what := reference(leaf)) is not None else {}
    for name in ("key", "value", "const", "filter", "until", "size"):
        if (value := extension_arg(leaf, PCN, name)) is not None:
            schema[f"x-pcn-{name}"] = value
    schema |= {"x-pcn-derived": True} if extension(leaf, PCN, "derived") is not None else {}
    schema |= {"x-pcn-exposition": True} if extension(leaf, PCN, "exposition") is not None else {}
    schema |= {"x-pcn-list": True} if extension(leaf, PCN, "list") is not None else {}
    schema |= {"x-pcn-breaks-loops": True} if extension(leaf, PCN, "breaks-loops") is not None else {}
    if reaches_kernel(leaf):
        encoding = encoding_of(leaf)
        schema["x-pcn-encoding"] = encoding
        schema |= {"x-pcn-enum": enum_values(leaf)} if encoding == "enum" else {}
    return schema


def action_keywords(action: Statement) -> Schema:
    """x-pcn-edit of an action; x-pcn-flush and x-pcn-zero: a table's name, or a list of names if there are several."""
    edits = extension_arg(action, PCN, "edit")
    schema: Schema = {"x-pcn-edit": edits.split()} if edits is not None else {}
    for name in ("flush", "zero"):
        tables = extension_args(action, PCN, name)
        if tables:
            schema[f"x-pcn-{name}"] = tables[0] if len(tables) == 1 else tables
    return schema


def reaches_kernel(leaf: Statement) -> bool:
    """Whether the programs read this leaf, out of a table or as a constant."""
    return any(extension(leaf, PCN, name) is not None for name in ("key", "value", "const"))


def reference(leaf: Statement) -> str | None:
    """"port" if the leaf names a port of its cube: by pcn:ref, or by a leafref to the name of a port."""
    said = extension_arg(leaf, PCN, "ref")
    return said if said is not None else "port" if leafref_path(leaf) == "/ports/name" else None


def leafref_path(leaf: Statement) -> str | None:
    """The target of a leafref, as names from the top of the model: '/ports/name'. None for other types."""
    target = getattr(leaf, "i_leafref_ptr", None)
    if target is None:
        return None
    node, names = target[0], []
    while node.parent is not None:
        names += [] if node.keyword in ("choice", "case") else [node.arg]
        node = node.parent
    return "/" + "/".join(reversed(names))


def encoding_of(leaf: Statement) -> str | None:
    """How the leaf becomes bytes: as pcn:encoding says, or else as its type does; None if neither does."""
    said = extension_arg(leaf, PCN, "encoding")
    if said is not None:
        return said
    if reference(leaf) == "port":
        return "port"
    return next((_BY_TYPE[name] for name in type_names(leaf) if name in _BY_TYPE), None)


def suits(leaf: Statement, encoding: str) -> bool:
    """Whether a leaf of this type can be said to have this encoding."""
    return base_type(leaf) in ENCODINGS[encoding]
