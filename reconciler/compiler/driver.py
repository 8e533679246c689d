"""Compiles units that are not cached, in short-lived child processes that leave no residue."""
from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reconciler.compiler import toolchain
from reconciler.compiler.assemble import assemble
from reconciler.compiler.object import Object
from reconciler.compiler.prepare import Prepared, prepare
from reconciler.compiler.report import diagnostics
from reconciler.compiler.sources import Sources, Unit
from reconciler.errors import CompileError, NotPermitted

_PREFIX = "pcn-compile-"
CHILDREN = 2  # LLVM takes 100 MB in each
UNIT_SECONDS = 60  # of CPU time for one unit; the services' largest takes a fiftieth
CHILD_BYTES = 1 << 30  # of a child's address space
Progress = Callable[[int, int, str], None]


def build(units: Sequence[tuple[Unit, Sources]], progress: Progress | None = None) -> list[Object]:
    """Compile units, in order, all of them or none. Raises as `outcomes`, and CompileError with the messages of all failures."""
    found = outcomes(units, progress)
    if errors := [outcome for outcome in found if isinstance(outcome, CompileError)]:
        raise together(errors)
    return [outcome for outcome in found if isinstance(outcome, Object)]


def together(errors: Sequence[CompileError]) -> CompileError:
    """One error with all messages, without duplicates: both directions of a service fail alike."""
    telling = [error for error in errors if not isinstance(error, _Lost)] or errors
    return CompileError("\n".join(dict.fromkeys(map(str, telling))))


def outcomes(units: Sequence[tuple[Unit, Sources]], progress: Progress | None = None) -> list[Object | CompileError]:
    """The outcome of each unit, in order: its object, or its error, which does not prevent others from being compiled.
    `progress(done, total, name)` is called as they are finished.

    Raises CompileError if there is no compiler, or NotPermitted: BCC creates a program's tables while it compiles it, which
    needs root.
    """
    compiler, missing = toolchain.available(), toolchain.missing()
    if missing or compiler is None:
        raise CompileError(f"cannot compile {', '.join(sorted({unit.source.name for unit, _ in units}))}: {missing}")
    _sweep()
    prepared = [_told(unit, _attempt(prepare, sources, unit.macros(), unit.renames)) for unit, sources in units]
    found: dict[int, Object | CompileError] = {n: text for n, text in enumerate(prepared) if isinstance(text, CompileError)}
    while left := [number for number in range(len(units)) if number not in found]:
        lot = [(number, units[number][0], prepared[number]) for number in left]
        found |= _compile(lot, compiler, len(units), progress)
    return [found[number] for number in range(len(units))]


Lot = Sequence[tuple[int, Unit, Prepared]]


