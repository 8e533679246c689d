"""Registration of services by Polycube's POST /services, and DELETE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.api.answers import Answer, Refusal, missing
from reconciler.api.request import Request
from reconciler.api.store import Store
from reconciler.errors import NotTrusted, ServiceRefused
from reconciler.service.ownership import refuse_others
from reconciler.service.remote import register as files

_TLS = {"ca": "/etc/pcn/tls/ca.pem", "cert": "/etc/pcn/tls/cert.pem", "key": "/etc/pcn/tls/key.pem"}


def register(request: Request, store: Store) -> Answer:
    """`{name, type: grpc, uri: HOST:PORT}`, or `{name, type: lib, uri: DIRECTORY}`. 200 if it is installed already."""
    said = request.object()
    name, kind, uri = (str(said.get(key, "")) for key in ("name", "type", "uri"))
    services = store.options.services
    if not files.is_registered(name) and services.get(name) is not None:
        return Answer(200)
    _refuse_others(request)
    if kind not in ("grpc", "lib") or not uri:
        why = f"service {name!r} is not here: give type grpc and uri HOST:PORT, or type lib and uri DIRECTORY"
        raise Refusal(400, "invalid-value", why, "/services", "name")
    try:
        files.write(name, _lib(uri) if kind == "lib" else _remote(uri, said))
    except (ServiceRefused, NotTrusted, OSError) as error:
        raise Refusal(400, "invalid-value", str(error), "/services", "uri") from None
    if kind == "lib" and services.get(name) is None:
        files.remove(name)
        raise Refusal(400, "invalid-value", services.why_not(name) or f"{uri} has no {name}.schema.json", "/services", "uri")
    return Answer(201)


def _lib(directory: str) -> dict[str, str]:
    refuse_others(directory)
    return {"directory": directory}


def _remote(uri: str, said: Mapping[str, Any]) -> dict[str, str]:
    found = {"url": uri if uri.startswith(("unix:", "https:")) else f"https://{uri}"}
    if not uri.startswith("unix:"):
        found |= {key: str(said.get(key, default)) for key, default in _TLS.items()}
    return found | {key: str(said[key]) for key in ("digest", "crl", "uid") if key in said}


def _refuse_others(request: Request) -> None:
    """Registration needs root's permission: the service runs as root, and in the kernel."""
    if not request.is_root:
        raise Refusal(403, "access-denied", f"{request.who} may not register services: only root may", "/services")


def unregister(request: Request, name: str, store: Store) -> Answer:
    if not files.is_registered(name):
        if store.options.services.get(name) is None:
            raise missing(f"there is no service {name!r}", f"/services/{name}")
        raise Refusal(409, "resource-denied", f"{name} is installed, and no more loaded than unloaded", f"/services/{name}", name)
    _refuse_others(request)
    users = sorted(cube for cube, record in store.look().cubes.items() if record.service == name)
    if users:
        raise Refusal(409, "resource-denied", f"{name} is the service of {', '.join(users)}", f"/services/{name}", name)
    files.remove(name)
    return Answer(204)
