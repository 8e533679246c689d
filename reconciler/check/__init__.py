"""From documents to topologies: all errors that can be detected without reading the kernel are found here.

Pure. All problems are collected, so that a document is corrected in one pass.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.check.cube_memo import MEMO
from reconciler.check.lowering import topology
from reconciler.check.merge import merge as merge_documents
from reconciler.check.messages import quoted
from reconciler.check.polycube import topology_of
from reconciler.check.rule_cache import fingerprint, not_passed, peers_of, store
from reconciler.check.rules import broken_rules, broken_rules_alone
from reconciler.check.rules_peers import symmetric
from reconciler.check.schema import Services, memo_of
from reconciler.check.schema_check import check_schema
from reconciler.check.symbol_table import symbol_table
from reconciler.document import Document, hosts
from reconciler.errors import DocumentError, Problem
from reconciler.incremental.memo import Owned
from reconciler.model import Topology

_VERSION = "polycube.network/v1"
_FORMS = "a document is a mapping with apiVersion, kind, metadata and spec, or a list of cubes"


def check(documents: Sequence[Document], services: Services, *, merge: bool = False) -> tuple[list[Topology], list[Problem]]:
    """The topologies of one desired set, and warnings. DocumentError with every problem, in the order of the documents.

    Two documents with one name are an error, or with `merge` one topology.
    """
    topologies, warnings = memo_of(services).run(_checked, documents, services, merge)
    return list(topologies), list(warnings)


def shared(document: Document, services: Services) -> Document:
    """An applied document, with what it has in common with one of the last checks as the very same objects."""
    return memo_of(services).run(_shared, document)


def _shared(document: Document) -> Document:
    spec = document.data.get("spec") if isinstance(document.data, dict) else None
    cubes = spec.get("cubes") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(cubes, list) or not all(isinstance(cube, dict) for cube in cubes):
        return document
    return replace(document, data={**document.data, "spec": {**spec, "cubes": [MEMO().shared(cube) for cube in cubes]}})


Checked = tuple[list[Topology], list[Problem]]
_LAST: Owned[deque[tuple[tuple[object, ...], tuple[object, ...], Checked]]] = Owned(lambda: deque(maxlen=2))
"""The last questions, by identity, and their answers: an agent checks files as they change, and applies just those."""


def _checked(documents: Sequence[Document], services: Services, merge: bool) -> Checked:
    asked, editions = (*documents, merge), services.stamps()
    last = _LAST()
    for known, before, answer in last:
        same = len(known) == len(asked) and before == editions
        if same and all(ours is theirs for ours, theirs in zip(known, asked, strict=True)):
            return answer
    answer = _check(documents, services, merge)
    last.append((asked, services.stamps(), answer))
    return answer


def _check(documents: Sequence[Document], services: Services, merge: bool) -> Checked:
    MEMO().new_check()
    found: list[Problem] = []
    formed = []
    for document in documents:
        if (strange := _is_foreign(document.data)) is not None:
            found.append(Problem(strange, "", document.position(())))
            continue
        found += hosts.problems(document)
        converted, problems = topology_of(hosts.without(document), services)
        found += problems
        formed.append(converted)
    united, problems = _by_name(formed, services, merge)
    found += problems
    drafts = [check_schema(document, services) for document in united]
    found += [problem for draft in drafts for problem in draft.problems]
    shape = fingerprint(drafts) if not found else None
    peers = peers_of(shape)
    graph = symbol_table(drafts, services) if peers is None else None
    broken = list(broken_rules(graph)) if graph is not None else []
    if graph is not None and shape is not None and not broken:
        peers = symmetric(graph)
        store(shape, peers)
    cubes = graph.cubes if graph is not None else not_passed(drafts, services)
    broken += [problem for cube in cubes for problem in broken_rules_alone(cube)]
    said = {(problem.where, problem.path) for problem in found}
    found += [problem for problem in broken if (problem.where, problem.path) not in said]
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise DocumentError(sorted(errors, key=_Order(documents)))
    peers = symmetric(graph) if peers is None and graph is not None else peers or {}
    return [topology(draft, peers) for draft in drafts], sorted(found, key=_Order(documents))


def _is_foreign(data: Any) -> str | None:
    """The error for a document that belongs to another program, so that one sentence is enough; None if it is ours."""
    if isinstance(data, list) and any(isinstance(entry, dict) for entry in data):
        return None
    if isinstance(data, dict):
        version, kind = data.get("apiVersion"), data.get("kind")
        if kind == "Topology" or str(version).startswith("polycube.network/") or (kind is None and "spec" in data):
            return None
        if isinstance(kind, str) and isinstance(version, str):
            what = f"a {quoted(kind)[1:-1]} of {quoted(version)[1:-1]}"
            return f"this is {what}, and no topology (kind: Topology, apiVersion: {_VERSION})"
    return f"this is no topology: {_FORMS}"


def _by_name(documents: Sequence[Document], services: Services, merge: bool) -> tuple[list[Document], list[Problem]]:
    """The documents, those of one name merged if that is wanted and refused if not."""
    groups: dict[Any, list[Document]] = {}
    for number, document in enumerate(documents):
        name = _name_of(document.data)
        groups.setdefault(name if name is not None else number, []).append(document)
    if merge:
        merged = [merge_documents(group, services) if len(group) > 1 else (group[0], []) for group in groups.values()]
        return [document for document, _ in merged], [problem for _, problems in merged for problem in problems]
    problems = []
    place = ("metadata", "name")
    again = set()  # copies, of which nothing more is said than that they are
    for name, (first, *others) in groups.items():
        for other in others:
            again.add(other)
            related = ((first.position(place), "the first one is here"),)
            problems.append(Problem(f'there are two documents of topology "{name}"', "/metadata/name", other.position(place),
                                    "to make one topology of them, use --merge", related=related))
    return [document for document in documents if document not in again], problems


def _name_of(data: Mapping[str, Any]) -> str | None:
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else None


class _Order:
    """The order of the documents, and of the text in each."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.files = {document.file: number for number, document in reversed(list(enumerate(documents)))}

    def __call__(self, problem: Problem) -> tuple[int, int, int]:
        where = problem.where
        return (self.files.get(where.file, len(self.files)), where.line, where.column) if where else (-1, 0, 0)
