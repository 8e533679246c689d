"""The YANG library (RFC 8525): the modules of the data, one per service, and the content-id of the set."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from reconciler.api.model_text import model_text
from reconciler.service.registry import Service, Services

REVISION = "2019-01-04"  # of ietf-yang-library
_HEADER = re.compile(r'^\s*(namespace|revision)\s+"?([^";{\s]+)', re.MULTILINE)


def library(services: Services) -> dict[str, Any]:
    modules = [_module(service) for name in services.names() if (service := services.get(name)) is not None]
    content = hashlib.sha256(repr(modules).encode()).hexdigest()[:16]
    return {
        "ietf-yang-library:yang-library": {
            "module-set": [{"name": "services", "module": modules}],
            "schema": [{"name": "services", "module-set": ["services"]}],
            "datastore": [{"name": f"ietf-datastores:{name}", "schema": "services"} for name in ("running", "operational")],
            "content-id": content,
        }
    }


def _module(service: Service) -> dict[str, str]:
    """Without an installed YANG model, as for a remote service, there is no revision."""
    known = dict(_HEADER.findall(model_text(service)[:4096]))
    revision = {"revision": known["revision"]} if "revision" in known else {}
    return {"name": service.name, **revision, "namespace": known.get("namespace", f"http://polycube.network/{service.name}")}
