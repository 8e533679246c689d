"""HTTP answers, and errors in RESTCONF's form: {"ietf-restconf:errors": {"error": [{"error-tag": …, "error-path": …}]}}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.errors import DocumentError, EditRefused, LockBusy, PcnError

DATA = "application/yang.data+json; charset=utf-8"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
NOTHING: Any = object()
"""No body at all; None is JSON's null."""

_STATUS = {
    "data-exists": 409,
    "data-missing": 409,
    "resource-denied": 409,
    "operation-failed": 409,
    "in-use": 409,
    "stale": 412,
    "operation-not-supported": 405,
    "unknown-element": 404,
    "access-denied": 403,
    "too-big": 413,
    "lock-denied": 503,
}
_MOST = 20
"""Maximum of errors in an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`data` is encoded as JSON, unless it is text with a media type of its own (`kind`)."""

    status: int = 200
    data: Any = NOTHING
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = DATA


class Refusal(Exception):
    """An error answer, as an exception."""

    def __init__(
        self, status: int, tag: str, message: str, path: str = "", info: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.headers = status, dict(headers or {})
        self.errors = [said(tag, message, path, info)]
        super().__init__(message)


def said(tag: str, message: str, path: str = "", info: str = "") -> dict[str, str]:
    """One error in RESTCONF's form."""
    found = {"error-type": "application", "error-tag": "operation-failed" if tag == "stale" else tag}
    found |= {"error-path": path} if path else {}
    return found | {"error-message": message} | ({"error-info": info} if info else {})


def refused(error: Exception) -> Answer:
    """Map one of pcn's exceptions to an answer; none becomes 500."""
    if isinstance(error, Refusal):
        return errors(error.status, error.errors, error.headers)
    if isinstance(error, EditRefused):
        return errors(_STATUS.get(error.tag, 400), [said(error.tag, error.message, error.path, error.info)])
    if isinstance(error, DocumentError):
        problems = [problem for problem in error.problems if problem.severity == "error"][:_MOST]
        return errors(400, [said("invalid-value", _sentence(problem), problem.path) for problem in problems])
    if isinstance(error, LockBusy):
        return errors(503, [said("lock-denied", str(error))], {"Retry-After": "5"})
    assert isinstance(error, PcnError)
    return errors(409, [said("operation-failed", str(error))])


def _sentence(problem: Any) -> str:
    hint = str(problem.hint)
    return str(problem.message) + (f" ({hint})" if hint else "")


def errors(status: int, found: Sequence[Mapping[str, str]], headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"ietf-restconf:errors": {"error": list(found)}}, headers or {})


def not_allowed(*allowed: str) -> Refusal:
    """405 with the allowed methods."""
    words = ", ".join(allowed)
    return Refusal(405, "operation-not-supported", f"here can be done: {words}", headers={"Allow": words})


def missing(what: str, path: str = "") -> Refusal:
    return Refusal(404, "data-missing", what, path)
