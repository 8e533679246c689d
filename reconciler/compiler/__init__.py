"""C to loadable objects, compiled once.

    objects = compile_units([Unit(path, "TC", "ingress"), ...])

Cached objects are served without BCC: neither LLVM nor a child process is started. The rest is compiled in children
(`driver`), and cached.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconciler.compiler.object import Line, Object, Relocation, TableSpec
from reconciler.compiler.report import verifier_report
from reconciler.compiler.sources import Unit
from reconciler.compiler.stack import stack_of
from reconciler.compiler.struct_layout import Field, StructLayout

if TYPE_CHECKING:
    from reconciler.compiler.sources import Sources

__all__ = [
    "Field",
    "Line",
    "Object",
    "Relocation",
    "StructLayout",
    "TableSpec",
    "Unit",
    "available",
    "cached",
    "compile_units",
    "missing",
    "stack_of",
    "verifier_report",
]


def available() -> str | None:
    """The compiler's identity, like 'bcc-0.26.0'; None if none is installed. Loads nothing."""
    from reconciler.compiler import toolchain

    return toolchain.available()


def missing() -> str:
    """What to install before anything can be compiled, as a sentence; '' if nothing is missing."""
    from reconciler.compiler import toolchain

    return toolchain.missing()


def cached(unit: Unit) -> list[Object]:
    """The cached objects of a unit, by any compiler. Raises CompileError for a source that cannot be read."""
    from reconciler.compiler import cache
    from reconciler.compiler.sources import gather

    return cache.load_all(cache.key(unit, gather(unit)))


def keys_of(units: Sequence[Unit]) -> list[str]:
    """A digest of each unit's inputs. Needs neither compiler nor cache. Raises CompileError."""
    from reconciler.compiler import cache
    from reconciler.compiler.sources import gather

    return [cache.key(unit, gather(unit)) for unit in units]


def compile_units(units: Sequence[Unit], *, progress: Callable[[int, int, str], None] | None = None) -> list[Object]:
    """Objects of units, in order; from the cache, or compiled and then cached."""
    return [made for _, made in compile_keyed(units, progress=progress)]


def compile_keyed(
    units: Sequence[Unit], *, progress: Callable[[int, int, str], None] | None = None
) -> list[tuple[str, Object]]:
    """As `compile_units`, each with its key.

    `progress(done, total, name)` is called for those that are compiled. Raises CompileError with every diagnostic, after
    all units that compile are cached, and NotPermitted if a unit must be compiled and this is not root.
    """
    from reconciler.compiler import cache, toolchain
    from reconciler.compiler.sources import gather

    compiler = toolchain.available()
    keys: list[str] = []
    found: dict[str, Object] = {}
    lacking: dict[str, tuple[Unit, Sources]] = {}
    for unit in units:
        sources = gather(unit)
        keys.append(key := cache.key(unit, sources))
        if key in found or key in lacking:
            continue
        kept = cache.load(key, compiler)
        if kept is not None:
            found[key] = kept
        else:
            lacking[key] = (unit, sources)
    if lacking:
        from reconciler.compiler import driver

        failed = []
        for key, outcome in zip(lacking, driver.outcomes(list(lacking.values()), progress), strict=True):
            if isinstance(outcome, Object):
                cache.store(key, outcome)
                found[key] = outcome
            else:
                failed.append(outcome)
        cache.prune()
        if failed:
            raise driver.together(failed)
    return [(key, found[key]) for key in keys]
