"""A leaf's YANG type as JSON Schema keywords, by the rules of RFC 7951 for how YANG data looks in JSON."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from schemas.generate import patterns
from schemas.generate.numbers import INTEGERS, bounds, decimal_schema, integer_schema, pair
from schemas.generate.typedefs import first, type_chain
from schemas.generate.yang import Schema, Statement, fail, one_line

_EXPECTED = "expected "


def type_schema(type_: Statement) -> Schema:
    """The schema of one type. Raises ModelError for what cannot be said in JSON Schema."""
    chain = type_chain(type_)
    base = chain[-1].arg
    build = _BUILDERS.get(base)
    if base in INTEGERS:
        return integer_schema(chain, base)
    if build is None:
        raise fail(type_, f"a {base} cannot be used here")
    return build(chain)


def _string(chain: list[Statement]) -> Schema:
    schema: Schema = {"type": "string", **_lengths(chain)}
    found = [pattern for type_ in chain for pattern in type_.search("pattern")]
    if not found:
        return schema
    try:
        schema["pattern"] = patterns.all_of([(pattern.arg, _inverted(pattern)) for pattern in found])
    except ValueError as error:
        raise fail(found[0], str(error)) from error
    return schema | _pattern_message(_message(pattern) for pattern in found)


def _lengths(chain: list[Statement]) -> Schema:
    if not first(chain, "length"):
        return {}
    spec = next(type_.i_type_spec for type_ in chain if type_.search("length"))
    while not hasattr(spec, "lengths"):
        spec = spec.base
    schema = bounds([pair(low, high, spec) for low, high in spec.lengths], "minLength", "maxLength")
    if schema["maxLength"] >= 2**64 - 1:
        del schema["maxLength"]
    return schema


def _inverted(pattern: Statement) -> bool:
    return pattern.search_one("modifier", "invert-match") is not None


def _message(pattern: Statement) -> str | None:
    found = pattern.search_one("error-message")
    return None if found is None else one_line(found.arg)


def _pattern_message(messages: Iterable[str | None]) -> Schema:
    """One message for all patterns, or none if one of them has none. Editors know the keyword."""
    each = list(dict.fromkeys(messages))
    if None in each or not each:
        return {}
    texts = [str(message) for message in each]
    if all(text.startswith(_EXPECTED) for text in texts):
        return {"patternErrorMessage": _EXPECTED + ", or ".join(text.removeprefix(_EXPECTED) for text in texts)}
    return {"patternErrorMessage": "; ".join(texts)}


def _enumeration(chain: list[Statement]) -> Schema:
    enums = first(chain, "enum")
    schema: Schema = {"type": "string", "enum": [enum.arg for enum in enums]}
    texts = [enum.search_one("description") for enum in enums]
    if all(texts):
        schema["enumDescriptions"] = [one_line(text.arg) for text in texts]
    return schema


def _bits(chain: list[Statement]) -> Schema:
    names = [bit.arg for bit in first(chain, "bit")]
    one = "|".join(re.escape(name) for name in names)
    return {"type": "string", "pattern": rf"^(?:(?:{one})(?: (?:{one}))*)?$(?!\n)",
            "patternErrorMessage": f"expected some of {', '.join(names)}, with single spaces between",
            "x-yang-type": "bits"}


def _union(chain: list[Statement]) -> Schema:
    """anyOf; but members that are nothing but patterns become one pattern, which makes one readable error."""
    members = [type_schema(member) for member in first(chain, "type")]
    if all(set(member) <= {"type", "pattern", "patternErrorMessage"} and "pattern" in member for member in members):
        message = _pattern_message(member.get("patternErrorMessage") for member in members)
        return {"type": "string", "pattern": patterns.any_of([member["pattern"] for member in members]), **message}
    return {"anyOf": members}


def _identity(chain: list[Statement]) -> Schema:
    """All identities derived from the base; one of another module also by its prefixed name."""
    module = chain[0].i_module
    bases = [base.i_identity for base in first(chain, "base")]
    names = []
    for known in [module, *(module.i_ctx.get_module(name) for name, _ in module.i_prefixes.values())]:
        for identity in (known.i_identities.values() if known is not None else ()):
            if any(_derives(identity, base) for base in bases):
                names += [identity.arg] if known is module else [f"{known.arg}:{identity.arg}"]
    return {"type": "string", "enum": sorted(set(names)), "x-yang-type": "identityref"}


def _derives(identity: Statement, base: Statement) -> bool:
    parents = [parent.i_identity for parent in identity.search("base")]
    return any(parent is base or _derives(parent, base) for parent in parents)


def _leafref(chain: list[Statement]) -> Schema:
    raise fail(chain[0], "a leafref inside of a union or typedef is not supported: use it as the leaf's own type")


_BUILDERS: dict[str, Callable[[list[Statement]], Schema]] = {
    "string": _string,
    "boolean": lambda _: {"type": "boolean"},
    "enumeration": _enumeration,
    "union": _union,
    "bits": _bits,
    "decimal64": decimal_schema,
    "empty": lambda _: {"const": [None], "x-yang-type": "empty"},
    "binary": lambda _: {"type": "string", "contentEncoding": "base64", "x-yang-type": "binary"},
    "identityref": _identity,
    "leafref": _leafref,
    "instance-identifier": lambda _: {"type": "string", "x-yang-type": "instance-identifier"},
}
