"""Facts: inputs of rows that no file declares, such as the present netdevs.

A service lists those that it uses (`FACTS = ("netdevs", "health")`), and its pure functions get them in `Env.facts`. The host's
(`HOST`) are read at the start of a session; `SHADOW` and `PARENT` are derived; any other is published by the cube's own worker,
and absent before that. A fact is a JSON value. Equal configurations and facts result in equal rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.facts import addresses, links, netdevs

HOST = (netdevs.NAME, addresses.NAME, links.NAME)
SHADOW = "shadow"  # the contents of a shadow's namespace, by port (graph/shadows.py)
PARENT = "parent"  # where documents attach a transparent cube (graph/parents.py)
MOST_BYTES = 3500  # of a published fact as JSON: it is stored as a symlink's target, at most a page
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

Facts = Mapping[str, Any]


def host(names: Sequence[str] | frozenset[str] | set[str], states: Mapping[str, Any], read_addresses: Any) -> dict[str, Any]:
    """The host's facts in `names`. `states`: all netdevs, by name; `read_addresses` is called only for a fact that needs it."""
    found: dict[str, Any] = {}
    if netdevs.NAME in names:
        found[netdevs.NAME] = netdevs.of(states)
    if addresses.NAME in names:
        found[addresses.NAME] = addresses.of(states, read_addresses())
    if links.NAME in names:
        found[links.NAME] = links.of(states)
    return found


def of_cube(wanted: Sequence[str], of_host: Facts, published: Facts) -> dict[str, Any]:
    """The facts in `wanted` that are present, for one cube."""
    return {name: source[name] for name in wanted if name in (source := of_host if name in HOST else published)}


def version(value: Any) -> str:
    """A digest of a fact's value, the same on any host."""
    import hashlib  # for output only: plans compare the values

    return hashlib.blake2b(as_text(value).encode(), digest_size=6).hexdigest()


def as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def publishable(name: str, value: Any) -> str:
    """A worker's fact, serialized. Raises ValueError for a reserved or invalid name, and a value that is too long or no JSON."""
    if name in (*HOST, SHADOW, PARENT) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a fact that a cube can publish")
    try:
        text = as_text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"fact {name} is no plain data: {error}") from None
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"fact {name} has {len(text.encode())} bytes as JSON, more than {MOST_BYTES}")
    return text
