"""Polycube's own client, command by command: the bytes that it was seen to send for each, in the order of a session, and the answers.

A line is a command, and below it what it sends: method, target, body, then the status that it takes and, after `=`, the body of the
answer (`…` is any). Bodies are as Go writes them: no spaces, members sorted.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.apply import Options, drift
from reconciler.kernel import linkwrite
from reconciler.present.show import show
from tests.lib.api_process import ApiProcess, Reply
from tests.lib.commands import pcn

SESSION = """\
polycubectl ?
    OPTIONS /polycube/v1/?help=NONE  200
    GET /polycube/v1//cubes/  200 = {}
polycubectl version
    GET /polycube/v1/version/  200
polycubectl services show
    GET /polycube/v1/services/  200
polycubectl services show router
    GET /polycube/v1/services/router/  200
polycubectl services add name=router type=lib uri=libpcn-router.so
    POST /polycube/v1/services/ {"name":"router","type":"lib","uri":"libpcn-router.so"} 200 =
polycubectl cubes show
    GET /polycube/v1/cubes/  200 = {}
polycubectl netdevs show
    GET /polycube/v1/netdevs/  200
polycubectl netdevs show veth1
    GET /polycube/v1/netdevs/veth1/  200
polycubectl router add r1 type=TC shadow=false
    POST /polycube/v1/router/r1/ {"shadow":false,"type":"TC"} 201 =
polycubectl router add r2 type=TC shadow=true
    POST /polycube/v1/router/r2/ {"shadow":true,"type":"TC"} 201 =
polycubectl simplebridge add br1
    POST /polycube/v1/simplebridge/br1/ {} 201 =
polycubectl simplebridge add br1
    POST /polycube/v1/simplebridge/br1/ {} 409
polycubectl firewall add fw loglevel=debug
    POST /polycube/v1/firewall/fw/ {"loglevel":"debug"} 201 =
polycubectl ddosmitigator add dd1
    POST /polycube/v1/ddosmitigator/dd1/ {} 201 =
polycubectl ddosmitigator add dd2
    POST /polycube/v1/ddosmitigator/dd2/ {} 201 =
polycubectl br1 ports add to_veth1 peer=veth1
    POST /polycube/v1/br1/ports/to_veth1/ {"peer":"veth1"} 201 =
polycubectl br1 ports add to_r1
    POST /polycube/v1/br1/ports/to_r1/ {} 201 =
polycubectl r1 ports add to_br1 ip=10.0.0.1/24
    POST /polycube/v1/r1/ports/to_br1/ {"ip":"10.0.0.1/24"} 201 =
polycubectl connect r1:to_br1 br1:to_r1
    POST /polycube/v1/connect/ {"peer1":"r1:to_br1","peer2":"br1:to_r1"} 200 =
polycubectl disconnect br1:to_veth1 veth1
    POST /polycube/v1/disconnect/ {"peer1":"br1:to_veth1","peer2":"veth1"} 200 =
polycubectl connect br1:to_veth1 veth1
    POST /polycube/v1/connect/ {"peer1":"br1:to_veth1","peer2":"veth1"} 200 =
polycubectl br1 ports to_veth1 set peer=""
    PATCH /polycube/v1/br1/ports/to_veth1/peer/ "" 204 =
polycubectl br1 ports to_veth1 set peer=veth1
    PATCH /polycube/v1/br1/ports/to_veth1/peer/ "veth1" 204 =
polycubectl attach fw br1:to_veth1
    POST /polycube/v1/attach/ {"cube":"fw","port":"br1:to_veth1"} 200 =
polycubectl attach dd1 br1:to_veth1 after=fw
    POST /polycube/v1/attach/ {"after":"fw","cube":"dd1","port":"br1:to_veth1"} 200 =
polycubectl detach dd1 br1:to_veth1
    POST /polycube/v1/detach/ {"cube":"dd1","port":"br1:to_veth1"} 200 =
polycubectl attach dd1 br1:to_veth1 position=auto
    POST /polycube/v1/attach/ {"cube":"dd1","port":"br1:to_veth1","position":"auto"} 200 =
polycubectl attach dd2 br1:to_veth1 before=nobody
    POST /polycube/v1/attach/ {"before":"nobody","cube":"dd2","port":"br1:to_veth1"} 400
polycubectl attach dd2 veth2 position=last
    POST /polycube/v1/attach/ {"cube":"dd2","port":"veth2","position":"last"} 200 =
