"""Handlers of the fixed paths of the API: services, cubes, netdevs, topology, connect, attach, version, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconciler.api import cubes, wires
from reconciler.api.answers import NOTHING, Answer, Refusal, missing, not_allowed
from reconciler.api.model_text import model_text
from reconciler.api.nodes import briefs
from reconciler.api.ownership import FIXED, refuse_others, refuse_reserved
from reconciler.api.registered import register, unregister
from reconciler.api.request import Request
from reconciler.api.store import Store
from reconciler.document import Document
from reconciler.engine.edit import CREATE, Change, Edited, edit
from reconciler.kernel import rtnl

Handler = Callable[[Request, Store], Answer]


def root(request: Request, store: Store) -> Answer:
    """Links to the resources."""
    _only(request, "GET")
    rels = ["", *FIXED, *store.options.services.names(), *store.look().cubes]
    base = f"//{request.host}/polycube/v1/"
    return Answer(200, [{"rel": rel or "self", "href": f"{base}{rel}/" if rel else base} for rel in rels])


def version(request: Request, _store: Store) -> Answer:
    from importlib.metadata import version as version_of

    _only(request, "GET")
    return Answer(200, {"polycubed": {"version": version_of("pcn")}})


def services(request: Request, store: Store) -> Answer:
    """List services, register or unregister one. The others are from packages and --services."""
    known = store.options.services
    name = request.words[1] if len(request.words) > 1 else ""
    if store.only_plans:
        raise Refusal(400, "invalid-value", "a service is registered without a plan", "/services")
    if request.method == "POST" and not name:
        return register(request, store)
    service = known.get(name)
    if request.method == "DELETE" and name:
        return unregister(request, name, store)
    if name and service is None:
        raise missing(known.why_not(name) or f"there is no service {name!r}", f"/services/{name}")
    if request.method != "GET":
        raise not_allowed("GET", "DELETE", "OPTIONS") if name else not_allowed("GET", "POST", "OPTIONS")
    if service is not None:
        return Answer(200, [{"name": name, "servicecontroller": "pcn", "datamodel": model_text(service)}])
    return Answer(200, [_service(store, each) for each in known.names()])


def _service(store: Store, name: str) -> dict[str, str]:
    service = store.options.services.get(name)
    meta: Mapping[str, Any] = service.meta if service is not None else {}
    head = {"name": name, "servicecontroller": "pcn", "description": str(meta.get("description", ""))}
    return head | {"version": str(meta.get("version", "")), "pyang_repo_id": "", "swagger_codegen_repo_id": ""}


def all_cubes(request: Request, store: Store) -> Answer:
    """All cubes by service, one, or creation of a list."""
    if request.method == "POST" and len(request.words) == 1:
        return _create_all(request, store)
    if request.method != "GET" or len(request.words) > 2:
        raise not_allowed("GET", "OPTIONS") if len(request.words) > 1 else not_allowed("GET", "POST", "OPTIONS")
    seen = store.look()
    if len(request.words) == 2:
        name = request.words[1]
        if name not in seen.cubes:
            raise missing(f'there is no cube "{name}"', f"/cubes/{name}")
        return Answer(200, cubes.brief(store, seen, name), {"ETag": f'"{store.revision(seen.cubes[name].topology, seen)}"'})
    found: dict[str, list[Any]] = {}
    for each in briefs(store, seen):
        found.setdefault(each["service-name"], []).append(each)
    return Answer(200, dict(sorted(found.items())))


def _create_all(request: Request, store: Store) -> Answer:
    """Create the cubes of a file of Polycube's: `parent` is where one is attached; chains are in reverse order."""
    from reconciler.check.polycube import topology_of

    sent = request.json()
    if not isinstance(sent, list):
        raise Refusal(400, "invalid-value", "expected an array of cubes")
    listed = [_without_links(cube) for cube in sent]
    formed, problems = topology_of(Document("the request", "", listed), store.options.services)
    wrong = [problem for problem in problems if problem.severity == "error"]
    if wrong:
        raise Refusal(400, "invalid-value", wrong[0].message, wrong[0].path)
    spec = formed.data["spec"]
    for cube in spec["cubes"]:
        if isinstance(cube, dict) and isinstance(cube.get("name"), str):
            refuse_reserved(store, cube["name"])

    def make(document: Mapping[str, Any]) -> Edited:
        for cube in spec["cubes"]:
            if isinstance(cube, dict) and isinstance(cube.get("name"), str):
                refuse_others(store, document, cube["name"], creates=True)
        edited = edit(document, "", Change(CREATE, [cubes.configuration(cube) for cube in spec["cubes"]]), store.options.services)
        for entry in spec.get("attachments", ()):
            for name in entry["tcubes"]:
                edited.document = wires.attach(edited.document, name, entry["netdev"], {"position": "last"})
        return edited

    written = store.write(make, request.match)
    return Answer(201, NOTHING, {"ETag": f'"{written.revision}"'})


def _without_links(cube: Any) -> Any:
    return {name: value for name, value in cube.items() if name != "_links"} if isinstance(cube, dict) else cube


