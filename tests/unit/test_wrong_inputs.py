"""Wrong inputs as people write them, in one table: each is refused with its place, and in words that say the way out.

A row: what stands below `spec:` (or a whole document, if it begins with a blank line), and words that must all be said. The place
is always said: the line and column of the mistake are those of the mark <!> in the text, which is taken out before it is checked.
"""

from __future__ import annotations

import pytest

from reconciler.check import check
from reconciler.check.advice import advice
from reconciler.document.diagnostics import render_all
from reconciler.document.load import parse
from reconciler.errors import DocumentError, Problem
from reconciler.service.registry import Services

SERVICES = Services()
HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n"

FW = "  cubes: [{name: fw, service-name: firewall, chain: [{name: INGRESS, rule: [{id: 1, %s}]}]}]\n"
ROUTER = "  cubes: [{name: r, service-name: router, ports: [{name: a, ip: 10.0.0.1/24}], %s}]\n"
LINK = "  links: [{name: v1, kind: veth, peer: {name: v2}, %s}]\n"
CUBE = "  cubes: [{name: c, service-name: simplebridge, %s}]\n"
FORWARDER = "  cubes: [{name: c, service-name: simpleforwarder, ports: [{name: a}, {name: b}], %s}]\n"

ERRORS = [
    # quoting, and what YAML makes of it
    (FW % "dport: <!>80:90", ["dport", "range such as", 'did you mean "80-90"?']),
    (FW % "l4proto: TCP, dport: <!>sssh", ["known by the name sssh", "did you mean ssh?"]),
    (FW % "l4proto: TCP, dport: <!>[80, 90000]", ["90000 is no port"]),
    (FW % "src: <!>10.0.0.9-10.0.0.1", ["is no range of addresses"]),
    (FW % "src: <!>'10.0.0.0/8,!10.1.0.0/16'", ["stands before the first"]),
    (FW % "dport: <!>70000", ["dport", "65535"]),
    (FW % "dport: <!>-1", ["dport"]),
    (FW % "l4proto: <!>tpc", ["l4proto", '"tpc"']),
    (FW % "tcpflags: SYN,<!>ACK", ['quote it, tcpflags: "SYN,ACK"']),
    (FW % "tcpflags: <!>SIN", ["tcpflags", "expected flags"]),
    (FW % "tcpflags: <!>syn", ["tcpflags", 'did you mean "SYN"?']),
    (FW % "icmp-type: <!>echo", ["icmp-type", "type and a code"]),
    (FW % "src: <!>10.0.0.1/33", ["src", '"10.0.0.1/33"']),
    (FW % "src: <!>10.0.0.5/8", ["src", "bits set beyond its length"]),
    (FW % "src: <!>10.0.0", ["src"]),
    (FW % "src: <!>example.org", ["src", '"example.org"']),
    (FW % "action: <!>ALLOW", ["ALLOW", "ACCEPT"]),
    (FW % "<!>actoin: DROP", ['unknown key "actoin"', 'did you mean "action"?']),
    (FW % "limit: <!>fast", ["limit", "whole number"]),
    (ROUTER % "route: [{network: <!>::/0, nexthop: fe80::1}]", ["cannot start with ':'", 'quote it: "::/0"']),
    (ROUTER % "route: [{network: <!>10.0.0, nexthop: 10.0.0.9}]", ["network", "prefix"]),
    (ROUTER % "route: [<!>{network: 10.1.0.0/16}]", ["nexthop", "missing"]),
    (ROUTER % "<!>rout: []", ['unknown key "rout"', 'did you mean "route"?']),
    (ROUTER.replace("ip: 10.0.0.1/24", "ip: <!>10.0.0.0/24") % "loglevel: INFO", ["network's address"]),
    (ROUTER.replace("ip: 10.0.0.1/24", "ip: <!>10.0.0.1") % "loglevel: INFO", ["IPv4 prefix, such as"]),
    (ROUTER.replace("ip: 10.0.0.1/24", "ip: <!>10.0.0.300/24") % "loglevel: INFO", ["IPv4 prefix, such as"]),
    # links
    (LINK % "addresses: [<!>10.0.0.1]", ["10.0.0.1"]),
    (LINK % "addresses: [<!>224.0.0.1/4]", ["cannot be a device's address"]),
    (LINK % "addresses: [fd00::1/64], mtu: <!>1000", ["IPv6 needs an MTU of at least 1280"]),
    (LINK % "mtu: <!>12", ["mtu"]),
    (LINK % 'mac: <!>"01:00:00:00:00:01"', ["group's address"]),
    (LINK % "mac: <!>02:00:00:00:00", ["mac"]),
    (LINK % "netns: <!>h1", ["no topology has a network namespace", "spec.namespaces"]),
    (LINK % "routes: [{to: default, via: <!>10.9.9.9}]", ["cannot be reached on this device"]),
    (LINK % "routes: [{to: <!>10.0.0.1/8, via: 10.0.0.2}]", ["not a prefix", 'did you mean "10.0.0.0/8"?']),
    ("  links: [{name: <!>averyverylongname0, kind: veth, peer: {name: b}}]\n", ["averyverylongname0"]),
    ("  links: [{name: v1, kind: <!>vthe, peer: {name: b}}]\n", ["veth"]),
    ("  links: [<!>{name: v1, kind: veth}]\n", ["peer", "missing"]),
    ("  links: [{name: v1, kind: veth, peer: {name: <!>v1}}]\n", ["already"]),
    # cubes, ports and peers
    ("  cubes: [{name: c, service-name: <!>simplebrigde}]\n", ["unknown service", 'did you mean "simplebridge"?']),
    ("  cubes: [<!>{service-name: simplebridge}]\n", ['required key "name" is missing']),
    ("  cubes: [<!>{name: c}]\n", ['required key "service-name" is missing']),
    ("  cubes: [{name: <!>c d, service-name: simplebridge}]\n", ["letters, digits"]),
    (CUBE % "type: <!>XPD", ["XDP_SKB", "TC"]),
    (CUBE % "loglevel: <!>LOUD", ["LOUD", "INFO"]),
    (CUBE % "ports: [{name: a, peer: <!>d:p}]", ['no such cube "d"']),
    (CUBE % "ports: [{name: a, peer: <!>c:b}, {name: b}]", ["another port of the same cube"]),
    (CUBE % "ports: [{name: a, peer: v1}, {name: b, peer: <!>v1}]", ["already"]),
    (CUBE % "ports: [{name: a}, <!>{name: a}]", ['duplicate port "a"']),
    (CUBE % "ports: [{name: a, tcubes: [<!>fw]}]", ['no such cube "fw"']),
    (CUBE % "fdb: {aging-time: <!>five}", ["aging-time", "whole number"]),
    (CUBE % 'fdb: {aging-time: <!>"5"}', ["without quotes"]),
    (CUBE % "fdb: {<!>agin-time: 5}", ['unknown key "agin-time"', 'did you mean "aging-time"?']),
    (CUBE % "fdb: {entry: [{address: 02:00:00:00:00:01, port: <!>p9}]}", ['has no port "p9"']),
    (CUBE % "fdb: {entry: [{address: <!>02:00:00:00:00, port: p}]}", ["address"]),
    (CUBE % "ports: <!>{name: a}", ["expected a list", "start each entry with '- '"]),
    (CUBE % "ports: <!>5", ["expected a list"]),
    (FORWARDER % "actions: [{inport: <!>z, action: DROP}]", ['has no port "z"']),
    (FORWARDER % "actions: [{inport: a, action: FORWARD, outport: <!>z}]", ['has no port "z"']),
    ("  cubes: [{name: fw, service-name: firewall, <!>ports: [{name: a}]}]\n", ["transparent cube", "tcubes"]),
    ("  cubes: [{name: br, service-name: simplebridge}]\n  attachments: [{netdev: v1, tcubes: [<!>br]}]\n", ["not a transparent cube"]),
    ("  attachments: [{netdev: v1, tcubes: [<!>nope]}]\n", ['no such cube "nope"']),
    # the document itself
    ("  <!>cube: []\n", ['unknown key "cube"', 'did you mean "cubes"?']),
    ("  cubes: []\n<!>extra: 1\n", ['unknown key "extra"']),
    ("\n<!>apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {}\n", ["this is a Deployment of apps/v1"]),
    ("\n<!>services: {web: {image: nginx}}\n", ["this is no topology"]),
    ("\n<!>- a\n- b\n", ["this is no topology"]),
    ("\n<!>just words\n", ["this is no topology"]),
    ("\napiVersion: <!>polycube.network/v2\nkind: Topology\nmetadata: {name: t}\nspec: {}\n", ["polycube.network/v1"]),
    ("\napiVersion: polycube.network/v1\nkind: Topology\nmetadata: <!>{}\nspec: {}\n", ['required key "name" is missing']),
    ("\napiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: <!>a b}\nspec: {}\n", ['"a b"']),
    ("  cubes:\n<!>\t- {name: a}\n", ["tab", "use spaces"]),
    ("  cubes: [{name: c, service-name: simplebridge, <!>name: d}]\n", ["duplicate key"]),
]  # fmt: skip

