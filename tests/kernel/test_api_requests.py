"""Polycube's own client, as it was recorded: each of its requests, byte for byte, and what becomes of it in the kernel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest

from reconciler.engine.apply import Options, drift
from reconciler.kernel import linkwrite
from reconciler.present.show import show
from tests.lib.api_process import ApiProcess, as_go_sends
from tests.lib.commands import BIN, pcn

SERVICES = {"simplebridge", "router", "firewall", "ddosmitigator", "helloworld"}


@pytest.fixture(scope="module", autouse=True)
def _loopback() -> None:
    linkwrite.set_link("lo", up=True)


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")


@pytest.fixture
def veth() -> Iterator[str]:
    subprocess.run(["ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth1p"], check=True)
    subprocess.run(["ip", "link", "set", "veth1", "up"], check=True)
    yield "veth1"
    subprocess.run(["ip", "link", "del", "veth1"], check=True)


def kernel(api: ApiProcess) -> dict:
    """The cubes that the kernel holds, read back by another process's code; and nothing of it has drifted."""
    assert drift(Options(root=api.root)) == []
    (document,) = show(Options(root=api.root))
    return {cube["name"]: cube for cube in document["spec"].get("cubes", ())}


def test_what_the_client_asks_before_it_does_anything(api):
    help_of_root = api.get_options("/?help=NONE")
    assert {name: param["simpletype"] for name, param in help_of_root["params"].items()}.keys() >= SERVICES
    assert all(param["version"] for param in help_of_root["params"].values())
    assert api.get("//cubes/") == {}
    assert api.get("/version/")["polycubed"]["version"]
    assert {service["name"] for service in api.get("/services/")} >= SERVICES
    assert "module router {" in api.get("/services/router/")[0]["datamodel"]
    assert api.get("/router/") == []
    assert api.get("/topology/") == []
    assert [netdev["name"] for netdev in api.get("/netdevs/lo/")] == ["lo"]
    assert api("POST", "/services/", {"name": "router", "type": "lib", "uri": "x"}).status == 200
    assert api("DELETE", "/services/router/").status == 409
    rels = [link["rel"] for link in api.get("/")]
    assert rels[0] == "self"
    assert {"cubes", "router"} <= set(rels)


def test_a_bridge_from_add_to_del(api, veth):
    assert api("POST", "/simplebridge/br1/", "{}").status == 201
    assert api("POST", "/br1/ports/p1/", '{"peer":"veth1"}').status == 201
    assert kernel(api)["br1"]["ports"] == [{"name": "p1", "peer": "veth1"}]
    port = api.get("/br1/ports/p1/")
    assert (port["status"], port["peer"]) == ("UP", "veth1")
    assert api("PATCH", "/br1/ports/p1/peer/", '""').status == 204
    assert kernel(api)["br1"]["ports"] == [{"name": "p1"}]
    assert (api.get("/br1/ports/p1/")["status"], api.get("/br1/ports/p1/peer/")) == ("DOWN", "")
    assert api("PATCH", "/br1/ports/p1/peer/", '"veth1"').status == 204
    assert api.get("/br1/fdb/aging-time/") == 300
    assert api("PATCH", "/br1/fdb/aging-time/", "60").status == 204
    assert kernel(api)["br1"]["fdb"] == {"aging-time": 60}
    assert api.get("/br1/fdb/")["aging-time"] == 60
    assert api.get("/br1/fdb/entry/") == []
    flushed = api("POST", "/br1/fdb/flush/", "{}")
    assert (flushed.status, flushed.json) == (201, {"flushed": True})
    assert api.get("/cubes/")["simplebridge"][0]["ports"] == [{"name": "p1", "peer": "veth1"}]
    assert api.get("/cubes/br1/") == api.get("/simplebridge/")[0]
    assert api.get("/simplebridge/br1/") | {"_links": []} == api.get("/br1/") | {"_links": []}
    assert api("DELETE", "/br1/ports/p1/").status == 204
    assert api("DELETE", "/simplebridge/br1/").status == 204
    assert kernel(api) == {}


