"""Routing: a fixed path, a service and its cubes, or a cube by its own name."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.api import fixed, own, restconf
from reconciler.api import help as helping
from reconciler.api.answers import Answer, Refusal, not_allowed, refused
from reconciler.api.nodes import at_node, briefs
from reconciler.api.ownership import refuse_two_sources
from reconciler.api.request import Request
from reconciler.api.store import Planned, Store
from reconciler.errors import PcnError
from reconciler.service.registry import Service

WRITES = ("POST", "PUT", "PATCH", "DELETE")
METHODS = ("GET", "HEAD", "OPTIONS", *WRITES)
PREFIX = ("polycube", "v1")


def answer(request: Request, store: Store) -> Answer:
    """The answer to a request, also for pcn's errors; others are raised."""
    return _asked(request, store, _answer)


def own_answer(request: Request, store: Store) -> Answer:
    """As `answer`, for a path below /web."""
    return _asked(request, store, own.answer)


def _asked(request: Request, store: Store, handler: Callable[[Request, Store], Answer]) -> Answer:
    """With ?plan, a write returns its plan and changes nothing."""
    store.only_plans = request.method in WRITES and "plan" in request.query
    try:
        return handler(request, store)
    except Planned as planned:
        return own.plan(planned, store)
    except (Refusal, PcnError) as error:
        return refused(error)
    finally:
        store.only_plans = False


def restconf_answer(request: Request, store: Store, raw_path: bytes) -> Answer:
    """As `answer`, for a path below /restconf, still encoded."""
    try:
        if request.method in WRITES:
            refuse_two_sources(store)
        return restconf.answer(request, store, raw_path)
    except (Refusal, PcnError) as error:
        return restconf.refused(refused(error), request.method)


def _answer(request: Request, store: Store) -> Answer:
    if request.method == "OPTIONS":
        return helping.help_at(request, store)
    if not request.words:
        return fixed.root(request, store)
    if request.method in WRITES:
        refuse_two_sources(store)
    first, *rest = request.words
    if first in fixed.HANDLERS:
        return fixed.HANDLERS[first](request, store)
    service = store.options.services.get(first)
    if service is None:
        return at_node(request, store, None, first, rest)
    return at_node(request, store, service, rest[0], rest[1:]) if rest else _of_service(request, store, service)


def _of_service(request: Request, store: Store, service: Service) -> Answer:
    """The cubes of a service; or create or replace the one that the body names."""
    if request.method == "GET":
        return Answer(200, briefs(store, store.look(), service.name))
    if request.method not in ("POST", "PATCH"):
        raise not_allowed("GET", "POST", "PATCH", "OPTIONS")
    body = request.object()
    if not isinstance(body.get("name"), str):
        raise Refusal(400, "missing-attribute", '"name" is missing', "name", "name")
    return at_node(request, store, service, body["name"], ())
