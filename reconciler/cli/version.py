"""The version of pcn."""

from __future__ import annotations


def version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("pcn")
    except PackageNotFoundError:
        return "of a checkout that is not installed"