def test_a_router_with_routes_whose_keys_have_slashes_and_values_are_guessed(api, veth):
    assert api("POST", "/router/r1/", '{"loglevel":"debug","type":"TC"}').status == 201
    assert api("POST", "/r1/ports/to_veth1/", '{"ip":"10.1.0.1/24","peer":"veth1"}').status == 201
    assert api("POST", "/r1/route/0.0.0.0%2F0/10.1.0.2/", '{"pathcost":5}').status == 201
    assert api("POST", "/r1/route/10.9.0.0%2f16/10.1.0.3/", "{}").status == 201, "completion encodes in lower case"
    assert api("POST", "/r1/ports/to_veth1/secondaryip/10.10.10.1%2F24/", "{}").status == 201
    live = kernel(api)["r1"]
    assert live["loglevel"] == "DEBUG"
    assert {"network": "0.0.0.0/0", "nexthop": "10.1.0.2", "pathcost": 5} in live["route"]
    assert live["ports"][0]["secondaryip"] == [{"ip": "10.10.10.1/24"}]
    assert api.get("/r1/route/0.0.0.0%2F0/10.1.0.2/")["pathcost"] == 5
    assert api("PATCH", "/r1/route/0.0.0.0%2F0/10.1.0.2/pathcost/", '"7"').status == 204
    assert api("PATCH", "/r1/", '{"loglevel":"ERR"}').status == 204
    assert kernel(api)["r1"]["loglevel"] == "ERR"
    assert api("DELETE", "/r1/route/0.0.0.0%2F0/10.1.0.2/").status == 204
    assert [route["network"] for route in api.get("/r1/route/")] == ["10.9.0.0/16"]


def test_a_firewall_and_its_rules(api):
    assert api("POST", "/firewall/fw/", "{}").status == 201
    first = api("POST", "/fw/chain/INGRESS/append/", '{"action":"ACCEPT","dport":80,"l4proto":"tcp","src":"10.0.0.1"}')
    assert (first.status, first.json) == (201, {"id": 0})
    assert api("POST", "/fw/chain/ingress/append/", '{"action":"drop","description":true}').json == {"id": 1}
    assert api("POST", "/fw/chain/INGRESS/insert/", '{"action":"DROP","id":0,"src":"10.0.0.9"}').json == {"id": 0}
    assert api("PATCH", "/fw/chain/INGRESS/default/", '"DROP"').status == 204
    (chain,) = [each for each in kernel(api)["fw"]["chain"] if each["name"] == "INGRESS"]
    assert chain["default"] == "DROP"
    assert [(rule["id"], rule.get("src")) for rule in chain["rule"]] == [(0, "10.0.0.9"), (1, "10.0.0.1"), (2, None)]
    assert chain["rule"][2]["description"] == "true"
    assert api.get("/fw/chain/INGRESS/rule/1/")["dport"] == 80
    assert api("DELETE", "/fw/chain/INGRESS/rule/1/").status == 204
    assert [rule["id"] for rule in api.get("/fw/chain/INGRESS/rule/")] == [0, 1]
    batch = {"rules": [{"operation": "append", "src": "10.0.0.7", "action": "DROP"}, {"operation": "delete", "id": 0}]}
    assert api("POST", "/fw/chain/EGRESS/batch/", {"rules": batch["rules"][:1]}).status == 201
    assert api("POST", "/fw/chain/INGRESS/batch/", batch).status == 201
    assert [rule.get("src") for rule in api.get("/fw/chain/INGRESS/rule/")] == [None, "10.0.0.7"]
    assert api("POST", "/fw/chain/INGRESS/batch/", '{"rules":""}').status == 400, "what a here-string becomes"
    assert api("PATCH", "/fw/loglevel/", '"debug"').status == 204
    assert api("PATCH", "/fw/", '{"loglevel":"TRACE","conntrack":"OFF"}').status == 204
    assert (kernel(api)["fw"]["loglevel"], kernel(api)["fw"]["conntrack"]) == ("TRACE", "OFF")
    assert api("POST", "/fw/reset-counters/", "{}").status == 201
    assert api("POST", "/fw/chain/INGRESS/reset-counters/", "{}").status == 201


