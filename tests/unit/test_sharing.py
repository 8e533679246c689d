"""What a document says as before are the objects of before; what is only equal to Python is another thing."""
from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.incremental.sharing import share


@pytest.mark.parametrize(("before", "after"), [("true", "1"), ("1", "true"), ("1", "1.0"), ("false", "0"), ("0", "0.0")])
@pytest.mark.parametrize("within", ["%s", '{"a": %s}', "[2, %s, 3]", '{"a": [{"b": [%s]}], "c": 1}'])
def test_a_value_of_another_type_is_another_value(before: str, after: str, within: str) -> None:
    old, new = json.loads(within % before), json.loads(within % after)
    assert json.dumps(share(old, new)) == json.dumps(new)


def test_what_is_the_same_is_the_same_object() -> None:
    old: Any = {"rule": [{"id": 1, "on": True}, {"id": 2}, {"id": 3}], "name": "fw"}
    new = json.loads(json.dumps(old))
    assert share(old, new) is old
    new["rule"][1]["id"] = 9
    shared = share(old, new)
    assert shared == new
    assert shared["rule"][0] is old["rule"][0]
    assert shared["rule"][2] is old["rule"][2]
