"""The cubes of an imported topology, with its shared lists where they are used."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.check.shared import written_out
from reconciler.document import Document
from reconciler.service.registry import Services


def cubes_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    whole, problems = written_out(Document("imported", "", document), Services())
    assert not problems
    cubes: list[dict[str, Any]] = whole.data["spec"]["cubes"]
    return cubes
