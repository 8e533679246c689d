"""The source texts of a program: the framework's header, a service's C, and the files beside it that it includes.

The compiler reads files only here. Of C this parses no more than an `#include "name.h"` at the start of a line, because it runs
on every apply: the texts are the key of the compiled program in the cache.
"""
from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.errors import CompileError
from reconciler.incremental.memo import derived, memoised

BPF = Path(__file__).resolve().parents[2] / "bpf"  # beside `reconciler`, in a checkout as in site-packages
FRAMEWORK = "pcn.h"

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Unit:
    """One program to be compiled. `flavour` is TC or XDP, `direction` ingress or egress, `kind` standard or
    transparent; `defines` are further macros. `text` replaces the content of `source`, and has the
    name `path` in messages; `renames` replaces names in the service's text."""

    source: Path
    flavour: str
    direction: str
    kind: str = "standard"
    defines: Mapping[str, int | str] = field(default_factory=dict)
    text: str | None = None
    path: str = ""
    renames: Mapping[str, str] = field(default_factory=dict)

    def macros(self) -> dict[str, str]:
        """All macros of this unit."""
        return {"PCN_XDP": str(int(self.flavour == "XDP")), "PCN_EGRESS": str(int(self.direction == "egress")),
                "PCN_TRANSPARENT": str(int(self.kind == "transparent"))} | {k: str(v) for k, v in self.defines.items()}

    def __str__(self) -> str:
        return f"{self.source.name} ({self.flavour}, {self.direction})"


@dataclass(frozen=True)
class Source:
    """A text and its origin. `name`: as in an #include; `path`: for messages."""

    name: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts of a unit. `beside`: files that these include, by name."""

    framework: Source
    service: Source
    beside: Mapping[str, Source]


def gather(unit: Unit) -> Sources:
    """Read a unit's sources. Raises CompileError for a source that cannot be read.

    An unresolved name is no error here: it may be in a comment. `prepare` checks.
    """
    framework = _read(f"{BPF}/{FRAMEWORK}")
    home = str(unit.source.parent)
    service = (
        Source(unit.source.name, unit.path or str(unit.source), unit.text) if unit.text is not None else _read(str(unit.source))
    )
    beside: dict[str, Source] = {}
    pending = [(service, home), (framework, str(BPF))]
    while pending:
        source, home = pending.pop()
        for name in _included(source):
            if name in beside or name == FRAMEWORK or not plain(name):
                continue
            found = next((d for d in ((home, str(BPF)) if "/" not in name else (str(BPF),)) if _stands_in(d, name)), None)
            if found is not None:
                beside[name] = _read(f"{found}/{name}")
                pending.append((beside[name], found))
    return Sources(framework, service, beside)


@derived
def _included(source: Source) -> tuple[str, ...]:
    return tuple(_INCLUDE.findall(source.text))


def plain(name: str) -> bool:
    """Whether a name can refer only to a file of the same directory, of the framework or of the library."""
    return re.fullmatch(r"(?:(?:framework|lib)/)?[A-Za-z0-9_][\w.-]*", name) is not None


def _stands_in(directory: str, name: str) -> bool:
    """Whether a directory has this file; a symlink may refer only to a file of the same directory."""
    path = os.path.join(directory, name)
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return False
    if not stat.S_ISLNK(mode):
        return stat.S_ISREG(mode)
    return os.path.isfile(path) and os.path.dirname(os.path.realpath(path)) == os.path.realpath(os.path.dirname(path))


def _read(path: str) -> Source:
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # opening a FIFO would block
            raise OSError(errno.EINVAL, "it is no regular file")
        return _read_once(path, (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
    except (OSError, UnicodeDecodeError) as error:
        raise CompileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


@memoised
def _read_once(path: str, _identity: tuple[int, ...]) -> Source:
    """Memoised by file identity and times: many units include the same texts."""
    return Source(os.path.basename(path), path, Path(path).read_text("utf-8").replace("\r\n", "\n"))


def complaint(source: Source, line: int, message: str) -> CompileError:
    """An error at a line of a source, shown with that line."""
    return CompileError(f"{source.path}:{line}: error: {message}\n{excerpt(line, text_of(source, line))}")


def text_of(source: Source, line: int) -> str:
    lines = source.text.split("\n")
    return lines[line - 1].rstrip() if 0 < line <= len(lines) else ""


def excerpt(line: int, text: str, caret: str = "") -> str:
    shown = f"{line:6} | {text}"
    return f"{shown}\n{'':6} | {caret}" if caret else shown