polycubectl topology show veth2
    GET /polycube/v1/topology/veth2/  200
polycubectl topology
    GET /polycube/v1/topology/  200
polycubectl detach dd2 veth2
    POST /polycube/v1/detach/ {"cube":"dd2","port":"veth2"} 200 =
polycubectl br1 fdb show
    GET /polycube/v1/br1/fdb/  200
polycubectl br1 show fdb aging-time
    GET /polycube/v1/br1/fdb/aging-time/  200 = 300
polycubectl br1 fdb entry show
    GET /polycube/v1/br1/fdb/entry/  200
polycubectl br1 fdb set aging-time=60
    PATCH /polycube/v1/br1/fdb/aging-time/ 60 204 =
polycubectl br1 fdb flush
    POST /polycube/v1/br1/fdb/flush/ {} 201 = {"flushed":true}
polycubectl r1 route add 0.0.0.0/0 10.0.0.2 pathcost=5
    POST /polycube/v1/r1/route/0.0.0.0%2F0/10.0.0.2/ {"pathcost":5} 201 =
polycubectl r1 ports to_br1 secondaryip add 10.10.10.1/24
    POST /polycube/v1/r1/ports/to_br1/secondaryip/10.10.10.1%2F24/ {} 201 =
polycubectl r1 route show
    GET /polycube/v1/r1/route/  200
polycubectl fw chain INGRESS append src=10.0.0.1 action=ACCEPT
    POST /polycube/v1/fw/chain/INGRESS/append/ {"action":"ACCEPT","src":"10.0.0.1"} 201 = {"id":0}
polycubectl fw chain INGRESS insert id=0 src=10.0.0.2 action=DROP
    POST /polycube/v1/fw/chain/INGRESS/insert/ {"action":"DROP","id":0,"src":"10.0.0.2"} 201 = {"id":0}
polycubectl fw chain INGRESS rule show 1
    GET /polycube/v1/fw/chain/INGRESS/rule/1/  200
polycubectl fw chain INGRESS rule del 1
    DELETE /polycube/v1/fw/chain/INGRESS/rule/1/  204 =
polycubectl fw chain INGRESS set default=DROP
    PATCH /polycube/v1/fw/chain/INGRESS/default/ "DROP" 204 =
polycubectl fw chain EGRESS batch < rules.json
    POST /polycube/v1/fw/chain/EGRESS/batch/ {"rules":[{"action":"drop","l4proto":"tcp","operation":"append"}]} 201
polycubectl fw set loglevel=info
    PATCH /polycube/v1/fw/loglevel/ "info" 204 =
polycubectl fw set loglevel=off conntrack=off
    PATCH /polycube/v1/fw/ {"conntrack":"off","loglevel":"off"} 204 =
polycubectl fw set loglevel=Inf
    PATCH /polycube/v1/fw/loglevel/ null 400
polycubectl lbrp add lb0
    POST /polycube/v1/lbrp/lb0/ {} 201 =
polycubectl lb0 service add 10.0.0.1 80 tcp
    POST /polycube/v1/lb0/service/10.0.0.1/80/tcp/ {} 201 =
polycubectl lb0 service 10.0.0.1 80 tcp backend add 1.2.3.4 port=80
    POST /polycube/v1/lb0/service/10.0.0.1/80/tcp/backend/1.2.3.4/ {"port":80} 201 =
polycubectl lb0 service 10.0.0.1 80 tcp backend show
    GET /polycube/v1/lb0/service/10.0.0.1/80/tcp/backend/  200
polycubectl lb0 service 10.0.0.1 80 TCP backend del 1.2.3.4
    DELETE /polycube/v1/lb0/service/10.0.0.1/80/TCP/backend/1.2.3.4/  204 =
polycubectl lb0 service del 10.0.0.1 80 tcp
    DELETE /polycube/v1/lb0/service/10.0.0.1/80/tcp/  204 =
polycubectl lb0 del
    DELETE /polycube/v1/lb0/  204 =
polycubectl lbdsr add ld0
    POST /polycube/v1/lbdsr/ld0/ {} 201 =
polycubectl del ld0
    DELETE /polycube/v1/ld0/  204 =
polycubectl cubes add < cubes.yaml
    POST /polycube/v1/cubes/ [{"name":"br2","ports":[{"name":"p1","peer":"veth2"}],"service-name":"simplebridge"},{"name":"hw","service-name":"helloworld"}] 201 =
