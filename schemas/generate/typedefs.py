"""From a leaf to its type: through leafrefs and typedefs, down to what YANG itself knows."""
from __future__ import annotations

from collections.abc import Iterable

from schemas.generate.yang import Statement


def type_chain(type_: Statement) -> list[Statement]:
    """The `type` statement and those of the typedefs that it comes from, down to the built-in type."""
    chain = [type_]
    while (typedef := getattr(chain[-1], "i_typedef", None)) is not None:
        chain.append(typedef.search_one("type"))
    return chain


def type_of(leaf: Statement) -> Statement:
    """The `type` statement that decides for `leaf`: a leafref has the type of its target."""
    while (target := getattr(leaf, "i_leafref_ptr", None)) is not None:
        leaf = target[0]
    return leaf.search_one("type")


def base_type(leaf: Statement) -> str:
    """Name of the built-in YANG type of a leaf or leaf-list, with leafrefs and typedefs resolved."""
    return str(type_chain(type_of(leaf))[-1].arg)


def type_names(leaf: Statement) -> list[str]:
    """Names of the leaf's type and the typedefs behind it, without prefixes, the nearest first."""
    return [type_.arg.split(":")[-1] for type_ in type_chain(type_of(leaf))]


def enum_values(leaf: Statement) -> dict[str, int]:
    """The number of each name of an enumeration leaf, in the order of the model."""
    return {enum.arg: enum.i_value for enum in first(type_chain(type_of(leaf)), "enum")}


def first(chain: Iterable[Statement], keyword: str) -> list[Statement]:
    """The `keyword` statements of the nearest type that has any: a restriction only ever narrows."""
    return next((found for type_ in chain if (found := type_.search(keyword))), [])
