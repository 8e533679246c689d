"""The web page: its static files, with a content security policy that permits no other origin.

The page uses the same API as any client: /polycube/v1, /events, and three resources of its own below /web.
"""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response

from reconciler.api.answers import Refusal, not_allowed
from reconciler.api.store import Store
from reconciler.incremental.memo import once

HOME = Path(__file__).with_name("web")
WORD = "web"
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No other origin, nothing inline, no HTML from strings: names chosen by users are never more than text."""


@once
def files() -> dict[str, tuple[bytes, str]]:
    """All files of the page by path below /web, each with its media type. No other file is ever opened."""
    found = {str(path.relative_to(HOME)): path for path in sorted(HOME.rglob("*")) if path.suffix in _KINDS}
    return {name: (path.read_bytes(), _KINDS[path.suffix]) for name, path in found.items()}


def file_response(method: str, words: tuple[str, ...]) -> Response | None:
    """A file of the page; None for any other path. / and /web are the page itself. Raises Refusal."""
    below = words[1:] if words[:1] == (WORD,) else words
    found = files().get("/".join(below) or "index.html") if words[:1] == (WORD,) or not words else None
    if found is None:
        return None
    if method != "GET":
        raise not_allowed("GET")
    data, kind = found
    headers = {
        "Cache-Control": "no-cache", "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }  # fmt: skip
    return Response(data, 200, headers, f"{kind}; charset=utf-8")


def model(store: Store, name: str) -> dict[str, object]:
    """The JSON Schema of a service, from which forms are generated. Raises Refusal."""
    service = store.options.services.get(name)
    if service is None:
        raise Refusal(404, "data-missing", f"there is no service {name!r}", f"/web/models/{name}")
    return dict(service.schema)