polycubectl br1 ports ?
    OPTIONS /polycube/v1/br1/ports?help=NONE  200
polycubectl router add ?
    OPTIONS /polycube/v1/router?help=ADD  200
polycubectl fw show ?
    OPTIONS /polycube/v1/fw?help=SHOW  200
polycubectl fw set ?
    OPTIONS /polycube/v1/fw?help=SET  200
polycubectl router del ?
    OPTIONS /polycube/v1/router?help=DEL  200
polycubectl br1 ports del to_r1
    DELETE /polycube/v1/br1/ports/to_r1/  204 =
polycubectl router show
    GET /polycube/v1/router/  200
polycubectl router r1 show
    GET /polycube/v1/router/r1/  200
polycubectl r1 show
    GET /polycube/v1/r1/  200
polycubectl router del r1
    DELETE /polycube/v1/router/r1/  204 =
polycubectl r1 show
    GET /polycube/v1/r1/  404
polycubectl hw del
    DELETE /polycube/v1/hw/  204 =
polycubectl del r2
    DELETE /polycube/v1/r2/  204 =
"""


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    for name in ("veth1", "veth2"):
        subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")
    for name in ("veth1", "veth2"):
        subprocess.run(["ip", "link", "del", name], check=True)


def as_sent(port: int, line: str) -> tuple[bytes, int, str | None]:
    """The bytes of a request, the status that is expected, and the body, if one is."""
    said, _, wanted = line.partition(" =")
    rest, _, status = said.strip().rpartition(" ")
    method, target, body = rest.split(" ", 2) if rest.count(" ") > 1 else (*rest.split(" "), "")
    body = body.strip()
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: Go-http-client/1.1\r\n"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    if method == "POST":
        head += "Content-Type: application/json\r\n"
    return f"{head}Accept-Encoding: gzip\r\n\r\n{body}".encode(), int(status), wanted.strip() if " =" in line else None


def test_a_session_of_the_client_byte_for_byte(api):
    command = ""
    for line in SESSION.splitlines():
        if not line.startswith(" "):
            command = line
            continue
        request, status, body = as_sent(api.port, line)
        reply = api.raw(request)
        assert reply.status == status, (command, reply.status, reply.body)
        assert body is None or reply.body.decode() == body, (command, reply.body)
        assert_printable(command, reply)
    assert drift(Options(root=api.root)) == []
    (document,) = show(Options(root=api.root))
    cubes = {cube["name"]: cube for cube in document["spec"]["cubes"]}
    assert cubes.keys() == {"br1", "fw", "dd1", "dd2", "br2"}
    assert cubes["br1"]["ports"] == [{"name": "to_veth1", "peer": "veth1", "tcubes": ["fw", "dd1"]}]
    assert cubes["br2"]["ports"] == [{"name": "p1", "peer": "veth2"}]
    assert (cubes["fw"]["loglevel"], cubes["fw"]["conntrack"]) == ("OFF", "OFF")
    ingress = next(chain for chain in cubes["fw"]["chain"] if chain["name"] == "INGRESS")
    assert (ingress["default"], [rule["src"] for rule in ingress["rule"]]) == ("DROP", ["10.0.0.2"])


def assert_printable(command: str, reply: Reply) -> None:
    """The client prints the body of an error as it is, and of an answer only what is JSON."""
    assert b"\n" not in reply.body.rstrip(b"\n"), command
    if reply.status < 300 and reply.body:
        assert reply.json is not None, command


def test_completion_as_the_shell_asks_for_it(api):
    """`curl -f -L -s -X OPTIONS`, every character encoded that might mean something, in lower case."""
    api.ok("POST", "/router/r1/", '{"ports":[{"name":"p1","ip":"10.0.0.1/24"}],"route":[{"network":"0.0.0.0/0","nexthop":"10.0.0.2"}]}')
    asked = {
        "/?help=NONE&completion": {"cubes", "router", "r1"},
        "/r1/route/0.0.0.0%2f0?help=NONE&completion": {"10.0.0.2"},
        "/connect?help=NONE&completion": {"r1:p1"},
        "/r1/ports?help=DEL&completion": {"p1"},
    }
    for target, words in asked.items():
        head = f"OPTIONS /polycube/v1{target} HTTP/1.1\r\nHost: localhost:{api.port}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
        reply = api.raw(head.encode())
        assert reply.status == 200, target
        assert words <= set(reply.json), (target, reply.json)
