"""The file that stores the API's topology: root's, replaced atomically, fit to be committed to Git."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from reconciler.document import Document
from reconciler.document.emitter import dump_yaml
from reconciler.document.load import MAX_BYTES, decode, parse
from reconciler.errors import ApplyFailed, DocumentError, Problem
from reconciler.incremental.entry_memo import FEW, EntryMemo
from reconciler.incremental.memo import Memo
from reconciler.kernel import trusted

_HEAD = "# Written by pcn-api, which applies it when it starts. Apply it elsewhere with pcn-apply.\n"


class SavedTopology:
    """One file. Raises NotTrusted if others than root could have created it."""

    def __init__(self, path: str, head: str = _HEAD) -> None:
        self.path, self._head = os.path.abspath(path), head
        self._home, self._name = os.path.split(self.path)
        self._texts = Memo()
        self._lines: EntryMemo[str] = EntryMemo()
        self._deep: EntryMemo[bool] = EntryMemo()

    def read(self) -> Document | None:
        """The stored document; None if the file is missing or empty. Raises DocumentError."""
        try:
            directory = trusted.open_directory(self._home)
        except FileNotFoundError:
            return None
        try:
            fd = trusted.open_file(directory, self._name)
        except FileNotFoundError:
            return None
        finally:
            os.close(directory)
        with os.fdopen(fd, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        found = parse(decode(data, self.path), self.path)
        if len(found) > 1:
            raise DocumentError([Problem("the API keeps one topology, and here are several", "", found[1].position(()))])
        return found[0] if found else None

    def replace(self, document: Mapping[str, Any]) -> bytes | None:
        """Replace the document atomically. Returns the previous content."""
        try:
            before = self._bytes()
            self._write(self._head.encode() + self.text(document).encode())
        except OSError as error:
            raise ApplyFailed(f"{self.path} cannot be written, so nothing was done: {error.strerror}") from None
        return before

    def restore(self, before: bytes | None) -> None:
        """Undo `replace`."""
        if before is not None:
            self._write(before)
        else:
            with suppress(FileNotFoundError):
                os.unlink(self.path)

    def text(self, document: Mapping[str, Any]) -> str:
        """The document as YAML. Of long lists only changed entries are formatted again."""
        return "".join(self._text(document, 0))

    def _text(self, value: Any, indent: int) -> list[str]:
        """Formats block by block if it contains a long list; else with the emitter."""
        if not _has_long_list(value):
            return [_indented(dump_yaml(value, self._texts), indent)]
        parts = []
        if isinstance(value, Mapping):
            for name, part in value.items():
                if _has_long_list(part):
                    parts += [f"{' ' * indent}{_key(name)}:\n", *self._text(part, indent + 2)]
                else:
                    parts.append(_indented(dump_yaml({name: part}, self._texts), indent))
            return parts
        if len(value) >= FEW and not any(self._deep.each(value, lambda _, entry: _has_long_list(entry))):
            margin = " " * indent
            return self._lines.each(value, lambda _, entry: self._entry(entry, margin))
        for entry in value:
            block = "".join(self._text(entry, indent + 2))
            parts.append(f"{' ' * indent}- {block[indent + 2 :]}")
        return parts

    def _entry(self, entry: Any, margin: str) -> str:
        return margin + dump_yaml([entry], self._texts).replace("\n", f"\n{margin}").rstrip(" ")

    def _bytes(self) -> bytes | None:
        try:
            with open(self.path, "rb") as file:
                return file.read(2 * MAX_BYTES)
        except FileNotFoundError:
            return None

    def _write(self, data: bytes) -> None:
        directory = trusted.open_directory(self._home, make=0o755)
        aside = f".{self._name}~"
        try:
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=directory)
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(aside, self._name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)


def _has_long_list(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_long_list, value.values()))
    return isinstance(value, list) and bool(value) and (len(value) >= FEW or any(map(_has_long_list, value)))


def _indented(text: str, indent: int) -> str:
    margin = " " * indent
    return "".join(f"{margin}{line}" for line in text.splitlines(keepends=True))


def _key(name: str) -> str:
    return dump_yaml({name: 0}).partition(":")[0]
