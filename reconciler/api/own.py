"""pcn's own resources: graph, drift, models and healing below /web; /pcn/v1/topologies; and the plan of a write."""

from __future__ import annotations

from reconciler.api.answers import JSON, Answer, missing, not_allowed
from reconciler.api.drift import CachedDrift
from reconciler.api.page import model
from reconciler.api.picture import picture
from reconciler.api.request import Request
from reconciler.api.store import Planned, Store, revision_of_text
from reconciler.graph.documents import document_data
from reconciler.present import PLANNED, ROWS_IN_TEXT, Report, document
from reconciler.present.rows import Decoder
from reconciler.present.text import render

TOPOLOGIES = ("pcn", "v1", "topologies")


def answer(request: Request, store: Store) -> Answer:
    """GET `/web/graph`, `/web/drift` and `/web/models/<service>`; POST to `/web/heal` repairs drift."""
    if request.words[:3] == TOPOLOGIES:
        return _topologies(request, store)
    match request.words[1:]:
        case ("heal",):
            _only(request, "POST")
            written = store.heal()
            return Answer(200, {"steps": len(written.result.plan.steps)}, {"ETag": f'"{written.revision}"'}, JSON)
        case ("graph",):
            _only(request, "GET")
            return Answer(200, picture(store), kind=JSON)
        case ("drift",):
            _only(request, "GET")
            return Answer(200, CachedDrift(store.options)(), kind=JSON)
        case ("models", service):
            _only(request, "GET")
            return Answer(200, model(store, service), kind=JSON)
    raise missing("there is nothing under this path", "/" + "/".join(request.words))


def _topologies(request: Request, store: Store) -> Answer:
    """All applied topologies with their revisions, or the document of one, as `pcn-apply` takes it."""
    _only(request, "GET")
    texts = store.texts()
    match request.words[3:]:
        case ():
            return Answer(200, {name: revision_of_text(texts[name]) for name in sorted(texts)}, kind=JSON)
        case (name,) if name in texts:
            return Answer(200, document_data(texts[name]), {"ETag": f'"{revision_of_text(texts[name])}"'}, JSON)
    raise missing("no such topology is applied", "/" + "/".join(request.words))


def plan(planned: Planned, store: Store) -> Answer:
    """The plan of a write as in `pcn-apply --plan -o json`, and as `text`. The ETag is for If-Match: exactly this plan is then
    applied."""
    result = planned.result
    decoder = Decoder(result.session, store.options.services)
    told = Report(result.session, decoder, result.plan.steps, PLANNED, result.warnings, None, result.plan.pending, ROWS_IN_TEXT)
    found = document(told)
    return Answer(200, {"text": render(found, done=False), **found}, {"ETag": f'"{planned.revision}"'}, JSON)


def _only(request: Request, method: str) -> None:
    if request.method != method:
        raise not_allowed(method)
