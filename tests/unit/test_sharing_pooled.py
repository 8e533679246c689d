"""Two long lists that say much the same are made of the same objects, and say what they said."""
from __future__ import annotations

import copy
import random
from typing import Any

from reconciler.agent.files import Files
from reconciler.incremental.sharing import pooled


def entry(number: int, *ports: int) -> dict[str, Any]:
    return {"vip": f"10.0.{number >> 8}.{number & 255}", "vport": 80, "backend": [{"ip": "10.9.0.1", "port": port} for port in ports]}


def test_what_is_equal_is_the_same_object_wherever_it_stands() -> None:
    rng = random.Random(4)
    for _ in range(100):
        first = [entry(number, rng.randrange(3)) for number in rng.sample(range(300), 100)]
        second = copy.deepcopy(rng.sample(first, 60)) + [entry(rng.randrange(300), rng.randrange(3)) for _ in range(20)]
        made = pooled(first, second)
        assert made == second
        for each in made:
            assert not any(each == other and each is not other for other in first if other["vip"] == each["vip"])
        assert pooled(first, made) is made or any(first.count(each) > 1 for each in first)


def test_a_document_and_its_edits_have_one_object_for_what_two_cubes_say() -> None:
    services = [entry(number, 1, 2) for number in range(200)]
    cubes = [{"name": name, "service-name": "lbrp", "service": copy.deepcopy(services)} for name in ("pods", "host")]
    document = {"kind": "Topology", "metadata": {"name": "t"}, "spec": {"cubes": cubes}}
    files = Files([])
    files.give("k:t", document, "1")
    mine, theirs = (cube["service"] for cube in files.given["k:t"].data["spec"]["cubes"])
    assert files.given["k:t"].data == document
    assert all(one is other for one, other in zip(mine, theirs, strict=True))
    held = files.given["k:t"].data
    files.give("k:t", copy.deepcopy(document), "2")
    assert files.given["k:t"].data is held, "nothing is another one"
    edited = [{**cube, "service": [*cube["service"][:7], entry(7, 9), *cube["service"][8:]]} for cube in held["spec"]["cubes"]]
    files.give("k:t", {**held, "spec": {"cubes": edited}}, "3", is_shared=True)
    mine, theirs = (cube["service"] for cube in files.given["k:t"].data["spec"]["cubes"])
    assert mine[7]["backend"] == [{"ip": "10.9.0.1", "port": 9}]
    assert all(one is other for one, other in zip(mine, theirs, strict=True))