def test_cubes_are_joined_and_transparent_ones_attached(api, veth):
    for path in ("/router/r1/", "/simplebridge/br1/", "/firewall/fw/", "/ddosmitigator/dd1/", "/ddosmitigator/dd2/"):
        api.ok("POST", path, "{}")
    api.ok("POST", "/r1/ports/to_br1/", '{"ip":"10.0.0.1/24"}')
    for port in ("to_r1", "to_veth1"):
        api.ok("POST", f"/br1/ports/{port}/", "{}")
    assert api("POST", "/connect/", '{"peer1":"r1:to_br1","peer2":"br1:to_r1"}').status == 200
    assert api("POST", "/connect/", '{"peer1":"br1:to_veth1","peer2":"veth1"}').status == 200
    assert kernel(api)["r1"]["ports"][0]["peer"] == "br1:to_r1"
    assert {port["name"]: port["peer"] for port in kernel(api)["br1"]["ports"]} == {"to_r1": "r1:to_br1", "to_veth1": "veth1"}
    assert api("POST", "/connect/", '{"peer1":"r1:to_br1","peer2":"veth1"}').status == 409
    assert api("POST", "/attach/", '{"cube":"fw","port":"br1:to_veth1"}').status == 200
    assert api("POST", "/attach/", '{"cube":"dd1","port":"br1:to_veth1","position":"last"}').status == 200
    assert api("POST", "/attach/", '{"cube":"dd2","port":"br1:to_veth1","before":"fw"}').status == 200
    assert kernel(api)["br1"]["ports"][1]["tcubes"] == ["dd1", "fw", "dd2"], "from the wire inwards"
    assert api.get("/cubes/fw/")["parent"] == "br1:to_veth1"
    assert api.get("/topology/veth1/")["ingress service chain"] == "dd1 ---> fw ---> dd2 ---> br1:to_veth1"
    assert api.get("/topology/nothing/") == {"name": "nothing"}
    assert api("POST", "/detach/", '{"cube":"fw","port":"br1:to_veth1"}').status == 200
    assert api("POST", "/detach/", '{"cube":"fw","port":"br1:to_veth1"}').status == 409
    assert api("POST", "/disconnect/", '{"peer1":"r1:to_br1","peer2":"br1:to_r1"}').status == 200
    assert all("peer" not in port for port in (kernel(api)["r1"]["ports"][0], kernel(api)["br1"]["ports"][0]))
    assert api("POST", "/disconnect/", '{"peer1":"r1:to_br1","peer2":"br1:to_r1"}').status == 409


def test_a_transparent_cube_on_a_netdev(api, veth):
    api.ok("POST", "/ddosmitigator/dd1/", "{}")
    api.ok("POST", "/ddosmitigator/dd2/", "{}")
    api.ok("POST", "/attach/", '{"cube":"dd1","port":"veth1"}')
    api.ok("POST", "/attach/", '{"cube":"dd2","port":"veth1","position":"first"}')
    (document,) = show(Options(root=api.root))
    assert document["spec"]["attachments"] == [{"netdev": "veth1", "tcubes": ["dd2", "dd1"]}]
    assert api.get("/dd1/parent/") == "veth1"
    assert api.get("/topology/veth1/")["ingress service chain"] == "dd2 ---> dd1 ---> stack"
    api.ok("DELETE", "/dd2/")
    api.ok("POST", "/detach/", '{"cube":"dd1","port":"veth1"}')
    assert "attachments" not in show(Options(root=api.root))[0]["spec"]


