"""The hosts that a topology selects, and its annotations for the applying host.

    metadata:
      annotations: {pcn/suspend: "true"}
    spec:
      hosts: {names: [edge-1, "edge-*"], labels: {site: turin, role: [gw, fw]}}     absent: every host that gets the file

One of the names and all of the labels must match. A host's labels are those of /etc/pcn/labels.yaml (or $PCN_LABELS), and
hostname, arch and kernel, unless the file overrides them. Neither part is stored in the kernel, which holds this host's
topologies only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from reconciler.document import Document, Path
from reconciler.errors import DocumentError, Position, Problem
from reconciler.incremental.memo import derived

SUSPEND = "pcn/suspend"
_HOSTS, _ANNOTATIONS = ("spec", "hosts"), ("metadata", "annotations")


@dataclass(frozen=True, slots=True)
class Host:
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.labels["hostname"]


def this_host() -> Host:
    """Raises DocumentError for an unreadable or invalid file of labels."""
    about = os.uname()
    return Host({"hostname": about.nodename, "arch": about.machine, "kernel": about.release, **_labels()})


def _labels() -> dict[str, str]:
    import yaml

    path = os.environ.get("PCN_LABELS") or "/etc/pcn/labels.yaml"
    try:
        with open(path, encoding="utf-8") as file:
            said = yaml.safe_load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DocumentError([Problem(f"the host's labels cannot be read: {error}", "", Position(path, 1, 1))]) from None
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(value, str | int) for value in said.values()):
        raise DocumentError([Problem("expected labels of this host, such as 'site: turin'", "", Position(path, 1, 1))])
    return {str(name): _text(value) for name, value in said.items()}


def is_for(document: Document, host: Host) -> bool:
    """Whether a topology selects a host. An invalid selector selects every host, so that each reports it."""
    said = _at(document, _HOSTS)
    if not isinstance(said, Mapping) or list(_wrong_hosts(said)):
        return True
    names, labels = said.get("names"), said.get("labels", {})
    if names is not None and not any(fnmatchcase(host.name, name) for name in names):
        return False
    return all(host.labels.get(name) in _values(value) for name, value in labels.items())


def sets(documents: Sequence[Document]) -> list[list[Document]]:
    """The sets of documents that one host may get together: one for each name, and each label selector, that a document has.
    Without selectors, one set of all."""
    found: list[list[Document]] = []
    for document in documents:
        for host in _imagined(document):
            group = [each for each in documents if each is document or is_for(each, host)]
            if group not in found:
                found.append(group)
    return found or [list(documents)]


def _imagined(document: Document) -> Iterator[Host]:
    said = _at(document, _HOSTS)
    if not isinstance(said, Mapping) or list(_wrong_hosts(said)):
        return
    labels = {name: _values(value)[0] for name, value in said.get("labels", {}).items() if _values(value)}
    for name in said.get("names") or [labels.get("hostname", "")]:
        yield Host({**labels, "hostname": name.replace("*", "x").replace("?", "x")})


def for_whom(document: Document) -> str:
    """The selectors as text."""
    said = _at(document, _HOSTS) or {}
    labels = [f"{name}={'|'.join(_values(value))}" for name, value in said.get("labels", {}).items()]
    return ", ".join([*said.get("names", ()), *labels]) or "every host"


def is_suspended(document: Document) -> bool:
    said = _at(document, _ANNOTATIONS)
    return isinstance(said, Mapping) and said.get(SUSPEND) in (True, "true")


def problems(document: Document) -> Iterator[Problem]:
    for path, wrong in ((_HOSTS, _wrong_hosts), (_ANNOTATIONS, _wrong_annotations)):
        said = _at(document, path)
        for steps, sentence in wrong(said) if said is not None else ():
            where = (*path, *steps)
            yield Problem(sentence, "/" + "/".join(map(str, where)), document.position(where))


def without(document: Document) -> Document:
    """The document without its hosts and annotations; the same object for the same document."""
    return _for_one(document) or document


@derived
def _for_one(document: Document) -> Document | None:
    """None if it has neither."""
    data = document.data
    for outer, name in (_HOSTS, _ANNOTATIONS):
        if _at(document, (outer, name)) is not None:
            data = {**data, outer: {key: value for key, value in data[outer].items() if key != name}}
    return None if data is document.data else replace(document, data=data)


def _at(document: Document, path: Sequence[str]) -> Any:
    node = document.data
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(value: Any) -> list[str]:
    return [_text(each) for each in value] if isinstance(value, list) else [_text(value)]


def _wrong_hosts(said: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(said, Mapping):
        yield (), "expected 'names' and 'labels' of hosts"
        return
    for name in said.keys() - {"names", "labels"}:
        yield (name,), f"unknown key {name!r}: hosts are chosen by 'names' and 'labels'"
    names, labels = said.get("names", []), said.get("labels", {})
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield ("names",), "expected a list of host names, such as [edge-1, \"edge-*\"]"
    if not isinstance(labels, Mapping):
        yield ("labels",), "expected labels, such as {site: turin, role: [gw, fw]}"
        return
    for name, value in labels.items():
        if not all(isinstance(each, str | int) for each in (value if isinstance(value, list) else [value])):
            yield ("labels", name), "expected a word, or a list of words"


def _wrong_annotations(said: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(said, Mapping) or not all(isinstance(value, str) for value in said.values()):
        yield (), 'expected annotations, such as {pcn/suspend: "true"}'
    elif any(name.startswith("pcn/") for name in said):
        from reconciler.document import trial

        yield from trial.wrong(said)
