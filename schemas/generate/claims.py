"""Whether what a model claims about the kernel's tables can be: keys, fields and encodings, node by node."""
from __future__ import annotations

from collections.abc import Iterator

from schemas.generate.kernel import ENCODINGS, encoding_of, reaches_kernel, reference, suits
from schemas.generate.leaf_types import type_schema
from schemas.generate.numbers import INTEGERS
from schemas.generate.typedefs import base_type, type_of
from schemas.generate.yang import PCN, Statement, ancestors, at, data_nodes, extension, extension_arg


def leaf_problems(leaf: Statement) -> Iterator[str]:
    """What is wrong with a leaf or leaf-list."""
    yield from _key(leaf) if leaf.keyword == "leaf" else _set_of_keys(leaf)
    yield from _value(leaf)
    yield from _encoding(leaf)
    yield from _constant(leaf)
    yield from _reference(leaf)


def _key(leaf: Statement) -> Iterator[str]:
    key = extension(leaf, PCN, "key")
    if key is not None and not _is_key(leaf):
        yield at(key, f"pcn:key is for the keys of a list, and '{leaf.arg}' is none")
    elif key is not None and not _has_table(leaf.parent):
        yield at(key, f"'{leaf.arg}' has a pcn:key, but neither its list '{leaf.parent.arg}' nor a list in it has a pcn:table")


def _set_of_keys(node: Statement) -> Iterator[str]:
    """A leaf-list in a table: its entries are the keys of the rows."""
    key, table = extension(node, PCN, "key"), extension(node, PCN, "table")
    if (key is None) != (table is None):
        yield at(key or table, f"the leaf-list '{node.arg}' needs both a pcn:table and a pcn:key, or none of them")


def _value(leaf: Statement) -> Iterator[str]:
    value = extension(leaf, PCN, "value")
    if value is not None and _nearest_table(leaf) is None:
        yield at(value, f"'{leaf.arg}' has a pcn:value, but there is no pcn:table around it")


def _encoding(leaf: Statement) -> Iterator[str]:
    said, encoding = extension(leaf, PCN, "encoding"), encoding_of(leaf)
    where = said or leaf
    if not reaches_kernel(leaf):
        if said is not None:
            yield at(said, f"'{leaf.arg}' has a pcn:encoding, but no pcn:key, pcn:value or pcn:const: it never becomes bytes")
    elif encoding is None:
        yield at(leaf, f"nothing says how '{leaf.arg}' (a {type_of(leaf).arg}) becomes bytes: it needs a pcn:encoding")
    elif encoding in ENCODINGS and not suits(leaf, encoding):
        yield at(where, f"the encoding '{encoding}' does not suit '{leaf.arg}', a {base_type(leaf)}")
    elif base_type(leaf) in INTEGERS and type_schema(type_of(leaf))["minimum"] < 0:
        yield at(leaf, f"'{leaf.arg}' can be negative, which no encoding can write")
    elif encoding == "age" and leaf.i_config is not False:
        yield at(where, f"'{leaf.arg}' is configuration: the encoding 'age' is for what the programs have seen (config false)")


def _constant(leaf: Statement) -> Iterator[str]:
    """Constants are patched into instructions, which have room for 32 bits."""
    const = extension(leaf, PCN, "const")
    if const is None:
        return
    if encoding_of(leaf) not in ("uint", "bool", "enum"):
        yield at(const, f"'{leaf.arg}' cannot be a constant: that is an unsigned integer, a boolean or an enumeration")
    elif base_type(leaf) in INTEGERS and type_schema(type_of(leaf))["maximum"] >= 2**32:
        yield at(const, f"'{leaf.arg}' cannot be a constant: it may need more than 32 bits")


def _reference(leaf: Statement) -> Iterator[str]:
    what = extension(leaf, PCN, "ref") or leaf
    if reference(leaf) is None:
        return
    if base_type(leaf) != "string":
        yield at(what, f"'{leaf.arg}' is a {base_type(leaf)}: pcn:ref is for names")
    if not has_ports(list(ancestors(leaf))[-1]):
        yield at(what, f"'{leaf.arg}' names a port, but this service has none")


