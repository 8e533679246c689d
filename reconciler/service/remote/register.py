"""Writes and removes the files that register remote services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.errors import ServiceRefused
from reconciler.service.remote import places


def write(name: str, said: Mapping[str, str]) -> Path:
    """Register the address of a service. Raises ServiceRefused for an invalid one, NotTrusted, OSError."""
    from reconciler.kernel import trusted

    if not places.is_name(name):
        raise ServiceRefused(f"{name!r} is no name of a service")
    places.place_of(name, said, f"{name}.yaml")
    if bad := next((value for value in said.values() if not value.isprintable() or '"' in value or "\\" in value), ""):
        raise ServiceRefused(f"{bad!r} cannot be written to a file")
    text = "".join(f'{key}: "{value}"\n' for key, value in said.items())
    fd = trusted.open_directory(places.files(), make=0o755)
    try:
        fresh = f".{name}.new"
        with open(trusted.open_file(fd, fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(fresh, f"{name}.yaml", src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)
    return places.files() / f"{name}.yaml"


def is_registered(name: str) -> bool:
    return places.is_name(name) and (places.files() / f"{name}.yaml").exists()


def remove(name: str) -> None:
    """Raises OSError."""
    (places.files() / f"{name}.yaml").unlink()
