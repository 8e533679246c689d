"""A service's model as text, for clients that request it."""

from __future__ import annotations

import json

from reconciler.service.registry import Service


def model_text(service: Service) -> str:
    """The text of its YANG model if installed; else its JSON Schema."""
    home = service.files.schema.parent
    for place in (home / f"{service.name}.yang", home.parent / "yang" / "services" / f"{service.name}.yang"):
        if place.is_file():
            return place.read_text("utf-8")
    return json.dumps(service.schema, indent=1)
