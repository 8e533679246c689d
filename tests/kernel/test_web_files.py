"""What is below /web without a browser: the page's files and their policy, the plan of a write, healing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.page import HOME, files
from reconciler.engine.apply import Options, drift
from reconciler.kernel import linkwrite
from tests.lib.api_process import ApiProcess, as_go_sends
from tests.lib.commands import pcn


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")


def fetch(api: ApiProcess, method: str, target: str, body: str = "", **headers: str):
    return api.raw(as_go_sends(method, target, body, f"localhost:{api.port}", headers))


def test_files_of_the_page_and_nothing_else(api):
    for name, (data, kind) in files().items():
        reply = fetch(api, "GET", f"/web/{name}")
        assert (reply.status, reply.body, reply.headers["content-type"]) == (200, data, f"{kind}; charset=utf-8")
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
    assert fetch(api, "GET", "/").body == fetch(api, "GET", "/web/").body == files()["index.html"][0]
    for path in ("/web/../app.py", "/web/%2e%2e/app.py", "/web/..%2fapp.py", "/web/vendor", "/web/vendor/none.js", "/main.js"):
        assert fetch(api, "GET", path).status == 404, path
    assert fetch(api, "POST", "/web/main.js").status == 405
    assert api.raw(as_go_sends("GET", "/", "", "evil.example")).status == 403


def test_the_page_asks_for_nothing_from_elsewhere():
    for path in HOME.rglob("*"):
        if path.suffix in (".html", ".css", ".svg") or (path.suffix == ".js" and path.parent == HOME):
            found = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
            assert [each for each in found if each != "http://www.w3.org/2000/svg"] == [], path.name
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text()), path.name


def test_a_write_is_planned_and_not_done(api):
    api.ok("POST", "/simplebridge/br1/", {"ports": [{"name": "p1"}]})
    before = api.get("/br1/"), api.file.read_bytes()
    reply = api.ok("PATCH", "/br1/fdb/aging-time/?plan", "60")
    assert reply.json["summary"]["map_writes"] == 1
    assert "fdb/aging-time: 300 -> 60" in reply.json["text"]
    assert api.ok("DELETE", "/br1/?plan").json["steps"]
    assert api.ok("POST", "/cubes/?plan", [{"name": "br2", "service-name": "simplebridge"}]).json["steps"]
    assert (api.get("/br1/"), api.file.read_bytes()) == before
    assert api("PATCH", "/br1/fdb/aging-time/?plan", '"soon"').status == 400
    assert api("POST", "/br1/fdb/flush/?plan", "{}").error["error-message"] == "fdb/flush edits no document, so it has no plan"
    assert api("POST", "/services/?plan", {"name": "x", "type": "grpc", "uri": "unix:/x"}).status == 400
    assert api("PATCH", "/br1/fdb/aging-time/", "60", If_Match=reply.headers["etag"]).status == 204
    assert api("PATCH", "/br1/fdb/aging-time/", "90", If_Match=reply.headers["etag"]).status == 412


def test_drift_is_told_and_mended(api):
    api.ok("POST", "/simplebridge/br1/", {"ports": [{"name": "p1"}]})
    assert fetch(api, "GET", "/web/drift").json["drift"] == []
    (Path(api.root) / "cubes" / "br1" / "ports" / "p1").unlink()
    told = fetch(api, "GET", "/web/drift").json
    assert [entry["subject"] for entry in told["drift"]] == ["cube/br1"]
    assert fetch(api, "POST", "/web/heal?plan").json["steps"]
    assert drift(Options(root=api.root))
    assert fetch(api, "POST", "/web/heal").status == 200
    assert drift(Options(root=api.root)) == []
    assert fetch(api, "GET", "/web/graph").json["cubes"][0]["ports"][0]["name"] == "p1"
    assert fetch(api, "GET", "/web/models/simplebridge").json["title"] == "simplebridge"
    assert fetch(api, "GET", "/web/models/none").status == fetch(api, "GET", "/web/none").status == 404
