"""A service's model as the one schema that a cube of it is checked with."""
from __future__ import annotations

from schemas.generate.kernel import table_keywords
from schemas.generate.nodes import object_schema
from schemas.generate.placement import problems_of
from schemas.generate.yang import BASE, PCN, ModelError, Schema, Statement, extension_arg, extension_args, fail, one_line

DRAFT = "http://json-schema.org/draft-07/schema#"
DEFAULT_MAX_PORTS = 128
_GROUPINGS = {"standard-base-yang-module": "standard", "transparent-base-yang-module": "transparent"}


def is_service(module: Statement) -> bool:
    """Whether the module is a service's model, and not one of types or extensions that others import."""
    return extension_arg(module, BASE, "service-name") is not None


def service_schema(module: Statement) -> Schema:
    """The whole schema of the service that `module` models. Raises ModelError with all that is wrong with it."""
    problems = problems_of(module)
    if problems:
        raise ModelError(problems)
    about = _about(module)
    body = object_schema(module)
    properties = body["properties"]
    del properties["service-name"]["x-init-only"]
    properties["service-name"] |= {"const": module.arg}
    if about["kind"] == "standard":
        properties["ports"]["maxItems"] = about["max-ports"]
    description = module.search_one("description")
    head: Schema = {"$schema": DRAFT, "$id": f"{module.arg}.schema.json", "title": module.arg}
    head |= {"description": one_line(description.arg)} if description is not None else {}
    return head | body | table_keywords(module) | {"x-pcn-service": about}


def _about(module: Statement) -> Schema:
    kind = kind_of(module)
    ports = extension_arg(module, PCN, "max-ports")
    return {
        "name": module.arg,
        "version": extension_arg(module, BASE, "service-version") or "0.0.0",
        "description": extension_arg(module, BASE, "service-description") or "",
        "kind": kind,
        "max-ports": 0 if kind == "transparent" else int(ports) if ports is not None else DEFAULT_MAX_PORTS,
        "min-kernel": extension_arg(module, BASE, "service-min-kernel-version") or "",
        "ingress": extension_args(module, PCN, "ingress"),
        "egress": extension_args(module, PCN, "egress"),
        "floods": {"true": True, "groups": "groups"}.get(extension_arg(module, PCN, "floods") or "", False),
        "drop-reasons": extension_args(module, PCN, "drop-reason"),
        **({"taps": True} if extension_arg(module, PCN, "taps") == "true" else {}),
    }


def kind_of(module: Statement) -> str:
    """"standard" or "transparent", by the grouping that the model uses."""
    kinds = [_GROUPINGS[name] for uses in module.search("uses") if (name := uses.arg.split(":")[-1]) in _GROUPINGS]
    if len(kinds) != 1:
        raise fail(module, f"a service uses exactly one of the groupings {' and '.join(_GROUPINGS)}")
    return kinds[0]
