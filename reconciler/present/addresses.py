"""The addresses of a port, from all leaves of a model that hold addresses. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any


def addresses(config: Any) -> tuple[str, ...]:
    """All addresses with a prefix length, in the order of the configuration: 10.0.0.1/24, but not 10.0.0.1, which may be a
    neighbour's."""
    return tuple(dict.fromkeys(_found(config)))


def _found(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if _is_address(value):
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _found(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _found(each)


def _is_address(text: str) -> bool:
    address, slash, _ = text.partition("/")
    try:
        return bool(slash) and ipaddress.ip_interface(text).ip == ipaddress.ip_address(address)
    except ValueError:
        return False
