"""The watched files and the desired set of their last good versions.

A broken file must neither block the others nor withdraw its previous content: its last good version is used until it is fixed.
Each problem is reported once per content.
"""
from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from reconciler.document import Document, hosts
from reconciler.document.diagnostics import render_all
from reconciler.document.hosts import Host, this_host
from reconciler.document.incremental_parse import reparse
from reconciler.document.load import MAX_BYTES, SUFFIXES, decode, parse
from reconciler.errors import DocumentError, PcnError, Problem
from reconciler.incremental.entry_memo import FEW
from reconciler.incremental.sharing import pooled, share
from reconciler.live.applied import name_of
from reconciler.model import Topology
from reconciler.service.registry import Services

_SETTLED = 0.05  # seconds since the last write after which a file counts as complete


@dataclass(frozen=True, slots=True)
class DesiredDocuments:
    """The desired set: `documents` of `topologies` (names), identified by `digest`."""

    documents: tuple[Document, ...] = ()
    topologies: frozenset[str] = frozenset()
    digest: str = ""

    def names_with(self, others: Iterable[Topology]) -> frozenset[str]:
        return self.topologies | {topology.name for topology in others}


@dataclass(slots=True)
class File:
    """A file: digest of its content, its problem ('' if none), and its last good version."""

    digest: str = ""
    text: str = ""
    problem: str = ""
    documents: tuple[Document, ...] = ()
    good: tuple[Document, ...] = ()
    good_digest: str = ""


@dataclass(slots=True)
class Files:
    """The files of the arguments, and the documents that sources submitted (`given`, by name), which count as files. `waits`: one
    was refused for a cause that may pass without an edit. `news`: unreported messages, each with whether it is an error."""

    arguments: Sequence[str]
    merge: bool = False
    host: Host = field(default_factory=this_host)
    files: dict[str, File] = field(default_factory=dict)
    absent: str = ""
    waits: bool = False
    news: list[tuple[bool, str]] = field(default_factory=list)
    given: dict[str, Document] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    _said: dict[tuple[str, str], None] = field(default_factory=dict)
    _devices: dict[str, int] = field(default_factory=dict)
    _last: DesiredDocuments = field(default_factory=DesiredDocuments)
    _seen: Mapping[str, bytes | str] = field(default_factory=dict)
    _handed_in: int = 0

    def paths(self) -> list[str]:
        """All paths to watch."""
        return [*self.arguments, *(path for path in self.files if path not in self.given)]

    def give(self, path: str, data: Mapping[str, Any], revision: str, *, is_shared: bool = False) -> None:
        """Take a document from a source. Unchanged parts become the previous objects, unless `is_shared`: then they are
        already."""
        old = self.given.get(path)
        data = _among_cubes(share(old.data, data) if old is not None and not is_shared else data)
        self.revisions[path] = revision
        if old is None or data is not old.data:
            self.given[path] = Document(path, "", data)

    def withdraw(self, path: str) -> None:
        for known in (self.given, self.revisions, self.files):
            known.pop(path, None)

    def texts(self) -> dict[str, str]:
        """Texts by path, for excerpts in errors."""
        return {path: file.text for path, file in self.files.items()}

    def settled(self) -> bool:
        """Whether no file is being written to right now."""
        now = time.time()
        try:
            return all(not 0 <= now - os.stat(path).st_mtime < _SETTLED for path in self.files if path not in self.given)
        except OSError:
            return True

    def changed(self) -> bool:
        """Whether any content differs from what was last read."""
        return self._read() != self._seen

    def refresh(self, services: Services) -> DesiredDocuments:
        """Read the files again; returns the desired set, with last good versions for broken files."""
        self._seen = found = self._read()
        self.waits = False
        self.absent = next((argument for argument in self.arguments if self._is_gone(argument)), "")
        if not self.absent:
            for path in self.files.keys() - found.keys() - self.given.keys():
                self.news.append((False, f"{path} is gone"))
                del self.files[path]
        for path, content in found.items():
            self._take(path, content)
        for path, document in self.given.items():
            self._take_given(path, document)
        return self._desired(services)

    def _read(self) -> dict[str, bytes | str]:
        """Content by path; as text the reason why a file is unreadable."""
        found: dict[str, bytes | str] = {}
        for argument in self.arguments:
            for path in _expand(argument):
                found[path] = _content(path)
        return found

    def _is_gone(self, argument: str) -> bool:
        """Whether a directory is missing or unmounted: then nothing is concluded about its files."""
        is_file = argument.endswith(SUFFIXES) and not os.path.isdir(argument)
        home = os.path.dirname(os.path.abspath(argument)) if is_file else argument
        try:
            device = os.stat(home).st_dev
        except OSError:
            return True
        gone = self._devices.setdefault(argument, device) != device and not _expand(argument)
        if not gone:
            self._devices[argument] = device
        return gone

    def _take(self, path: str, content: bytes | str) -> None:
        file = self.files.setdefault(path, File())
        raw = content if isinstance(content, bytes) else os.fsencode(content)
        digest = hashlib.sha256(raw).hexdigest()
        if digest == file.digest and (isinstance(content, str) or file.text):
            return
        before = file.documents or file.good
        file.digest, file.documents, file.problem, file.text = digest, (), "", ""
        try:
            if isinstance(content, str):
                raise DocumentError([Problem(content)])
            file.text = decode(content, path)
            mended = reparse(before[0], file.text) if len(before) == 1 else None
            file.documents = (mended,) if mended is not None else tuple(parse(file.text, path))
            file.documents = tuple(_not_suspended(file.documents, file.good))
        except DocumentError as error:
            self._refuse(path, error.problems)

    def _take_given(self, path: str, document: Document) -> None:
        file = self.files.setdefault(path, File())
        if file.documents != (document,):
            self._handed_in += 1
            file.digest, file.documents, file.problem = f"{path}#{self._handed_in}", (document,), ""

    def _desired(self, services: Services) -> DesiredDocuments:
        """The documents that pass the check together. Each round replaces the offending files by their last good versions."""
        from reconciler.check import check

        broken = {path for path, file in self.files.items() if not file.documents}
        names: frozenset[str] = frozenset()
        while True:
            versions = [file.good if path in broken else file.documents for path, file in self.files.items()]
            documents = [document for version in versions for document in version if hosts.is_for(document, self.host)]
            try:
                names = frozenset(t.name for t in check(documents, services, merge=self.merge)[0]) if documents else frozenset()
                break
            except DocumentError as error:
                guilty = self._offending_files(error.problems, broken)
                for path in guilty or self.files.keys() - broken:
                    self._refuse(path, [p for p in error.problems if path in _involved(p)] or error.problems)
                if not self.files.keys() - broken:  # even the last good versions conflict now
                    return self._last
                broken |= guilty or self.files.keys()
        for path, file in self.files.items():
            if path not in broken:
                if file.problem or (file.good_digest and file.good_digest != file.digest):
                    self.news.append((False, f"{path} has changed"))
                file.problem, file.good, file.good_digest = "", file.documents, file.digest
        whole = "".join(sorted(f"{path}\0{file.good_digest}\n" for path, file in self.files.items()))
        self._last = DesiredDocuments(tuple(documents), names, hashlib.sha256(os.fsencode(whole)).hexdigest())
        return self._last

    def _offending_files(self, problems: Sequence[Problem], broken: set[str]) -> set[str]:
        """The files that the problems are in; of these those that changed since the last good check, if any."""
        involved = set().union(*map(_involved, problems)) & self.files.keys() - broken
        return {path for path in involved if self.files[path].good_digest != self.files[path].digest} or involved

    def _refuse(self, path: str, problems: Sequence[Problem]) -> None:
        file = self.files[path]
        self.waits |= any(problem.passing for problem in problems)
        file.problem = render_all(problems, {path: file.text})
        if (path, file.digest) not in self._said:
            kept = "; its last good version stays in force" if file.good else ""
            self.news.append((True, f"{path} is not applied{kept}:\n{file.problem}"))
            self._said[path, file.digest] = None
            while len(self._said) > 1000:
                del self._said[next(iter(self._said))]