def _compile(lot: Lot, compiler: str, total: int, progress: Progress | None) -> dict[int, Object | CompileError]:
    """The outcomes of the attempted units: a fatal error of LLVM ends its child, and the units queued there remain for another
    attempt. If none was attempted, the child's error is the outcome of all."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as directory, _locked(directory):
        ended, here = _run(Path(directory), lot, total, progress), Path(directory)
        found = {
            number: _told(unit, _attempt(_collect, here, number, unit, text, compiler, ended[at % len(ended)]))
            for at, (number, unit, text) in enumerate(lot)
        }
    tried = {number: outcome for number, outcome in found.items() if not isinstance(outcome, _Lost)}
    return tried or found


@contextmanager
def _locked(directory: str, flags: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a directory's lock, which the kernel drops when its holder dies. Raises BlockingIOError with LOCK_NB."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, flags)
        yield
    finally:
        os.close(lock)


def _sweep() -> None:
    """Remove residue of killed compilers. An empty directory is about to be locked by its creator."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if path.stat().st_uid == os.geteuid() and any(path.iterdir()):
                with _locked(str(path), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(path, ignore_errors=True)


class _Lost(CompileError):
    """A unit that was not attempted, since an earlier one ended its child."""


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except CompileError as error:
        return error


def _told(unit: Unit, outcome: Any) -> Any:
    """Prefix an error in a file that a text without a file includes with the text's path."""
    if unit.path and type(outcome) is CompileError and unit.path not in str(outcome):
        return CompileError(f"{unit.path}: {outcome}")
    return outcome


def _run(directory: Path, lot: Lot, total: int, progress: Progress | None) -> list[int]:
    """Compile in children, which write the outcomes to `directory`; child i compiles units i, i + n, ... Kills them on an
    exception. Returns their exit statuses, as `Popen.returncode`."""
    headers, library = toolchain.header_tree(directory), toolchain.library()
    below = directory / toolchain.UAPI.relative_to("/")  # target of our symlinks in the child's root
    below.mkdir(parents=True)
    binds = [(str(toolchain.UAPI), str(below))]
    count = min(CHILDREN, len(lot), os.cpu_count() or 1)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for first in range(count):
            units = [(number, prepared.text) for number, _, prepared in lot[first::count]]
            job = directory / f"job{first}"
            job.write_text(json.dumps({"directory": str(directory), "headers": str(headers), "library": str(library),
                                       "flags": toolchain.flags(), "units": units, "binds": binds,
                                       "seconds": UNIT_SECONDS, "bytes": CHILD_BYTES}))
            with job.open("rb") as stdin, (directory / f"child{first}.log").open("wb") as stderr:
                children.append(subprocess.Popen([sys.executable or "/usr/bin/python3", "-I", "-S", toolchain.CHILD],
                                                 stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=_environment()))
        _watch(children, [str(unit) for _, unit, _ in lot], total, progress)
        return [child.returncode for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


def _environment() -> dict[str, str]:
    kept = ("PATH", "LD_LIBRARY_PATH", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _watch(children: Sequence[subprocess.Popen[bytes]], names: Sequence[str], total: int, progress: Progress | None) -> None:
    """Wait until every child has closed its output; each byte on it reports a unit, of child i the units i, i + n, ... The units
    of `total` that are not in `names` were compiled before."""
    done = total - len(names)
    with selectors.DefaultSelector() as ready:
        for first, child in enumerate(children):
            assert child.stdout is not None
            ready.register(child.stdout, selectors.EVENT_READ, iter(range(first, len(names), len(children))))
        while ready.get_map():
            for key, _ in ready.select():
                finished = os.read(key.fd, 4096)
                if not finished:
                    ready.unregister(key.fileobj)
                for _number, number in zip(finished, key.data, strict=False):
                    done += 1
                    if progress is not None:
                        progress(done, total, names[number])
    for child in children:
        child.wait()


def _collect(directory: Path, number: int, unit: Unit, prepared: Prepared, compiler: str, ended: int) -> Object:
    log, outcome = directory / f"{number}.log", directory / f"{number}.json"
    if not log.exists():
        words = "\n".join(path.read_text("utf-8", "replace") for path in sorted(directory.glob("child*.log"))).split("\n")
        last = next((line for line in reversed(words) if line.strip()), "")
        raise _Lost(f"{unit} was not compiled: the compiler's process ended early\n{last}".rstrip())
    said = log.read_text("utf-8", "replace")
    result = json.loads(outcome.read_text("utf-8")) if outcome.exists() else None
    if result is not None:
        return assemble(unit, prepared, result, said, compiler)
    if "Operation not permitted" in said:
        raise NotPermitted(f"compile {unit}", 1, "BCC makes a program's tables while it compiles it, which takes root "
                           "(CAP_BPF); as root, `pcn compile` fills a cache that others can use")
    if not outcome.exists() and ended < 0:
        took = f"{UNIT_SECONDS} seconds" if ended == -signal.SIGXCPU else f"{CHILD_BYTES >> 20} MB, or ended the compiler"
        by = signal.Signals(-ended).name
        raise CompileError(f"{prepared.service.path}: error: to compile this took more than {took} ({by})")
    raise CompileError(diagnostics(said, prepared))
