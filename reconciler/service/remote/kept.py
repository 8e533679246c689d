"""The cache on disk of each remote service, so that earlier answers need no call.

    <cache>/remote/<name>/current               the digest that was last believed; its time: when the service last answered
    <cache>/remote/<name>/<digest>/             manifest.json, <name>.schema.json and the C, as a directory of services has them
    <cache>/remote/<name>/<digest>/answers/     one file an answer, by the digest of the question

The directory is the compiler cache's, and trusted like it: owned by root, and writable by no other user.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.errors import PcnError, ServiceRefused
from reconciler.service.remote.manifest import Manifest, read

MOST_ANSWERS = 1024  # of one service; the oldest go
_OFTEN = 1.0  # seconds between two notes that a service answers


def home(name: str) -> Path:
    from reconciler.kernel import cachedir

    return cachedir.directory() / "remote" / name


class Kept:
    """Of one service."""

    def __init__(self, name: str) -> None:
        self.name, self._home = name, home(name)
        self._noted = 0.0

    def directory(self, digest: str) -> Path:
        return self._home / digest.removeprefix("sha256:")

    def manifest(self, digest: str = "") -> Manifest | None:
        """The one with a digest, or the last one accepted; None if it is not here, or incomplete."""
        try:
            wanted = digest or (self._home / "current").read_text().strip()
            found = read(json.loads((self.directory(wanted) / "manifest.json").read_text("utf-8")), self.name)
        except (OSError, ValueError, ServiceRefused):
            return None
        return found if found.digest == wanted else None

    def believe(self, manifest: Manifest) -> None:
        """Keep a manifest, and take it for the service from now on. Raises NotTrusted, OSError."""
        target = self.directory(manifest.digest)
        if self.manifest(manifest.digest) is None:
            self._own()
            texts = {"manifest.json": manifest.text, f"{self.name}.schema.json": json.dumps(manifest.schema), **manifest.files}
            target.mkdir(exist_ok=True)
            (target / "answers").mkdir(exist_ok=True)
            for name in sorted(texts, key=lambda each: each == "manifest.json"):  # which says that all is there
                _write(target / name, texts[name])
        _write(self._home / "current", manifest.digest)

    def _own(self) -> None:
        from reconciler.kernel import trusted

        os.close(trusted.open_directory(self._home, make=0o755))

    def answered(self) -> None:
        """Note that it answers now."""
        if time.monotonic() - self._noted > _OFTEN:
            self._noted = time.monotonic()
            with suppress(OSError):
                os.utime(self._home / "current")

    def last_answer(self) -> float | None:
        """When it last answered, in seconds since 1970."""
        with suppress(OSError):
            return os.stat(self._home / "current").st_mtime
        return None


class Answers:
    """The answers of one service of one digest."""

    def __init__(self, kept: Kept, digest: str) -> None:
        self._home = kept.directory(digest) / "answers"
        self._memory: dict[str, Any] = {}

    def get(self, question: str) -> tuple[bool, Any]:
        """Whether there is an answer, and the answer."""
        if question in self._memory:
            return True, self._memory[question]
        try:
            found = json.loads((self._home / question).read_text("utf-8"))
        except (OSError, ValueError):
            return False, None
        self._remember(question, found)
        return True, found

    def put(self, question: str, answer: Any) -> None:
        self._remember(question, answer)
        with suppress(OSError, PcnError):
            _write(self._home / question, json.dumps(answer))
            kept = sorted(self._home.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in kept[:-MOST_ANSWERS]:
                path.unlink()

    def _remember(self, question: str, answer: Any) -> None:
        self._memory[question] = answer
        while len(self._memory) > MOST_ANSWERS:
            del self._memory[next(iter(self._memory))]


def digest_of(function: str, asked: str) -> str:
    return hashlib.sha256(f"{function}\0{asked}".encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".new-{os.getpid()}-{path.name}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
