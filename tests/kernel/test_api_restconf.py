"""RESTCONF: RFC 8040's methods on the models' data, and values that an independent reader of YANG takes (RFC 7951)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yangson import DataModel
from yangson.enumerations import ContentType

from tests.kernel.test_api_requests import kernel
from tests.lib.api_process import ApiProcess, Reply, as_go_sends
from tests.lib.commands import pcn

YANG = [str(Path(__file__).parents[2] / "schemas" / "yang" / part) for part in ("base", "services")]
DATA = "/restconf/data"
REVISION = re.compile(r'^\s*revision\s+"?([0-9-]{10})', re.MULTILINE)


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")


def ask(api: ApiProcess, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    return api.raw(as_go_sends(method, path, body, f"localhost:{api.port}", headers))


def get(api: ApiProcess, path: str) -> Any:
    reply = ask(api, "GET", DATA + path)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/yang-data+json"
    return reply.json


def test_a_client_finds_its_way_from_the_well_known_place(api):
    meta = ask(api, "GET", "/.well-known/host-meta")
    assert (meta.headers["content-type"], b'href="/restconf"' in meta.body) == ("application/xrd+xml", True)
    assert ask(api, "GET", "/restconf").json["ietf-restconf:restconf"].keys() == {"data", "operations", "yang-library-version"}
    assert ask(api, "GET", "/restconf/yang-library-version").json == {"ietf-restconf:yang-library-version": "2019-01-04"}
    library = get(api, "/ietf-yang-library:yang-library")["ietf-yang-library:yang-library"]
    modules = {module["name"]: module for module in library["module-set"][0]["module"]}
    assert modules["router"]["namespace"] == "http://polycube.network/router"
    assert "firewall:reset-counters" in ask(api, "GET", "/restconf/operations").json["ietf-restconf:operations"]


def test_a_router_is_made_read_changed_and_deleted(api):
    made = ask(api, "POST", DATA, {"router:router": [{"name": "r1"}]})
    assert (made.status, made.headers["location"]) == (201, f"{DATA}/router:router=r1")
    port = {"router:ports": [{"name": "p1", "ip": "10.0.1.1/24"}]}
    made = ask(api, "POST", f"{DATA}/router:router=r1", port)
    assert (made.status, made.headers["location"]) == (201, f"{DATA}/router:router=r1/ports=p1")
    assert (
        ask(api, "POST", f"{DATA}/router:router=r1", port).json["ietf-restconf:errors"]["error"][0]["error-tag"] == "data-exists"
    )
    route = f"{DATA}/router:router=r1/route=0.0.0.0%2F0,10.0.1.2"
    entry = {"router:route": [{"network": "0.0.0.0/0", "nexthop": "10.0.1.2", "pathcost": 7}]}
    assert [ask(api, "PUT", route, entry).status for _ in range(2)] == [201, 204]
    assert kernel(api)["r1"]["route"] == [{"network": "0.0.0.0/0", "nexthop": "10.0.1.2", "pathcost": 7}]
    assert ask(api, "PATCH", f"{route}/pathcost", {"router:pathcost": 9}).status == 204
    assert get(api, route.removeprefix(DATA) + "/pathcost") == {"router:pathcost": 9}
    assert ask(api, "PUT", route, {"router:route": [{"network": "10.0.0.0/8", "nexthop": "10.0.1.2"}]}).status == 400
    assert [ask(api, "DELETE", route).status for _ in range(2)] == [204, 404]
    assert ask(api, "DELETE", f"{DATA}/router:router=r1").status == 204
    assert kernel(api) == {}


def test_actions_have_input_and_output(api):
    fw = f"{DATA}/firewall:firewall=fw"
    assert ask(api, "PUT", fw, {"firewall:firewall": [{"name": "fw"}]}).status == 201
    appended = ask(api, "POST", f"{fw}/chain=INGRESS/append", {"firewall:input": {"src": "10.0.0.1/32", "action": "DROP"}})
    assert (appended.status, appended.json) == (200, {"firewall:output": {"id": 0}})
    assert kernel(api)["fw"]["chain"][0]["rule"] == [{"id": 0, "src": "10.0.0.1/32", "action": "DROP"}]
    zeroed = ask(api, "POST", "/restconf/operations/firewall:reset-counters", {"firewall:input": {"name": "fw"}})
    assert zeroed.status == 204
    assert ask(api, "POST", "/restconf/operations/firewall:nothing", {"firewall:input": {"name": "fw"}}).status == 404


def test_a_query_asks_for_content_and_depth(api):
    assert ask(api, "POST", DATA, {"simplebridge:simplebridge": [{"name": "br1", "ports": [{"name": "p1"}]}]}).status == 201
    bridge = "/simplebridge:simplebridge=br1"
    (whole,) = get(api, f"{bridge}?content=config")["simplebridge:simplebridge"]
    assert whole["fdb"]["aging-time"] == 300
    (shallow,) = get(api, f"{bridge}?depth=2")["simplebridge:simplebridge"]
    assert shallow["fdb"] == {}
    assert shallow["ports"] == [{"name": "p1"}]
    assert ask(api, "GET", f"{DATA}{bridge}?fields=name").status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "tag"),
    [
        ("GET", "/nothing:nothing=x", None, 404, "unknown-element"),
        ("GET", "/router:router=r9", None, 404, "data-missing"),
        ("GET", "/router:router=r9/nothing", None, 404, "unknown-element"),
        ("GET", "/router:router/ports", None, 400, "invalid-value"),
        ("GET", "/router:router=r9/firewall:ports", None, 400, "unknown-element"),
        ("GET", "/router:=r9", None, 400, "invalid-value"),
        ("PUT", "/router:router=r1", '{"router:router": []}', 400, "invalid-value"),
        ("PUT", "/router:router=r1", '{"firewall:firewall": []}', 400, "unknown-element"),
        ("PUT", "/router:router=r1", "{}", 400, "malformed-message"),
        ("PUT", "/router:router=r1", '{"router:router": [{"name": "r2"}]}', 400, "invalid-value"),
        ("POST", "", '{"router:router": [{}]}', 400, "missing-attribute"),
        ("DELETE", "/router:router", None, 405, "operation-not-supported"),
        ("POST", "/ietf-yang-library:yang-library", "{}", 405, "operation-not-supported"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_rfc_8040_says_it(api, method, path, body, status, tag):
    reply = ask(api, method, DATA + path, body)
    assert (reply.status, reply.error["error-tag"]) == (status, tag)
    assert reply.headers["content-type"] == "application/yang-data+json"
    assert isinstance(reply.error.get("error-info", {}), dict)
    assert "error-path" not in reply.error


CUBES = {
    "router": {"ports": [{"name": "p1", "ip": "10.0.1.1/24"}], "route": [{"network": "0.0.0.0/0", "nexthop": "10.0.1.2"}]},
    "firewall": {"chain": [{"name": "INGRESS", "rule": [{"id": 0, "l4proto": "TCP", "dport": "80", "action": "DROP"}]}]},
    "simplebridge": {"ports": [{"name": "p1"}], "fdb": {"entry": [{"address": "02:00:00:00:00:01", "port": "p1"}]}},
    "lbrp": {"service": [{"vip": "10.0.0.1", "vport": 80, "proto": "TCP", "backend": [{"ip": "10.0.0.2", "port": 80}]}]},
    "nat": {},
}


@pytest.mark.parametrize("service", CUBES)
def test_data_is_what_the_models_say(api, service):
    """The YANG library and the models' own files, read by yangson, which then reads the data and checks it against them."""
    assert (
        ask(api, "PUT", f"{DATA}/{service}:{service}=c1", {f"{service}:{service}": [{"name": "c1", **CUBES[service]}]}).status
        == 201
    )
    (cube,) = get(api, f"/{service}:{service}=c1")[f"{service}:{service}"]
    library = get(api, "/ietf-yang-library:yang-library")["ietf-yang-library:yang-library"]
    module = next(each for each in library["module-set"][0]["module"] if each["name"] == service)
    model = DataModel(json.dumps(_as_rfc7895(module)), YANG)
    instance = model.from_raw({f"{service}:{name}": value for name, value in cube.items()})
    instance.validate(ctype=ContentType.all)


def _as_rfc7895(module: dict[str, str]) -> dict[str, Any]:
    """The older library that yangson reads, with the modules that ours imports."""
    bases = [
        {"name": path.stem, "revision": REVISION.search(path.read_text()).group(1), "namespace": "", "conformance-type": "import"}
        for path in Path(YANG[0]).glob("*.yang")
        if "revision" in path.read_text()
    ]
    main = {
        "name": module["name"],
        "revision": module["revision"],
        "namespace": module["namespace"],
        "conformance-type": "implement",
    }
    return {"ietf-yang-library:modules-state": {"module-set-id": "1", "module": [main, *bases]}}


def test_a_write_has_no_query_and_is_not_done_in_spite_of_one(api):
    for query in ("plan", "insert=first", "content=config"):
        reply = ask(api, "PUT", f"{DATA}/simplebridge:simplebridge=br1?{query}", {"simplebridge:simplebridge": [{"name": "br1"}]})
        assert (reply.status, ask(api, "GET", f"{DATA}/simplebridge:simplebridge=br1").status) == (400, 404), query
