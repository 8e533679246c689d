"""The OpenAPI documents are such, and true: a walk over them gets no answer that they do not have."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from openapi_spec_validator import validate

from reconciler.api import routes
from reconciler.api.answers import NOTHING
from reconciler.api.openapi import document_of
from reconciler.api.request import Request, words_of
from reconciler.api.saved import SavedTopology
from reconciler.api.store import Store
from reconciler.engine.apply import Options, drift
from reconciler.service.registry import Services
from schemas.generate.__main__ import COMMITTED, OPENAPI, OPENAPI_SUFFIX, built_in_schemas, openapi_documents, out_of_date
from tests.lib.commands import pcn

SERVICES = Services()
NAMES = SERVICES.names()
JSON = "application/yang.data+json"


def described(*names: str) -> dict[str, Any]:
    return document_of([SERVICES.get(name).schema for name in names])


def test_the_committed_documents_are_what_the_models_give_and_no_other_is_there():
    assert out_of_date(openapi_documents(built_in_schemas()), OPENAPI, OPENAPI_SUFFIX) == []
    assert len(list(COMMITTED.glob("*.schema.json"))) == len(list(OPENAPI.glob("*"))) + 1


@pytest.mark.parametrize("name", NAMES)
def test_each_document_is_openapi(name):
    document = described(name)
    validate(document)
    assert f"/{name}/{{cube}}" in document["paths"]


def test_all_services_together_are_one_document():
    validate(described(*NAMES))


class Walk:
    """Requests that a document describes, with values that fit it, and now and then with some that do not."""

    def __init__(self, name: str, root: str, home: Path, chance: random.Random) -> None:
        self.name, self.chance, self.document = name, chance, described(name)
        self.store = Store(Options(root=root), "rest", SavedTopology(str(home / "rest.yaml")))
        self.statuses: dict[str, int] = {}
        self.odd = 0.04  # of the values
        self.words: dict[str, str] = {}

    def resolved(self, schema: Any) -> Any:
        while isinstance(schema, dict) and "$ref" in schema:
            here: Any = self.document
            for step in schema["$ref"][2:].split("/"):
                here = here[step]
            schema = here
        return schema

    def value(self, schema: Any, deep: int = 3) -> Any:
        schema, chance = self.resolved(schema), self.chance
        if chance.random() < self.odd:
            return chance.choice([None, "", 1e9, -1, {}, [], "mist", True, "x" * 300])
        if "allOf" in schema:
            made = self.value(schema["allOf"][0], deep)
            return made | {name: self.value(self.member(schema["allOf"][0], name), 1) for name in schema.get("required", ()) if name not in made} if isinstance(made, dict) else made
        if schema.get("type") == "object":
            inner = schema.get("properties", {})
            return {name: self.value(part, deep - 1) for name, part in inner.items() if chance.random() < (0.5 if deep > 2 else 0.3)} if deep else {}
        if schema.get("type") == "array":
            return [self.value(schema["items"], deep - 1) for _ in range(chance.randrange(3))] if deep else []
        if "anyOf" in schema and "examples" not in schema:
            return self.value(chance.choice(schema["anyOf"]), deep)
        return self.leaf(schema)

    def member(self, schema: Any, name: str) -> Any:
        return self.resolved(schema)["properties"][name]

    def leaf(self, schema: dict[str, Any]) -> Any:
        options = [*schema.get("examples", ()), *schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
        if options:
            return self.chance.choice(options)
        if schema.get("type") == "integer":
            least = schema.get("minimum", 0)
            return self.chance.randint(least, min(schema.get("maximum", least + 50), least + 50))
        return {"boolean": self.chance.random() < 0.5}.get(schema.get("type", ""), self.chance.choice(["p1", "p2", "10.0.0.1", "10.0.0.0/24", "veth1"]))

    def step(self) -> None:
        paths = self.document["paths"]
        path = self.chance.choice(list(paths))
        verb = self.chance.choice([verb for verb in paths[path] if verb != "parameters"])
        filled = path
        for parameter in paths[path].get("parameters", ()):
            word = self.chance.choice(["c1", "c2"]) if parameter["name"] == "cube" else str(self.value(parameter["schema"]))
            filled = filled.replace(f"{{{parameter['name']}}}", quote(word or "x", safe=""))
        operation = paths[path][verb]
        body = operation.get("requestBody", {}).get("content", {}).get(JSON)
        text = json.dumps(self.value(body["schema"])) if body else ""
        text = self.chance.choice(["{", "null", "[]", "7"]) if body and self.chance.random() < 0.03 else text
        self.ask(verb, filled, text, operation)

    def each(self) -> set[str]:
        """Every operation once, from the cube inwards, and what deletes on the way back; keys stay the same, so that what is within
        an entry can be reached. Gives those that worked."""
        self.odd, paths, worked = 0.0, self.document["paths"], set()
        inwards = sorted(paths, key=lambda path: path.count("/"))
        order = [(path, verb) for path in inwards for verb in ("post", "get", "patch", "put") if verb in paths[path]]
        order += [(path, "delete") for path in reversed(inwards) if "delete" in paths[path]]
        rest = {(path, verb) for path in paths for verb in paths[path] if verb != "parameters"} - set(order)
        for path, verb in [*order, *sorted(rest)]:
            operation = paths[path][verb]
            body = operation.get("requestBody", {}).get("content", {}).get(JSON)
            for _ in range(3 if body else 1):  # values that fit by themselves may not fit together
                if self.ask(verb, self.reached(path), json.dumps(self.value(body["schema"])) if body else "", operation) < 300:
                    worked.add(f"{verb} {path}")
                    break
        return worked

    def reached(self, path: str) -> str:
        filled, schemas = "", {each["name"]: each["schema"] for each in self.document["paths"][path].get("parameters", ())}
        for step in path.split("/")[1:]:
            name = step.strip("{}") if step.startswith("{") else ""
            word = step if not name else "c1" if name == "cube" else self.word(f"{filled}/{name}", schemas[name])
            filled += f"/{quote(word, safe='')}"
        return filled

    def word(self, where: str, schema: Any) -> str:
        """A key, which is the same at the same place."""
        return self.words.setdefault(where, str(self.value(schema) or "x"))

    def ask(self, verb: str, path: str, text: str, operation: dict[str, Any]) -> int:
        answer = routes.answer(Request(verb.upper(), words_of(path.encode()), {}, text.encode()), self.store)
        said = f"{verb} {path} {text[:200]}: {answer.status} {'' if answer.data is NOTHING else json.dumps(answer.data)[:400]}"
        assert str(answer.status) in operation["responses"], said
        self.statuses[str(answer.status)] = self.statuses.get(str(answer.status), 0) + 1
        content = self.resolved(operation["responses"][str(answer.status)]).get("content")
        assert (answer.data is NOTHING) == (content is None), said
        if content is not None:
            schema = {**content[JSON]["schema"], "components": self.document["components"]}
            problems = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(json.loads(json.dumps(answer.data)))]
            assert problems == [], said
        return answer.status


def walked(name: str, root: str, home: Path, steps: int) -> None:
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    walk = Walk(name, root, home, random.Random(seed))
    try:
        for cube in ("c1", "c2"):
            path = f"/{name}/{{cube}}"
            body = {"ports": [{"name": "p1"}]} if "ports" in SERVICES.get(name).schema["properties"] and cube == "c1" else {}
            walk.ask("post", path.replace("{cube}", cube), json.dumps(body), walk.document["paths"][path]["post"])
        for _ in range(steps):
            walk.step()
        sys.stdout.write(f"{walk.statuses}\n")
        assert sum(count for status, count in walk.statuses.items() if status < "300") >= steps // 20, walk.statuses
        assert drift(Options(root=root)) == []
        if walk.store.texts():
            assert pcn("apply", "--check", walk.store.saved.path, code=0)
    finally:
        pcn("delete", "rest")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_of_each_node_is_answered_as_documented(name, own_root, tmp_path):
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    walk = Walk(name, own_root, tmp_path, random.Random(seed))
    try:
        path = f"/{name}/{{cube}}"
        walk.ask("post", path.replace("{cube}", "c1"), "{}", walk.document["paths"][path]["post"])
        worked = walk.each()
        everything = [f"{verb} {path}" for path, verbs in walk.document["paths"].items() for verb in verbs if verb != "parameters"]
        sys.stdout.write(f"{len(worked)} of {len(everything)} worked; {walk.statuses}\n")
        assert len(worked) > len(everything) * 0.2, sorted(set(everything) - worked)
        assert drift(Options(root=own_root)) == []
    finally:
        pcn("delete", "rest")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_of_a_walk_is_as_documented(name, own_root, tmp_path):
    walked(name, own_root, tmp_path, 80)


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_of_a_long_walk_is_as_documented(name, own_root, tmp_path):
    walked(name, own_root, tmp_path, 250)