def list_problems(node: Statement) -> Iterator[str]:
    """What is wrong with a list as a table of rows."""
    table, learned = extension(node, PCN, "table"), extension(node, PCN, "learned")
    yield from _ownership(node)
    if table is None:
        if learned is not None:
            yield at(learned, f"'{node.arg}' has a pcn:learned but no pcn:table")
        return
    if learned is not None and learned.arg == table.arg:
        yield at(learned, f"'{table.arg}' cannot hold what is configured and what is learned: these are two tables")
    fields = {leaf.arg: extension_arg(leaf, PCN, "key") for leaf in _key_leaves(node)}
    if not fields:  # a list of state may have none
        yield at(table, f"the rows of '{table.arg}' are the entries of '{node.arg}', which has no key to tell them apart")
    for name, field in fields.items():
        if field is None:
            yield at(table, f"the rows of '{table.arg}' are the entries of '{node.arg}', but its key '{name}' has no pcn:key")
    around = [holder for holder in ancestors(node.parent) if holder.keyword == "list"]
    inherited = [extension_arg(leaf, PCN, "key") for holder in around for leaf in _key_leaves(holder)]
    everything = [field for field in [*fields.values(), *inherited] if field is not None]
    if "" in everything and len(everything) > 1:
        yield at(table, f"'{table.arg}' has more than one key, so pcn:key '' (the whole key) cannot be one of them")


def _ownership(node: Statement) -> Iterator[str]:
    """Rows of state that go with configured ones: they must tell whose they are."""
    said = extension(node, PCN, "owned-by")
    if said is None:
        return
    if node.i_config is not False or extension(node, PCN, "table") is None:
        yield at(said, f"'{node.arg}' is no state in a table: pcn:owned-by is for a list with config false and a pcn:table")
        return
    owner = _found(list(ancestors(node))[-1], said.arg.split("/"))
    if owner is None or owner.keyword != "list" or owner.i_config is False or extension(owner, PCN, "table") is None:
        yield at(said, f"pcn:owned-by '{said.arg}' is no configured list with a pcn:table")
        return
    known = {leaf.arg: leaf for holder in ancestors(node) if holder.keyword == "list" for leaf in _bound(holder)}
    keys = [leaf for holder in ancestors(owner) if holder.keyword == "list" for leaf in _key_leaves(holder)]
    for key in (key for key in keys if extension(key, PCN, "key") is not None):
        if key.arg not in known:
            yield at(said, f"the rows of '{node.arg}' do not tell their owner: no leaf '{key.arg}' with a pcn:key or pcn:value")
        elif encoding_of(known[key.arg]) != encoding_of(key):
            yield at(known[key.arg], f"'{key.arg}' becomes other bytes here than in its owner '{owner.arg}'")


def _bound(node: Statement) -> list[Statement]:
    """A list's own leaves that are in a key or a value."""
    leaves = [child for child in node.i_children if child.keyword == "leaf"]
    return [leaf for leaf in leaves if any(extension(leaf, PCN, name) is not None for name in ("key", "value"))]


def _found(node: Statement, path: list[str]) -> Statement | None:
    """The data node at a path of names, below a module."""
    for name in path:
        found = [child for child in data_nodes(node) if child.arg == name and _holder(child) is node]
        if not found:
            return None
        node = found[0]
    return node


def _holder(node: Statement) -> Statement:
    """What a node is in, in the data: choices and cases leave no trace there."""
    return next(holder for holder in ancestors(node.parent) if holder.keyword not in ("choice", "case"))


def row_problems(holder: Statement) -> Iterator[str]:
    """Two leaves of one row must not claim the same bytes, nor the entries of a list the same row."""
    table = extension(holder, PCN, "table")
    if table is None:
        return
    around = next((node for node in ancestors(holder) if node.keyword == "list"), None)
    if holder.keyword in ("leaf", "container") and around is not None:
        yield at(table, f"'{holder.arg}' would be the row with key 0 of '{table.arg}' for every entry of '{around.arg}'")
    below = [holder] if holder.keyword == "leaf" else list(data_nodes(holder))
    uses = [use for node in below if _nearest_table(node) is holder and (use := extension(node, PCN, "value")) is not None]
    names = [use.arg for use in uses]
    for use in uses:
        if names.count(use.arg) > 1:
            yield at(use, f"the field '{use.arg}' of '{table.arg}' is taken twice")
        elif use.arg == "" and len(names) > 1:
            yield at(use, f"pcn:value '' is the whole value of '{table.arg}', which has other fields too")


def _key_leaves(node: Statement) -> list[Statement]:
    return list(getattr(node, "i_key", None) or [])


def _is_key(leaf: Statement) -> bool:
    return leaf.parent.keyword == "list" and any(key is leaf for key in _key_leaves(leaf.parent))


def _has_table(node: Statement) -> bool:
    return any(extension(inner, PCN, "table") is not None for inner in [node, *data_nodes(node)] if inner.keyword == "list")


def _nearest_table(node: Statement) -> Statement | None:
    """The node, or the nearest one that it is in, that has a pcn:table; a list without one ends the search."""
    for holder in ancestors(node):
        if extension(holder, PCN, "table") is not None:
            return holder
        if holder.keyword == "list":
            return None
    return None


def has_ports(module: Statement) -> bool:
    return any(child.arg == "ports" for child in module.i_children)
