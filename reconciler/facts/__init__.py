"""Facts: what rows depend on and no file declares, such as the netdevs that there are.

A service names those that it wants (`FACTS = ("netdevs", "health")`), and its pure functions find them in `Env.facts`. One of the
host's (`HOST`) is read when a session begins; any other name is one that the cube's own worker publishes, and is absent until it
has. A fact is plain data, as JSON has it. The same configuration and the same facts give the same rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.facts import addresses, links, netdevs

HOST = (netdevs.NAME, addresses.NAME, links.NAME)
SHADOW = "shadow"  # what is in the namespace of a cube with a shadow, by port (graph/shadows.py)
PARENT = "parent"  # what a transparent cube is on, of the documents (graph/parents.py)
MOST_BYTES = 3500  # of a published fact as JSON: it is kept as the target of a symlink, which has a page
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

Facts = Mapping[str, Any]


def host(names: Sequence[str] | frozenset[str] | set[str], states: Mapping[str, Any], read_addresses: Any) -> dict[str, Any]:
    """Those of the host's facts that are named. `states` are all netdevs; addresses are read only if they are requested."""
    found: dict[str, Any] = {}
    if netdevs.NAME in names:
        found[netdevs.NAME] = netdevs.of(states)
    if addresses.NAME in names:
        found[addresses.NAME] = addresses.of(states, read_addresses())
    if links.NAME in names:
        found[links.NAME] = links.of(states)
    return found


def of_cube(wanted: Sequence[str], of_host: Facts, published: Facts) -> dict[str, Any]:
    """The facts of one cube."""
    return {name: source[name] for name in wanted if name in (source := of_host if name in HOST else published)}


def version(value: Any) -> str:
    """A fact's version: the same value has the same one, on any host and at any time."""
    import hashlib  # for who shows facts; planning compares the values themselves

    return hashlib.blake2b(as_text(value).encode(), digest_size=6).hexdigest()


def as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def publishable(name: str, value: Any) -> str:
    """The text of a fact that a worker publishes. Raises ValueError for what cannot be one."""
    if name in (*HOST, SHADOW, PARENT) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a fact that a cube can publish")
    try:
        text = as_text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"fact {name} is no plain data: {error}") from None
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"fact {name} has {len(text.encode())} bytes as JSON, more than {MOST_BYTES}")
    return text