WARNINGS = [
    ("  cubes: [<!>{name: fw, service-name: firewall}]\n", ["attached nowhere", "tcubes"]),
    (CUBE % "ports: [{name: a, peer: <!>veht9}]", ['no netdev "veht9"', 'did you mean "veth9"?']),
    (CUBE % "ports: [{name: a, peer: <!>uplink}]", ['no netdev "uplink"', "waits until it appears"]),
    ("  attachments: [{netdev: <!>uplink, tcubes: [fw]}]\n  cubes: [{name: fw, service-name: firewall}]\n", ['no netdev "uplink"']),
    (ROUTER % "route: [{network: <!>10.1.0.0, nexthop: 10.0.0.9}]", ["no length", '"10.1.0.0/32"']),
    (ROUTER % "route: [{network: <!>10.1.0.5/16, nexthop: 10.0.0.9}]", ["bits set beyond its length", '"10.1.0.0/16"']),
    (ROUTER % "route: [{network: <!>0.0.0.0, nexthop: 10.0.0.9}]", ["one address", '"0.0.0.0/0"']),
    (FW % "src: <!>0.0.0.0", ["one address", '"0.0.0.0/0"']),
]


def marked(body: str) -> tuple[str, int, int]:
    """The whole text without its mark, and the mark's line and column."""
    text = body[1:] if body.startswith("\n") else HEAD + body
    before, _, after = text.partition("<!>")
    return before + after, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def said(problems: list[Problem], text: str) -> str:
    return render_all(problems, {"t.yaml": text}, False)