def netdevs(request: Request, _store: Store) -> Answer:
    _only(request, "GET")
    addresses: dict[int, list[str]] = {}
    for each in rtnl.addresses():
        addresses.setdefault(each.index, []).append(each.address)
    found = [
        {"name": name, **({"addresses": addresses[netdev.index]} if netdev.index in addresses else {})}
        for name, netdev in sorted(rtnl.links().items())
    ]
    if len(request.words) == 1:
        return Answer(200, found)
    named = [netdev for netdev in found if netdev["name"] == request.words[1]]
    if not named:
        raise missing(f"there is no netdev {request.words[1]!r}", f"/netdevs/{request.words[1]}")
    return Answer(200, named)


def topology(request: Request, store: Store) -> Answer:
    """All cubes, or the chain that a netdev's packets pass."""
    _only(request, "GET")
    seen = store.look()
    if len(request.words) == 1:
        return Answer(200, briefs(store, seen))
    name = request.words[1]
    chain = list(seen.traced.attachments.get(name, ()))
    end = next((f"{cube}:{port}" for (cube, port), peer in seen.traced.peers.items() if peer == name), "stack")
    inner = list(seen.traced.tcubes.get((end.partition(":")[0], end.partition(":")[2]), ()))
    passed = [*chain, *inner]
    if not passed and end == "stack":
        return Answer(200, {"name": name})
    indices = [f"{cube},\t{number},\t{len(passed) - 1 - number}" for number, cube in enumerate(passed)]
    way = [*passed, end]
    return Answer(200, {
        "name": name,
        "cubes, ingress_index, egress_index": indices,
        "ingress service chain": " ---> ".join(way),
        "egress service chain": " ---> ".join(reversed(way)),
    })  # fmt: skip


def connect(request: Request, store: Store) -> Answer:
    one, other = _texts(request, "peer1", "peer2")
    change = wires.connect if request.words[0] == "connect" else wires.disconnect
    return _wired(request, store, (one, other), lambda document: change(document, one, other))


def attach(request: Request, store: Store) -> Answer:
    cube, place = _texts(request, "cube", "port")
    position = {name: str(value) for name, value in request.object().items() if name in ("position", "before", "after")}
    if request.words[0] == "attach":
        return _wired(request, store, (cube,), lambda document: wires.attach(document, cube, place, position))
    return _wired(request, store, (cube,), lambda document: wires.detach(document, cube, place))


def _wired(
    request: Request, store: Store, ends: tuple[str, ...], change: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Answer:
    def make(document: Mapping[str, Any]) -> Edited:
        ours = {cube["name"] for cube in document["spec"].get("cubes", ())}
        named = [end.partition(":")[0] for end in ends if ":" in end or end in store.owners()]
        if not any(name in ours for name in named):
            for name in named:
                refuse_others(store, document, name)
        return Edited(change(document))

    written = store.write(make, request.match)
    return Answer(200, NOTHING, {"ETag": f'"{written.revision}"'})


def _texts(request: Request, *names: str) -> tuple[str, ...]:
    _only(request, "POST")
    if len(request.words) > 1:
        raise missing("there is nothing below this", "/".join(request.words))
    body = request.json()
    if not isinstance(body, dict):
        raise Refusal(400, "invalid-value", "expected an object")
    for name in names:
        if name not in body:
            raise Refusal(400, "missing-attribute", f'"{name}" is missing', name, name)
        if not isinstance(body[name], str | int | float):
            raise Refusal(400, "bad-attribute", "expected text", name, name)
    return tuple(str(body[name]) for name in names)


def metrics(request: Request, store: Store) -> Answer:
    """Drops and carried packets, and metrics that models declare, in Prometheus' format."""
    from reconciler.agent import stats
    from reconciler.agent.declared_metrics import as_polycube, samples, shown

    _only(request, "GET")
    lines = ["# TYPE pcn_cube_drops_total counter"]
    found = stats.read(store.options.root, store.options.services)
    for cube in found:
        lines += [f'pcn_cube_drops_total{{cubeName="{cube.name}",reason="{why}"}} {count}' for why, count in cube.drops.items()]
    for what in ("packets", "bytes"):
        lines.append(f"# TYPE pcn_port_{what}_total counter")
        for cube in found:
            for port in cube.ports:
                for way in ("rx", "tx") if port.counters is not None else ():
                    labels = f'cubeName="{cube.name}",port="{port.name}",direction="{way}"'
                    lines.append(f"pcn_port_{what}_total{{{labels}}} {getattr(port.counters, f'{way}_{what}')}")
    services = store.options.services
    declared = as_polycube(samples(services, shown(store.options.root, services, found)))
    return Answer(200, "\n".join(lines) + "\n" + declared, kind="text/plain; version=0.0.4; charset=utf-8")


def openapi(request: Request, store: Store) -> Answer:
    from reconciler.api.openapi import document_of

    _only(request, "GET")
    known = [service for name in store.options.services.names() if (service := store.options.services.get(name)) is not None]
    return Answer(200, document_of([service.schema for service in known]), kind="application/json")


def _only(request: Request, *allowed: str) -> None:
    if request.method not in allowed:
        raise not_allowed(*allowed, "OPTIONS")


HANDLERS: Mapping[str, Handler] = {
    "version": version, "services": services, "cubes": all_cubes, "netdevs": netdevs, "topology": topology, "metrics": metrics,
    "connect": connect, "disconnect": connect, "attach": attach, "detach": attach, "openapi.json": openapi,
}  # fmt: skip
