"""More wrong inputs, each with the sentence that is said of it; and what `pcn validate` ends with for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.check import check
from reconciler.check.advice import advice
from reconciler.cli.main import main
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from tests.unit.test_wrong_inputs import CUBE, ERRORS, FW, LINK, ROUTER, SERVICES, WARNINGS, marked, said

NAT = "  cubes: [{name: n, service-name: nat, %s}]\n"
LB = "  cubes: [{name: l, service-name: lbrp, ports: [{name: c, type: FRONTEND}, {name: s, type: BACKEND}], %s}]\n"
DD = "  cubes: [{name: d, service-name: ddosmitigator, %s}]\n"
BR = "  cubes: [{name: b, service-name: bridge, %s}]\n"
PB = "  cubes: [{name: p, service-name: pbforwarder, ports: [{name: a}, {name: b}], %s}]\n"
AT_PORT = LINK % "mtu: <!>1000" + ROUTER.replace("ip: 10.0.0.1/24", 'peer: v1, ipv6: "fd00::1/64"') % "loglevel: INFO"

MORE = [
    (FW % "sport: <!>443-80", "a port needs l4proto TCP, UDP or SCTP"),
    (FW % "l4proto: ICMP, dport: <!>80", "a port needs l4proto TCP, UDP or SCTP"),
    (FW % "conntrack: <!>OPEN", 'states with commas between, such as "ESTABLISHED,RELATED"'),
    (FW % "conntrack: <!>[NEW, ESTABLISHD]", 'states with commas between, such as "ESTABLISHED,RELATED"'),
    (FW % "dst: <!>fd00::1/129", "'!' before: none of them"),
    (FW % "src: <!>10.0.0.0-10.0.0.0/8", "10.0.0.0-10.0.0.0/8 is no address, no prefix, and no range of addresses"),
    (FW % "src-set: <!>office", "there is no set 'office'"),
    (FW % "action: LOG, log-prefix: <!>[a]", "expected text, found a list"),
    (FW % "src: 10.0.0.1, dst: <!>fd00::1", "source and destination are of different families"),
    (ROUTER % "route: [{network: 10.1.0.0/16, nexthop: <!>fe80::1}]", "fe80::1 is no next hop for 10.1.0.0/16: the families differ"),
    (ROUTER % "route: [{network: 10.1.0.0/16, nexthop: 10.0.0.9, pathcost: <!>-1}]", "-1 is less than 0"),
    (ROUTER % "route: [{network: 10.1.0.0/16, nexthop: 10.0.0.9, interface: <!>z}]", '"r" has no port "z"'),
    (ROUTER % "arp-table: [{address: 10.0.0.7, interface: <!>q, mac: '02:00:00:00:00:07'}]", '"r" has no port "q"'),
    (ROUTER % "arp-table: [{address: 10.0.0.7, interface: a, mac: <!>'ff:ff:ff:ff:ff:ff'}]", "ff:ff:ff:ff:ff:ff is no MAC address of a station"),
    ("  cubes: [{name: r, service-name: router, ports: [{name: a, ip: 10.0.0.1/24, secondaryip: [{ip: <!>10.0.1.1}]}], loglevel: INFO}]\n", "as 10.0.0.0/24, or an IPv6 prefix, such as 2001:db8::/32"),
    ("  cubes: [{name: r, service-name: router, ports: [{name: a, ip: 10.0.0.1/24, mac: <!>'01:00:5e:00:00:01'}], loglevel: INFO}]\n", "01:00:5e:00:00:01 is no MAC address of a station"),
    ("  cubes: [{name: r, service-name: router, ports: [{name: a, ipv6: <!>fd00::1}], loglevel: INFO}]\n", '"fd00::1" is not valid: expected an IPv6 prefix, such as 2001:db8::/32'),
    ("  cubes: [{name: r, service-name: router, ports: [{name: a, ip: <!>127.0.0.1/8}], loglevel: INFO}]\n", "127.0.0.1 is no address that a port can have"),
    ("  cubes: [{name: r, service-name: router, ports: [{name: a, ip: <!>10.0.0.255/24}], loglevel: INFO}]\n", "10.0.0.255 is the broadcast address of 10.0.0.0/24, not a port's"),
    (NAT % "rule: {masquerade: {enabled: <!>yes}}", 'expected true or false, found text ("yes")'),
    (NAT % "rule: {snat: {entry: [{id: 1, internal-net: <!>10.0.0.0, external-ip: 1.2.3.4}]}}", "as 10.0.0.0/24, or an IPv6 prefix, such as 2001:db8::/32"),
    (NAT % "rule: {port-forwarding: {entry: [{id: 1, external-ip: 1.2.3.4, external-port: <!>0, internal-ip: 10.0.0.1, internal-port: 80}]}}", "0 is no port"),
    (NAT % "rule: {dnat: {entry: [{id: 1, external-ip: <!>1.2.3, internal-ip: 10.0.0.1}]}}", "such as 10.0.0.1, or an IPv6 address, such as 2001:db8::1"),
    (LB % "service: [{name: w, vip: <!>10.0.0.1/24, vport: 80, proto: TCP}]", "such as 10.0.0.1, or an IPv6 address, such as 2001:db8::1"),
    (LB % "service: [{name: w, vip: 10.0.0.1, vport: <!>http, proto: TCP}]", 'expected a whole number, found text ("http")'),
    (LB % "service: [{name: w, vip: 10.0.0.1, vport: 80, proto: <!>SCTP}]", '"SCTP" is not one of ICMP, TCP, UDP, ALL'),
    (LB % "service: [{name: w, vip: 10.0.0.1, vport: 80, proto: TCP, backend: [{ip: 10.0.0.2, port: 80, weight: <!>0}]}]", "all backends have weight 0, so none gets a new flow"),
    (DD % "blacklist-src: [{ip: <!>10.0.0.0/33}]", "such as 10.0.0.1, or an IPv6 address, such as 2001:db8::1"),
    (DD % "blacklist-src: [{ip: 10.0.0.1}, <!>{ip: 10.0.0.1}]", 'duplicate entry "10.0.0.1"'),
    (BR % "ports: [{name: a, mode: <!>TRUNKS}]", '"TRUNKS" is not one of access, trunk'),
    (BR % "ports: [{name: a, mode: access, access: {vlanid: <!>4095}}]", "4095 is more than 4094"),
    (PB % "rules: [{id: 1, action: FORWARD, out_port: <!>z}]", '"p" has no port "z"'),
    (LINK % "mtu: <!>jumbo", 'expected a whole number, found text ("jumbo")'),
    (LINK % "routes: [{to: default, via: <!>here}]", "such as 10.0.0.1, or an IPv6 address, such as 2001:db8::1"),
    (LINK % "netns: <!>a/b", "64 characters, without space and '/', not starting with '.'"),
    (LINK % "addresses: <!>10.0.0.1/24", 'expected a list, found text ("10.0.0.1/24")'),
    (LINK % "addresses: [10.0.0.1/24, <!>10.0.0.1/24]", '"10.0.0.1/24" is listed twice'),
    (LINK % "<!>adresses: [10.0.0.1/24]", 'unknown key "adresses"'),
    ("  links: [{name: v1, kind: veth, peer: {name: v2}}, <!>{name: v1, kind: bridge}]\n", 'duplicate link "v1"'),
    ("  links: [{name: w, kind: vlan, id: <!>5000, link: eth0}]\n", "5000 is more than 4094"),
    ("  links: [<!>{name: w, kind: vlan, id: 5}]\n", 'required key "link" is missing'),
    ("  links: [{name: x, kind: vxlan, id: <!>16777216}]\n", "16777216 is more than 16777215"),
    ("  links: [{name: <!>a/b, kind: bridge}]\n", "device: at most 15 characters, without space, '/' and ':'"),
    ("  links: [{name: <!>all, kind: bridge}]\n", "device: the kernel keeps it for settings of all devices"),
    ("  namespaces: [<!>a/b]\n", "64 characters, without space and '/', not starting with '.'"),
    ("  namespaces: <!>h1\n", 'expected a list, found text ("h1")'),
    ("  namespaces: [h1, <!>h1]\n", '"h1" is listed twice'),
    ("  attachments: [{netdev: <!>averyverylongname0, tcubes: []}]\n", "device: at most 15 characters, without space, '/' and ':'"),
    ("  attachments: [<!>{tcubes: [fw]}]\n  cubes: [{name: fw, service-name: firewall}]\n", "an attachment is at one netdev, or at the netdevs that a selector matches"),
    ("  attachments: [{netdev: v1, tcubes: [fw, <!>fw]}]\n  cubes: [{name: fw, service-name: firewall}]\n", '"fw" is listed twice'),
    ("  attachments: [{netdevs: <!>'kind:', tcubes: [fw]}]\n  cubes: [{name: fw, service-name: firewall}]\n", "with ! in front to leave out what it matches"),
    (CUBE % "ports: [{name: <!>a b}]", "digits, '_', '-' and '.', not starting with '-' or '.'"),
    (CUBE % "ports: [{name: a, peer: <!>'b:'}]", "at most 15 characters) or a port of another cube (r1:port1)"),
    (CUBE % "ports: [{name: a, <!>per: v1}]", 'unknown key "per"'),
    (CUBE % "fuse: <!>maybe", 'expected true or false, found text ("maybe")'),
    (CUBE % "<!>port: []", 'unknown key "port"'),
    (CUBE % "fdb: <!>[]", "expected a mapping, found a list"),
    (CUBE % "fdb: {aging-time: <!>-1}", "-1 is less than 0"),
    (CUBE % "fdb: {aging-time: <!>1.5}", "expected a whole number, found 1.5"),
    ("  cubes: [{name: a, service-name: simplebridge}, <!>{name: a, service-name: router}]\n", 'duplicate cube "a"'),
    ("  cubes: <!>{name: a}\n", "expected a list, found a mapping"),
    ("  cubes: [<!>simplebridge]\n", 'expected a mapping, found text ("simplebridge")'),
    ("  cubes: [{name: a, service-name: simplebridge<!>\n", "not YAML: did not find expected ',' or '}'"),
    ("  cubes: [{name: <!>!!python/object:os.system a}]\n", "the tag !!python/object:os.system is not accepted"),
    ("\napiVersion: polycube.network/v1\nkind: <!>Topologie\nmetadata: {name: t}\nspec: {}\n", '"Topologie" is not Topology'),
    ("\napiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec: <!>[]\n", "expected a mapping, found a list"),
    ("\napiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t, <!>label: {}}\nspec: {}\n", 'unknown key "label"'),
    ("\n<!>apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\n", 'required key "spec" is missing'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "sentence"), MORE)
def test_a_wrong_input_is_refused_at_its_place_in_a_sentence_that_says_what_would_be_right(body: str, sentence: str) -> None:
    text, line, column = marked(body)
    with pytest.raises(DocumentError) as raised:
        check(parse(text, "t.yaml"), SERVICES)
    found = said(raised.value.problems, text)
    assert sentence in found, found
    assert f"t.yaml:{line}:{column}:" in found, found
    assert "(?:" not in found


def test_a_netdev_that_is_too_narrow_for_the_ipv6_of_a_port_is_warned_of() -> None:
    text, line, column = marked(AT_PORT)
    documents = parse(text, "t.yaml")
    check(documents, SERVICES)
    found = said(advice(documents, SERVICES, ["lo"]), text)
    assert f"t.yaml:{line}:{column}:" in found
    assert '"v1" has an MTU of 1000, and port "a" at it has the IPv6 address fd00::1/64' in found
    assert "IPv6 needs an MTU of at least 1280" in found
    wide = parse(text.replace("1000", "1280"), "t.yaml")
    assert "MTU" not in said(advice(wide, SERVICES, ["lo"]), text)


def test_another_name_of_a_netdev_is_as_good_unless_the_netdev_is_named_otherwise_too() -> None:
    def said(ports: str) -> list[tuple[str, str]]:
        documents = parse(marked(CUBE % f"ports: [{ports}]")[0], "t.yaml")
        problems = advice(documents, SERVICES, ["eth0"], lambda: {"enp9s0": "eth0"})
        return [(each.message, str(each.hint)) for each in problems]

    assert said("{name: a, peer: enp9s0}") == []
    assert said("{name: a, peer: <!>enp9s0}, {name: b, peer: eth0}") == [
        ('"enp9s0" is another name (altname) of eth0, which is named elsewhere too: this one waits', 'write "eth0"')
    ]


def test_there_are_120_of_them_and_validate_ends_with_65_for_each_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [body for body, _ in [*ERRORS, *MORE]]
    assert len(wrong) + len(WARNINGS) >= 120
    file = tmp_path / "t.yaml"
    for bodies, code in ((wrong, 65), ([body for body, _ in WARNINGS], 0)):
        for body in bodies:
            text, line, column = marked(body)
            file.write_text(text)
            assert main(["validate", str(file)]) == code, body
            assert f"{file}:{line}:{column}:" in "".join(capsys.readouterr()) or code == 0
