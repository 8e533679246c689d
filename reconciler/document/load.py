"""Loads documents from files, directories and stdin."""
from __future__ import annotations

import os
import stat
from collections.abc import Iterator, MutableMapping, Sequence
from typing import IO

from reconciler.document import Document
from reconciler.errors import DocumentError, Position, Problem, UsageError

MAX_BYTES = 128 * 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "<stdin>"


def load(
    paths: Sequence[str], *, stdin: IO[bytes] | None = None, sources: MutableMapping[str, str] | None = None
) -> list[Document]:
    """The documents in files, in directories (their *.yaml, *.yml and *.json, not recursively) and in stdin (`-`).

    Each file's text is added to `sources`, for excerpts in errors. Raises UsageError if a file cannot be read, DocumentError
    with the problems of all files.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for file in _files(paths):
        try:
            text = _read(file, stdin)
            if sources is not None:
                sources[file] = text
            documents += parse(text, file)
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError(problems)
    return documents


def read_texts(paths: Sequence[str], *, stdin: IO[bytes] | None = None) -> dict[str, str]:
    """The texts of files and of stdin (`-`) by name, each file once, unparsed. Raises as `load`."""
    return {file: _read(file, stdin) for file in _files(paths)}


def parse(text: str, file: str) -> list[Document]:
    """The documents in a text (separated by ---), without the empty ones. Raises DocumentError, also if there is none."""
    from reconciler.document.construct import read

    found, lists = read(text, file)
    known = lists if len(found) == 1 else [{}] * len(found)
    documents = [Document(file, text, data, at, lists=known[at]) for at, data in enumerate(found) if data is not None]
    if not documents:
        raise DocumentError([Problem("there is no document in this file", "", Position(file, 1, 1))])
    return documents


def _files(paths: Sequence[str]) -> Iterator[str]:
    """The files of the paths; one with several names only once."""
    seen: set[tuple[int, int] | str] = set()
    for path in paths:
        for file in [STDIN] if path == "-" else _expand(path):
            identity = file if file == STDIN else _identity(file)
            if identity not in seen:
                seen.add(identity)
                yield file


def _expand(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    try:
        names = sorted(name for name in os.listdir(path) if name.endswith(SUFFIXES) and not name.startswith("."))
    except OSError as error:
        raise _cannot_read(path, error) from None
    files = [file for name in names if os.path.isfile(file := os.path.join(path, name))]
    if not files:
        raise UsageError(f"there is no {', '.join('*' + suffix for suffix in SUFFIXES)} in {path}")
    return files


def _identity(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError as error:
        raise _cannot_read(file, error) from None
    return status.st_dev, status.st_ino


def _read(file: str, stdin: IO[bytes] | None) -> str:
    """The text of a file. No more than a byte above the limit is read, so an endless pipe is harmless."""
    try:
        if file == STDIN:
            if stdin is None:
                raise UsageError("there is no standard input to read")
            data = stdin.read(MAX_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                size = os.fstat(stream.fileno())
                too_big = stat.S_ISREG(size.st_mode) and size.st_size > MAX_BYTES
                data = b"" if too_big else stream.read(MAX_BYTES + 1)
                if too_big:
                    raise _too_big(file, size.st_size)
    except OSError as error:
        raise _cannot_read(file, error) from None
    if len(data) > MAX_BYTES:
        raise _too_big(file, None)
    return decode(data, file)


def decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        line = before.count("\n") + 1
        where = Position(file, line, len(before) - (before.rfind("\n") + 1) + 1)
        message = f"not UTF-8: byte 0x{data[error.start]:02x} cannot be here"
        hint = "the file is UTF-16; save it as UTF-8" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise DocumentError([Problem(message, "", where, hint)]) from None


def _too_big(file: str, size: int | None) -> DocumentError:
    has = f"{size / 1024 / 1024:.1f} MiB" if size else f"more than {MAX_BYTES // 1024 // 1024} MiB"
    message = f"the file has {has}; the limit is {MAX_BYTES // 1024 // 1024} MiB a file"
    return DocumentError([Problem(message, "", Position(file, 1, 1), "split it in several files and apply them together")])


def _cannot_read(file: str, error: OSError) -> UsageError:
    return UsageError(f"cannot read {file}: {error.strerror}")