def test_a_load_balancer_whose_backends_have_one_key_more_than_polycubes(api):
    assert api("POST", "/lbrp/lb0/", "{}").status == 201
    assert api("POST", "/lb0/service/10.0.0.1/80/tcp/", "{}").status == 201
    backends = "/lb0/service/10.0.0.1/80/TCP/backend"
    assert api("POST", f"{backends}/1.2.3.4/", '{"port":80}').status == 201
    assert api("POST", f"{backends}/1.2.3.4/", "{}").error["error-info"] == "port"
    assert api.get(f"{backends}/1.2.3.4/") == api.get(f"{backends}/1.2.3.4/80/") | {"_links": ANY}
    assert api("PATCH", f"{backends}/1.2.3.4/weight/", "7").status == 400  # a leaf of an entry wants all keys
    assert api("PATCH", f"{backends}/1.2.3.4/", '{"weight":7}').status == 204
    assert api("POST", f"{backends}/1.2.3.4/81/", "{}").status == 201
    assert api("DELETE", f"{backends}/1.2.3.4/").error["error-info"] == "port"
    assert api("DELETE", f"{backends}/1.2.3.4/81/").status == 204
    assert kernel(api)["lb0"]["service"][0]["backend"] == [{"ip": "1.2.3.4", "port": 80, "weight": 7}]
    assert api("DELETE", f"{backends}/1.2.3.4/").status == 204
    assert api("DELETE", f"{backends}/1.2.3.4/").status == 409


def test_polycubes_own_list_of_cubes(api, veth):
    cubes = [
        {"name": "br1", "service-name": "simplebridge", "uuid": "x", "ports": [{"name": "p1", "peer": "veth1", "uuid": "y", "status": "UP"}, {"name": "p2", "peer": ""}], "shadow": False, "span": False},
        {"name": "dd1", "service-name": "ddosmitigator", "parent": "br1:p1", "blacklist-src": [{"ip": "10.0.0.1"}]},
    ]
    assert api("POST", "/cubes/", cubes).status == 201
    live = kernel(api)
    assert live["br1"]["ports"] == [{"name": "p1", "peer": "veth1", "tcubes": ["dd1"]}, {"name": "p2"}]
    assert live["dd1"]["blacklist-src"] == [{"ip": "10.0.0.1"}]
    assert api("POST", "/cubes/", cubes).status == 409
    assert api("POST", "/cubes/", "{}").status == 400
    whole = api.get("/br1/")
    api.ok("DELETE", "/br1/")
    assert api("POST", "/simplebridge/br1/", whole).status == 201, "what is shown can be sent"
    assert kernel(api)["br1"]["ports"][0]["peer"] == "veth1"


def test_paths_are_split_as_they_come_and_slashes_at_the_end_mean_nothing(api):
    api.ok("POST", "/simplebridge/br1", "{}")
    assert api("GET", "///br1//fdb///").status == api("GET", "/br1/fdb").status == 200
    assert api("GET", "/br%31/fdb").status == 200
    assert api("GET", "/br1%2Ffdb").status == 404
    assert api("GET", "/br1/%ff").status == 400
    assert api("GET", "/br1/?" + "&".join(f"a{number}" for number in range(33))).status == 400
    assert api("HEAD", "/br1/").status == 200


def test_a_service_takes_cubes_by_the_name_in_the_body(api):
    assert api("POST", "/helloworld/", {"name": "hw", "action": "drop"}).status == 201
    assert api("PATCH", "/helloworld/", {"name": "hw", "action": "forward"}).status == 204
    assert kernel(api)["hw"]["action"] == "FORWARD"
    assert api("POST", "/helloworld/", {}).error["error-info"] == "name"


def test_put_replaces_all_of_it_and_can_be_repeated(api):
    assert api("PUT", "/simplebridge/br1/", {"fdb": {"aging-time": 60}, "ports": [{"name": "p1"}]}).status == 201
    assert api("PUT", "/simplebridge/br1/", {"ports": [{"name": "p2"}]}).status == 204
    assert api("PUT", "/simplebridge/br1/", {"ports": [{"name": "p2"}]}).status == 204
    assert kernel(api)["br1"] == {"name": "br1", "service-name": "simplebridge", "ports": [{"name": "p2"}]}
    assert api("PUT", "/br1/ports/", [{"name": "p3"}]).status == 204
    assert [port["name"] for port in kernel(api)["br1"]["ports"]] == ["p3"]