def _among_cubes(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with equal entries of long lists shared as one object among cubes of a service."""
    spec = data.get("spec")
    cubes = spec.get("cubes") if isinstance(spec, Mapping) else None
    if not isinstance(cubes, list) or not all(isinstance(cube, dict) for cube in cubes):
        return data
    lists: dict[tuple[Any, str], Sequence[Any]] = {}
    made = [{leaf: _pooled(lists, cube, leaf, value) for leaf, value in cube.items()} for cube in cubes]
    made = [cube if all(cube[leaf] is new[leaf] for leaf in new) else new for cube, new in zip(cubes, made, strict=True)]
    return data if all(map(is_, cubes, made)) else {**data, "spec": {**data["spec"], "cubes": made}}


def _pooled(lists: dict[tuple[Any, str], Sequence[Any]], cube: Mapping[str, Any], leaf: str, value: Any) -> Any:
    """`lists`: the first list of each service and leaf."""
    if not isinstance(value, list) or len(value) < FEW:
        return value
    first = lists.setdefault((str(cube.get("service-name")), leaf), value)
    return value if first is value else pooled(first, value)


def _not_suspended(documents: Sequence[Document], good: Sequence[Document]) -> Iterator[Document]:
    """For a suspended topology the version in force, if `good` has it. The kernel keeps it anyway."""
    before = {name_of(document): document for document in good}
    for document in documents:
        if not hosts.is_suspended(document):
            yield document
        elif (name := name_of(document)) in before:
            yield before[name]


def _involved(problem: Problem) -> set[str]:
    places = [problem.where, *(place for place, _ in problem.related)]
    return {place.file for place in places if place is not None}


def _expand(argument: str) -> list[str]:
    if not os.path.isdir(argument):
        return [argument] if os.path.lexists(argument) else []
    try:
        names = sorted(name for name in os.listdir(argument) if name.endswith(SUFFIXES) and not name.startswith("."))
    except OSError:
        return []
    return [path for name in names if os.path.isfile(path := os.path.join(argument, name))]


def _content(path: str) -> bytes | str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return data if len(data) <= MAX_BYTES else f"{path} has more than {MAX_BYTES // 1024 // 1024} MiB"


def words(error: Exception, sources: Mapping[str, str]) -> str:
    """The error as text for the log, with excerpts of the files where it has positions."""
    if isinstance(error, DocumentError):
        return render_all(error.problems, sources)
    notes = [note for note in getattr(error, "__notes__", ()) if note]
    return "\n".join([str(error) if isinstance(error, PcnError) else f"{type(error).__name__}: {error}", *notes])