@pytest.mark.parametrize(("body", "words"), ERRORS)
def test_a_wrong_input_is_refused_with_its_place_and_the_way_out(body: str, words: list[str]) -> None:
    text, line, column = marked(body)
    with pytest.raises(DocumentError) as raised:
        check(parse(text, "t.yaml"), SERVICES)
    found = said(raised.value.problems, text)
    assert f"t.yaml:{line}:{column}:" in found, found
    assert [word for word in words if word not in found] == [], found
    assert "(?:" not in found
    assert "\\" not in found


@pytest.mark.parametrize(("body", "words"), WARNINGS)
def test_what_is_seldom_meant_is_warned_of_with_its_place(body: str, words: list[str]) -> None:
    text, line, column = marked(body)
    documents = parse(text, "t.yaml")
    check(documents, SERVICES)
    found = said(advice(documents, SERVICES, ["lo", "veth9"]), text)
    assert f"t.yaml:{line}:{column}:" in found, found
    assert [word for word in words if word not in found] == [], found


def test_a_copy_of_a_file_beside_it_is_one_error() -> None:
    text = HEAD + "  namespaces: [h1]\n" + LINK % "mtu: 1500" + CUBE % "ports: [{name: a, peer: v1}]"
    with pytest.raises(DocumentError) as raised:
        check([*parse(text, "a.yaml"), *parse(text, "a.bak.yaml")], SERVICES)
    assert [problem.message for problem in raised.value.problems] == ['there are two documents of topology "t"']


def test_no_pattern_of_a_model_is_shown_to_people() -> None:
    def patterns(node: object, path: str) -> list[str]:
        if isinstance(node, list):
            return [found for index, entry in enumerate(node) for found in patterns(entry, f"{path}/{index}")]
        if not isinstance(node, dict):
            return []
        here = [path] if isinstance(node.get("pattern"), str) and "patternErrorMessage" not in node else []
        return here + [found for name, part in node.items() for found in patterns(part, f"{path}/{name}")]

    bare = {name: patterns(service.schema, "") for name in SERVICES.names() if (service := SERVICES.get(name)) is not None}
    assert {name: paths for name, paths in bare.items() if paths} == {}, "give the pattern an error-message in the model"
