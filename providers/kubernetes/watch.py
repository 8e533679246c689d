"""A cache of one kind of objects of the API server: a list, then a watch that is resumed where it ended.

    list ──resourceVersion──▶ watch ──ended──▶ watch from the last version (bookmarks advance it) ──410 Gone──▶ list
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from providers.kubernetes.api import Api, ApiError
from providers.kubernetes.state import Name, Object

log = logging.getLogger("pcn.k8s")
PAGE = 500
_SHORTEST, _LONGEST = 300, 360  # seconds of a watch, chosen at random so that watches do not end together
_FIRST_PAUSE, _LAST_PAUSE, _ABSENT_PAUSE = 0.2, 10.0, 30.0
_ABSENT = (403, 404)  # the server has no such kind, or denies access to it


@dataclass(slots=True)
class Objects:
    """The objects of one kind, by namespace and name. An unchanged object stays identical."""

    by_name: dict[Name, Object] = field(default_factory=dict)
    version: str = ""
    is_synced: bool = False
    _taken: dict[Name, Object] = field(default_factory=dict)

    def all(self) -> Mapping[Name, Object]:
        """A snapshot: the identical mapping until something changes."""
        if self._taken != self.by_name:  # cheap: identical objects are not compared
            self._taken = dict(self.by_name)
        return self._taken

    def replace(self, items: Mapping[Name, Object], version: str) -> bool:
        """Take a complete list; whether anything changed."""
        changed = items.keys() != self.by_name.keys()
        for name, item in items.items():
            old = self.by_name.get(name)
            if old is None or _revision(old) != _revision(item):
                self.by_name[name], changed = item, True
        for name in self.by_name.keys() - items.keys():
            del self.by_name[name]
        first, self.version, self.is_synced = not self.is_synced, version, True
        return changed or first

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take an event of a watch; whether anything changed. Raises ApiError for an ERROR event."""
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise ApiError(int(item.get("code") or 500), str(item.get("message", "the watch failed")))
        self.version = _revision(item) or self.version
        name = name_of(item)
        if kind == "DELETED":
            return self.by_name.pop(name, None) is not None
        if kind in ("ADDED", "MODIFIED") and _revision(self.by_name.get(name, {})) != _revision(item):
            self.by_name[name] = slim(item)
            return True
        return False


def name_of(item: Object) -> Name:
    about = item.get("metadata") or {}
    return about.get("namespace", ""), about.get("name", "")


def _revision(item: Object) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion", ""))


def slim(item: dict[str, Any]) -> Object:
    """`item` itself, without long fields that are not used: of annotations, only pcn's are kept."""
    about = item.get("metadata") or {}
    about.pop("managedFields", None)
    if kept := {key: value for key, value in (about.pop("annotations", None) or {}).items() if key.startswith("pcn/")}:
        about["annotations"] = kept
    return item


async def follow(
    api: Api, path: str, objects: Objects, changed: Callable[[], None], query: str = "", *, optional: bool = False
) -> None:
    """Runs for ever. Failures are retried with exponential backoff and jitter; the objects stay meanwhile. An `optional`
    kind that does not exist counts as listed, and is requested periodically."""
    pause = _FIRST_PAUSE
    while True:
        try:
            if not objects.version:
                await _list(api, path, objects, changed, query)
            await _watch(api, path, objects, changed, query)
            pause = _FIRST_PAUSE
        except ApiError as error:
            if error.status == 410:
                log.info("%s: the server has forgotten version %s, so all is listed again", path, objects.version)
                objects.version = ""
                continue
            if optional and error.status in _ABSENT:
                _is_absent(objects, changed)
                await asyncio.sleep(_ABSENT_PAUSE)
                continue
            log.warning("%s: %s", path, error)
        except (TimeoutError, ValueError, KeyError) as error:
            log.warning("%s: %s: %s", path, type(error).__name__, error)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        pause = min(_LAST_PAUSE, pause * 2)


def _is_absent(objects: Objects, changed: Callable[[], None]) -> None:
    """Cached objects stay: a restarted server may not serve them yet."""
    objects.version = ""
    if not objects.is_synced:
        objects.is_synced = True
        changed()


async def _list(api: Api, path: str, objects: Objects, changed: Callable[[], None], query: str) -> None:
    items: dict[Name, Object] = {}
    go_on = ""
    while True:
        found = await api.get(f"{path}?limit={PAGE}{query}" + (f"&continue={quote(go_on)}" if go_on else ""))
        items |= {name_of(item): slim(item) for item in found.get("items") or ()}
        go_on = (found.get("metadata") or {}).get("continue") or ""
        if not go_on:
            break
    if objects.replace(items, _revision(found)):
        changed()


async def _watch(api: Api, path: str, objects: Objects, changed: Callable[[], None], query: str) -> None:
    seconds = random.randint(_SHORTEST, _LONGEST)  # noqa: S311 - no secret
    asked = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={quote(objects.version)}{query}"
    async with aclosing(api.lines(f"{path}?{asked}")) as events:
        async for event in events:
            if objects.take(event):
                changed()