def test_help_and_completion_as_the_client_reads_them(api):
    api.ok("POST", "/firewall/fw/", "{}")
    api.ok("POST", "/fw/chain/INGRESS/append/", '{"src":"10.0.0.1"}')
    none = api.get_options("/firewall?help=NONE")
    assert (none["commands"], none["elements"]) == (["add", "del", "show"], [{"name": "fw"}])
    assert none["params"]["name"]["type"] == "key"
    rule = api.get_options("/fw/chain/INGRESS/rule?help=NONE")
    assert rule["elements"] == [{"id": "0"}], "values are text, or the client ends in a panic"
    added = api.get_options("/fw/chain/INGRESS/rule?help=ADD")
    assert list(added["params"]) == ["id"]
    assert "src" in added["optional-params"]
    assert api.get_options("/fw?help=ADD")["params"] == {}
    assert "default" in api.get_options("/fw/chain/INGRESS?help=SET")["params"]
    assert not {"name", "service-name"} & api.get_options("/fw?help=SET")["params"].keys()
    assert "append" in api.get_options("/fw/chain/INGRESS?help=NONE")["params"]
    assert {param["type"] for param in api.get_options("/fw/chain/INGRESS/append?help=NONE")["params"].values()} == {"key"}
    assert api("OPTIONS", "/fw/loglevel?help=NONE").status == 400
    assert api("OPTIONS", "/firewall?help=SET").status == 400
    assert api.get_options("/fw/loglevel?help=NONE&completion") == ["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"]
    assert api.get_options("/firewall?help=NONE&completion") == ["fw", "add", "del", "show"]
    assert api.get_options("/firewall?help=ADD&completion") == ["<name>"]
    assert "loglevel=" in api.get_options("/fw?help=SET&completion")
    assert {"cubes", "router", "fw"} <= set(api.get_options("/?help=NONE&completion"))
    assert api.get_options("/fw/chain/INGRESS/rule?help=DEL&completion") == ["0"]
    assert api.get_options("/cubes?help=NONE")["commands"] == ["add", "show"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "tag"),
    [
        ("POST", "/fw/chain/INGRESS/append/", "null", 400, "malformed-message"),
        ("POST", "/fw/chain/INGRESS/append/", '{"src": NaN}', 400, "malformed-message"),
        ("POST", "/fw/chain/INGRESS/append/", "{", 400, "malformed-message"),
        ("POST", "/fw/chain/INGRESS/append/", '{"colour":"red"}', 400, "invalid-value"),
        ("POST", "/fw/chain/INGRESS/append/", '{"src":"mist"}', 400, "bad-attribute"),
        ("POST", "/fw/chain/INGRESS/append/", "[" * 5000, 400, "malformed-message"),
        ("PATCH", "/fw/chain/INGRESS/default/", "", 400, "malformed-message"),
        ("PATCH", "/fw/type/", '"XDP_SKB"', 405, "operation-not-supported"),
        ("PATCH", "/fw/session-table/", "[]", 405, "operation-not-supported"),
        ("GET", "/fw/chain/INGRESS/append/", None, 405, "operation-not-supported"),
        ("GET", "/fw/chain/INGRESS/rule/77/", None, 404, "data-missing"),
        ("DELETE", "/fw/chain/INGRESS/rule/77/", None, 409, "data-missing"),
        ("GET", "/fw/colour/", None, 404, "unknown-element"),
        ("GET", "/nobody/", None, 404, "data-missing"),
        ("GET", "/router/fw/", None, 404, "data-missing"),
        ("DELETE", "/nobody/", None, 404, "data-missing"),
        ("PATCH", "/router/nobody/", "{}", 404, "data-missing"),
        ("POST", "/router/cubes/", "{}", 400, "invalid-value"),
        ("POST", "/router/firewall/", "{}", 400, "invalid-value"),
        ("POST", "/router/fw/", "{}", 409, "data-exists"),
        ("POST", "/router/r9/", '{"service-name":"firewall"}', 400, "invalid-value"),
        ("POST", "/router/bad%20name/", "{}", 400, "bad-attribute"),
        ("POST", "/connect/", '{"peer1":"a:b"}', 400, "missing-attribute"),
        ("POST", "/connect/", '{"peer1":"a:b","peer2":"c:d"}', 404, "data-missing"),
        ("POST", "/attach/", '{"cube":"fw","port":"no:where"}', 409, "data-missing"),
        ("PUT", "/cubes/", "[]", 405, "operation-not-supported"),
        ("BREW", "/fw/", None, 405, "operation-not-supported"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_a_status_and_a_tag_and_changes_nothing(shared_api, method, path, body, status, tag):
    before = shared_api.file.read_bytes(), shared_api.get("/fw/")
    reply = shared_api(method, path, body)
    assert (reply.status, reply.error["error-tag"]) == (status, tag), reply.body
    assert reply.error["error-message"]
    assert b"\n" not in reply.body
    assert reply.headers["content-type"] == "application/yang.data+json; charset=utf-8"
    assert ("allow" in reply.headers) == (status == 405)
    assert (shared_api.file.read_bytes(), shared_api.get("/fw/")) == before


@pytest.fixture
def shared_api(api):
    api.ok("POST", "/firewall/fw/", "{}")
    return api


def test_errors_of_the_whole_topology_name_the_path(api):
    api.ok("POST", "/router/r1/", "{}")
    reply = api("POST", "/r1/ports/p1/", '{"ip":"10.0.0.1/24","peer":"r1:nowhere"}')
    assert reply.status == 400
    assert "r1/ports/p1" in reply.error["error-path"]
    assert json.loads(reply.body)["ietf-restconf:errors"]["error"][0]["error-type"] == "application"


def test_a_topology_made_by_sixty_calls_is_the_one_that_the_file_makes(own_root, tmp_path, veth):
    with ApiProcess(own_root, tmp_path) as api:
        calls = 0
        for number in range(5):
            api.ok("POST", f"/simplebridge/br{number}/", "{}")
            api.ok("POST", f"/firewall/fw{number}/", "{}")
            api.ok("POST", f"/br{number}/ports/a/", "{}")
            api.ok("POST", f"/br{number}/ports/b/", "{}")
            for rule in range(6):
                api.ok("POST", f"/fw{number}/chain/INGRESS/append/", {"src": f"10.{number}.{rule}.0/24", "action": "DROP"})
            api.ok("PATCH", f"/br{number}/fdb/aging-time/", str(100 + number))
            api.ok("POST", "/attach/", {"cube": f"fw{number}", "port": f"br{number}:a"})
            calls += 12
        assert calls == 60
        for number in range(4):
            api.ok("POST", "/connect/", {"peer1": f"br{number}:b", "peer2": f"br{number + 1}:a"})
        made = show(Options(root=own_root))
        file = api.file.read_text()
        assert api.raw(as_go_sends("GET", "/pcn/v1/topologies", None, "localhost")).json.keys() == {"rest"}
        shown = api.raw(as_go_sends("GET", "/pcn/v1/topologies/rest", None, "localhost"))
        assert shown.headers["etag"] == api.ok("GET", "/br0/").headers["etag"]
        assert api.raw(as_go_sends("GET", "/pcn/v1/topologies/none", None, "localhost")).status == 404
        assert api.raw(as_go_sends("DELETE", "/pcn/v1/topologies/rest", None, "localhost")).status == 405
        got = subprocess.run([str(BIN / "pcn-apply"), "--check", "-"], input=shown.body, check=False)
        assert got.returncode == 0
    assert subprocess.run([str(BIN / "pcn-apply"), "--check", "-"], input=file, text=True, check=False).returncode == 0
    pcn("delete", "rest", code=0)
    copy = tmp_path / "copy.yaml"
    copy.write_text(file)
    pcn("apply", str(copy), code=0)
    assert show(Options(root=own_root)) == made
    pcn("delete", str(copy), code=0)
