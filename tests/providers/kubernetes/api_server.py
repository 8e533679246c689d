"""An API server of recorded objects: lists in pages, watches with bookmarks, 410 for a version that is forgotten.

It is HTTP as the real one speaks it, so that the provider under test is all there; only what it serves is made up.
"""
from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = {
    "nodes": "/api/v1/nodes", "namespaces": "/api/v1/namespaces", "pods": "/api/v1/pods", "services": "/api/v1/services",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies", "slices": "/apis/discovery.k8s.io/v1/endpointslices",
    "topologies": "/apis/polycube.network/v1/topologies",
    "admin_policies": "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies",
    "baseline_policies": "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
}


class ApiServer:
    """Listens in the network namespace of its maker. `asked` are the requests, `bookmarks` how often one is sent (seconds);
    without `admin` administrators' policies are not there."""

    def __init__(self, *, slices: str = "v1", bookmarks: float = 0.2, admin: bool = True) -> None:
        self.objects: dict[str, dict[tuple[str, str], dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.events: list[tuple[int, str, dict[str, Any]]] = []  # version, kind, event
        self.version, self.oldest, self.bookmarks = 100, 0, bookmarks
        self.changed = threading.Condition()
        self.asked: list[str] = []
        self.paths = {path.replace("/v1/endpoint", f"/{slices}/endpoint"): kind for kind, path in KINDS.items() if admin or "policy." not in path}
        self.is_away = False
        self.generation = 0
        self.pages: dict[str, list[Any]] = defaultdict(list)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()

    def put(self, kind: str, item: dict[str, Any]) -> None:
        """Make an object, or change it."""
        about = item["metadata"]
        name = about.get("namespace", ""), about["name"]
        with self.changed:
            self.version += 1
            what = "MODIFIED" if name in self.objects[kind] else "ADDED"
            found = json.loads(json.dumps(item))
            found["metadata"]["resourceVersion"] = str(self.version)
            self.objects[kind][name] = found
            self.events.append((self.version, kind, {"type": what, "object": found}))
            self.changed.notify_all()

    def delete(self, kind: str, namespace: str, name: str) -> None:
        with self.changed:
            self.version += 1
            found = self.objects[kind].pop((namespace, name))
            found = {**found, "metadata": {**found["metadata"], "resourceVersion": str(self.version)}}
            self.events.append((self.version, kind, {"type": "DELETED", "object": found}))
            self.changed.notify_all()

    def since(self, kind: str, version: int) -> list[dict[str, Any]]:
        first = bisect_right(self.events, version, key=lambda event: event[0])
        return [event for _, of, event in self.events[first:] if of == kind]

    def compact(self) -> None:
        """Forget all versions but the last one, and end the watches."""
        with self.changed:
            self.oldest = self.version + 1
            self.events.clear()
        self.cut()

    def cut(self) -> None:
        """End all watches, as a server that restarts does."""
        with self.changed:
            self.generation += 1
            self.changed.notify_all()


def _merged(old: Any, new: Any) -> Any:
    """RFC 7396."""
    if not isinstance(new, dict):
        return new
    kept = dict(old) if isinstance(old, dict) else {}
    for name, value in new.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a class
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            where = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(where.query).items()}
            api.asked.append(self.path)
            if api.is_away:
                self.close_connection = True
                self.connection.close()
                return
            kind = api.paths.get(where.path)
            if kind is None:
                self._one(where.path)
            elif "watch" in asked:
                self._watch(kind, int(asked["resourceVersion"]))
            else:
                self._list(kind, int(asked.get("limit", 500)), asked.get("continue", ""))

        def do_PATCH(self) -> None:
            """Merge into the status of a topology."""
            words, body = self.path.strip("/").split("/"), json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with api.changed:
                found = api.objects["topologies"].get(("", words[-2]))
                if found is not None:
                    api.put("topologies", _merged(found, body))
            self._say(200 if found is not None else 404, {})

        def _say(self, status: int, said: Any) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _one(self, path: str) -> None:
            words = path.strip("/").split("/")
            found = None
            if words[:3] == ["api", "v1", "namespaces"] and words[4:5] == ["pods"]:
                found = api.objects["pods"].get((words[3], words[5]))
            if found is None:
                self._say(404, {"kind": "Status", "code": 404, "message": f"{path} not found"})
            else:
                self._say(200, found)

        def _list(self, kind: str, limit: int, page: str) -> None:
            with api.changed:
                items = api.pages.pop(page, None) if page else list(api.objects[kind].values())
                assert items is not None
                about = {"resourceVersion": str(api.version)}
                if len(items) > limit:
                    about["continue"] = f"{kind}-{len(items)}/="
                    api.pages[about["continue"]] = items[limit:]
            self._say(200, {"kind": "List", "metadata": about, "items": items[:limit]})

        def _watch(self, kind: str, since: int) -> None:
            if since < api.oldest:
                self._say(410, {"kind": "Status", "code": 410, "message": "too old resource version"})
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            generation, at = api.generation, since
            try:
                while api.generation == generation and not api.is_away:
                    with api.changed:
                        found = api.since(kind, at)
                        if not found:
                            woken = api.changed.wait(api.bookmarks)
                            found = api.since(kind, at)  # the wait may be over because of its time, and something have come with it
                            if not found and not woken:
                                about = {"resourceVersion": str(api.version)}
                                found = [{"type": "BOOKMARK", "object": {"kind": kind, "metadata": about}}]
                    for event in found:
                        at = max(at, int(event["object"]["metadata"]["resourceVersion"]))
                        self._chunk(json.dumps(event).encode() + b"\n")
                self._chunk(b"")
            except OSError:
                pass
            self.close_connection = True

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    return Handler
