"""Source positions of the entries of an assembled list: computed on demand, since a list may have 100,000."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.document import Document, Path


@dataclass(frozen=True, slots=True)
class Run:
    """From `start` on, entries are those of the list at `origin` from `place` on. The leaves in `leaves` are written at
    `beside`."""

    start: int
    origin: Path
    place: int = 0
    beside: Path = ()
    leaves: frozenset[str] = frozenset()


class Places(Mapping[Path, tuple[Document, Path]]):
    """`Document.places` of a document in which shared lists are written out; `runs` by the path of a list."""

    def __init__(self, document: Document, runs: Mapping[Path, tuple[Run, ...]]) -> None:
        self._document, self._runs = document, runs

    def __getitem__(self, path: Path) -> tuple[Document, Path]:
        if not path:
            return self._document, ()
        if path in self._runs and len(self._runs[path]) == 1 and not self._runs[path][0].beside:
            return self._document, self._runs[path][0].origin
        if path[:-1] in self._runs and isinstance(path[-1], int):
            run = self._run(path[:-1], path[-1])
            return self._document, (*run.origin, run.place + path[-1] - run.start)
        if path[:-2] in self._runs and len(path) > 1 and isinstance(path[-2], int):
            run = self._run(path[:-2], path[-2])
            if path[-1] in run.leaves:
                return self._document, (*run.beside, path[-1])
        raise KeyError(path)

    def _run(self, path: Path, place: int) -> Run:
        runs = self._runs[path]
        return runs[max(0, bisect_right(runs, place, key=lambda run: run.start) - 1)]

    def __iter__(self) -> Iterator[Path]:
        yield ()
        yield from self._runs

    def __len__(self) -> int:
        return 1 + len(self._runs)
