"""A feed's directory: one file a document, replaced atomically by a symlink, so that no reader sees half of a revision."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from reconciler.sources.source import SourceError, is_plain


class Spool:
    """`home` is accessible to root only. `directory`, which the agent watches, does not exist before the first publication."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.directory = home / "current"
        self._number = 0

    def files(self) -> dict[str, bytes]:
        """The published files: contents by name."""
        with suppress(OSError):
            return {path.name: path.read_bytes() for path in self.directory.iterdir()}
        return {}

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Replace the files. Raises OSError, and SourceError for a name that is not plain."""
        if odd := [name for name in files if not is_plain(name)]:
            raise SourceError(f"{odd[0]!r} is no plain name of a file")
        before = self.directory.resolve() if self.directory.is_symlink() else None
        fresh = self._fresh()
        fresh.mkdir(mode=0o700)
        try:
            for name, content in files.items():
                (fresh / name).write_bytes(content)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        link = self._home / ".link"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.rename(self.directory)
        if before is not None and before != fresh:
            shutil.rmtree(before, ignore_errors=True)

    def _fresh(self) -> Path:
        while True:
            self._number += 1
            path = self._home / f"{os.getpid()}-{self._number}"
            if not path.exists():
                return path
