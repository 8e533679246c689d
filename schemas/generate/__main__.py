"""python -m schemas.generate: write the JSON Schemas of all models and the OpenAPI documents that follow from them, or with
--check say which are out of date."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconciler.api.openapi import document_of
from schemas.generate.service import is_service, service_schema
from schemas.generate.topology import topology_schema
from schemas.generate.yang import BUILT_IN, LIBRARY, MODELS, ModelError, load_module

SUFFIX = ".schema.json"
COMMITTED = MODELS.parent / "json"
OPENAPI, OPENAPI_SUFFIX = MODELS.parent / "openapi", ".openapi.json"
DOCUMENT = "topology"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: written, or all up to date; 1: --check found files out of date; 2: a model is wrong."""
    options = _parser().parse_args(arguments)
    try:
        files = built_in_schemas() if options.services is None else schemas_in(options.services)
    except ModelError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    directory = COMMITTED if options.services is None else options.services
    documents = openapi_documents(files) if options.services is None else {}
    if options.check:
        stale = out_of_date(files, directory) + (out_of_date(documents, OPENAPI, OPENAPI_SUFFIX) if documents else [])
        print(*(f"{path}: out of date, run python -m schemas.generate" for path in stale), sep="\n", end="\n" if stale else "")
        return 1 if stale else 0
    directory.mkdir(exist_ok=True)
    for home, texts in ((directory, files), (OPENAPI, documents)):
        for name, text in texts.items():
            home.mkdir(exist_ok=True)
            (home / name).write_text(text, encoding="utf-8")
    return 0


def built_in_schemas() -> dict[str, str]:
    """{file name: text} of all that belongs in schemas/json."""
    files = schemas_in(BUILT_IN)
    services = [name.removesuffix(SUFFIX) for name in files]
    document = topology_schema(load_module(LIBRARY / f"{DOCUMENT}.yang"), services)
    return files | {DOCUMENT + SUFFIX: as_text(document)}


def openapi_documents(files: dict[str, str]) -> dict[str, str]:
    """{file name: text} of all that belongs in schemas/openapi: a document for each service (docs/api.md)."""
    services = {name.removesuffix(SUFFIX): json.loads(text) for name, text in files.items() if name != DOCUMENT + SUFFIX}
    return {name + OPENAPI_SUFFIX: as_lines(document_of([schema])) for name, schema in services.items()}


def schemas_in(directory: Path) -> dict[str, str]:
    """{file name: text} of the services whose models are in `directory`; other modules there are left alone.

    Raises ModelError with the problems of all models, or if there is no model of a service.
    """
    files: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(directory.glob("*.yang")):
        try:
            module = load_module(path)
            if is_service(module):
                files[module.arg + SUFFIX] = as_text(service_schema(module))
        except ModelError as error:
            problems += error.problems
    if problems or not files:
        raise ModelError(dict.fromkeys(problems) or [f"{directory}: no file *.yang with a polycube-base:service-name"])
    return files


def out_of_date(files: dict[str, str], directory: Path, suffix: str = SUFFIX) -> list[Path]:
    """Files in `directory` that are missing, differ, or that no model makes any more."""
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*" + suffix)}
    return [directory / name for name in sorted(files.keys() | there.keys()) if files.get(name) != there.get(name)]


def as_text(schema: dict[str, Any]) -> str:
    """As committed: readable in a diff, the same on every machine."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def as_lines(value: Any, deep: int = 3, indent: str = "") -> str:
    """As committed where `as_text` would be long: a line for each path's verb, and for each component."""
    if not isinstance(value, dict) or not deep or not value:
        return json.dumps(value, ensure_ascii=False)
    parts = [f'{indent}  {json.dumps(name)}: {as_lines(part, deep - 1, indent + "  ")}' for name, part in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}" + ("\n" if not indent else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description="Make JSON Schemas from YANG models.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a schema is out of date")
    parser.add_argument("--services", type=Path, metavar="DIR", help="models of other services: DIR/<service>.yang")
    return parser


if __name__ == "__main__":
    sys.exit(main())
