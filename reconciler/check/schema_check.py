"""A document's data against its schemas: one spelling for every value, and everything that does not fit.

The document without its cubes is checked with the topology's schema, each cube with its own service's.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.check.cube_memo import MEMO
from reconciler.check.messages import Finding, findings, quoted
from reconciler.check.normal import EqualKeys, normalise
from reconciler.check.schema import Service, Services, key_finder, service_of, topology_schema
from reconciler.check.schema_compiler import quick_test
from reconciler.document import Document, Path
from reconciler.document.paths import display
from reconciler.document.suggest import near_miss
from reconciler.errors import Hint, Problem


@dataclass(frozen=True, slots=True)
class Draft:
    """A document that was validated by itself. `data` is normalised, and still has the invalid values."""

    document: Document
    data: Any
    services: Services
    problems: tuple[Problem, ...] = ()

    def problem(self, path: Path, message: str, hint: str | Hint = "", *, key: bool = False,
                related: Sequence[tuple[Draft, Path, str]] = (), severity: str = "error") -> Problem:
        """A problem at a path of this draft; `related` are other places, each with a note."""
        others = tuple((draft.document.position(place), note) for draft, place, note in related)
        return Problem(message, self.say(path), self.document.position(path, key=key), hint, severity, others)

    def say(self, path: Path) -> str:
        return display(path, self.data, key_finder(self.data, self.services))

    def cubes(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The cubes that are mappings, with their paths."""
        spec = self.data.get("spec") if isinstance(self.data, dict) else None
        cubes = spec.get("cubes") if isinstance(spec, dict) else None
        for index, cube in enumerate(cubes if isinstance(cubes, list) else ()):
            if isinstance(cube, dict):
                yield ("spec", "cubes", index), cube


def check_schema(document: Document, services: Services) -> Draft:
    """The draft of a document in topology form, with its problems."""
    document, wrong_lists = _with_lists(document, services)
    data, equal = normalise(topology_schema(), document.data, document.source_text)
    found = [_of_equal_keys(each) for each in equal] + list(_invalid(topology_schema(), data))
    draft = Draft(document, data, services)
    for path, cube in draft.cubes():
        service = service_of(cube, services)
        if service is None:
            found += _unknown_service(path, cube, services)
            continue
        raw = document.data["spec"]["cubes"][path[-1]]
        right = MEMO().find(raw, service)
        if right is not None:
            data["spec"]["cubes"][path[-1]] = right.normal
            continue
        normal, equal = normalise(service.schema, cube, document.source_text, path)
        data["spec"]["cubes"][path[-1]] = normal
        wrong = [_of_equal_keys(each) for each in equal] + [_below(path, finding) for finding in _invalid_cube(service, normal)]
        if not wrong:
            MEMO().add(raw, service, normal)
        found += wrong
    return Draft(document, data, services, (*wrong_lists, *_problems(draft, found)))


def _with_lists(document: Document, services: Services) -> tuple[Document, list[Problem]]:
    """The document with its shared lists written out, and what is wrong with them."""
    spec = document.data.get("spec") if isinstance(document.data, dict) else None
    if not isinstance(spec, dict) or "shared" not in spec:
        return document, []
    from reconciler.check.shared import written_out

    return written_out(document, services)


def _invalid(schema: Mapping[str, Any], data: Any) -> Iterator[Finding]:
    if quick_test(schema)(data):
        return
    from jsonschema import Draft7Validator

    scalars: set[Path] = set()
    for error in Draft7Validator(schema).iter_errors(data):
        path = tuple(error.absolute_path)
        if path not in scalars:  # of a text that is too long and has a wrong letter as well, one is enough
            yield from findings(error, schema, data)
        if not isinstance(error.instance, dict | list):
            scalars.add(path)


def _invalid_cube(service: Service, cube: dict[str, Any]) -> Iterator[Finding]:
    if service.kind == "transparent" and "ports" in cube and "ports" not in service.schema["properties"]:
        message = f"a {service.name} is a transparent cube: it has no ports"
        yield Finding(("ports",), message, "list it under tcubes of a port, or attach it to a netdev", key=True)
        cube = {name: value for name, value in cube.items() if name != "ports"}
    yield from _invalid(service.schema, cube)


def _unknown_service(path: Path, cube: dict[str, Any], services: Services) -> list[Finding]:
    name = cube.get("service-name")
    if not isinstance(name, str):
        return []  # said by the topology's schema
    if why := services.why_not(name):
        return [Finding((*path, "service-name"), why)]
    known = sorted(services.names())
    hint = near_miss(name, lambda: known, f"there are {', '.join(known)}; --services DIR has more" if known else "")
    return [Finding((*path, "service-name"), f"unknown service {quoted(name)}", hint)]


def _of_equal_keys(equal: EqualKeys) -> Finding:
    what = quoted(",".join(str(part) for part in equal.key if part is not None))
    name = {"cubes": "cube", "ports": "port", "links": "link", "attachments": "netdev"}.get(str(equal.path[-1]), "entry")
    related = (((*equal.path, equal.first), "the first one is here"),)
    return Finding((*equal.path, equal.second), f"duplicate {name} {what}", related=related)


def _below(path: Path, finding: Finding) -> Finding:
    related = tuple(((*path, *place), note) for place, note in finding.related)
    return Finding((*path, *finding.path), finding.message, finding.hint, finding.key, related)


def _problems(draft: Draft, found: Sequence[Finding]) -> Iterator[Problem]:
    """Each thing once: a cube's name, for one, is checked by two schemas."""
    seen: set[tuple[Path, str]] = set()
    for finding in found:
        if (finding.path, finding.message) not in seen:
            seen.add((finding.path, finding.message))
            related = [(draft, place, note) for place, note in finding.related]
            yield draft.problem(finding.path, finding.message, finding.hint, key=finding.key, related=related)
