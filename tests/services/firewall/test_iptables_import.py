"""iptables' rules as a firewall's: the same verdicts, and where that cannot be, none that accepts more."""
from __future__ import annotations

import ipaddress
import random
import re
from pathlib import Path

import pytest

from cubes.firewall import IMPORTS
from reconciler.errors import DocumentError, UsageError
from tests.services.firewall.imported import cubes_of
from tests.services.firewall.iptables_model import STATES, Seen, Tables, packets, random_save, states
from tests.services.firewall.model import Model, Packet

READ = IMPORTS["iptables-save"].read


def imported(*texts: str, **options: list[str]):
    given = {"netdev": ["eth0"], **options}
    return READ({f"file{number}": text for number, text in enumerate(texts)}, {name: value for name, value in given.items() if value is not None})


OWN = {4: ["10.0.0.2", "127.0.0.0/8"], 6: ["fd00::2", "::1"]}


def models(found) -> dict[str, Model]:
    """The firewalls, by their netdev, on a host with the addresses of OWN."""
    cubes = cubes_of(found.document)
    for each in (each for cube in cubes for each in cube.get("set", ()) if each.get("own-addresses")):
        each["prefix"] = OWN[4] + OWN[6]
    return {at["netdev"]: Model(cube) for at, cube in zip(found.document["spec"]["attachments"], cubes, strict=True)}


def verdict(model: Model, chain: str, packet: Packet, state: str, device: str = "") -> str:
    """`state` is what the firewall's own tracking says."""
    return model.decide(chain, packet, state, device).verdict


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("exact", [True, False])
def test_random_tables_of_a_host_fare_as_with_iptables(family, exact):
    accepted, own = 0, [ipaddress.ip_address(OWN[family][0])]
    for seed in range(30):
        chance = random.Random(f"{seed} {family} {exact}")
        sure = ("NEW,INVALID", "RELATED,ESTABLISHED") if exact else STATES
        text = random_save(chance, family, exact=exact, states=sure, named=seed % 3 > 0, senders=seed % 2 > 0)
        original, firewall = Tables(text, own=own), models(imported(text, host=[]))["eth0"]
        for packet in packets(chance, family, 60):
            theirs, ours = states(chance, packet)
            for chain, was, path in (("INGRESS", "INPUT", {"came_by": "eth0"}), ("EGRESS", "OUTPUT", {"leaves_by": "eth0"})):
                wanted = original.judge(was, Seen(packet, theirs, luck=chance.randrange(1000), **path))
                found = verdict(firewall, chain, packet, ours)
                accepted += found == "ACCEPT"
                assert found == wanted if exact else found != "ACCEPT" or wanted == "ACCEPT", (seed, chain, packet, theirs, text)
    assert accepted > 600, "a firewall that refuses all would pass this test"


@pytest.mark.parametrize("exact", [True, False])
def test_random_tables_of_a_router_fare_as_with_iptables(exact):
    """What comes by eth0 or eth1 is for the router (10.0.0.2), or leaves by the other one; what it sends leaves by eth1."""
    for seed in range(20):
        chance = random.Random(f"{seed} {exact}")
        sure = ("NEW,INVALID", "RELATED,ESTABLISHED") if exact else STATES
        text = random_save(chance, 4, exact=exact, states=sure, named=seed % 2 > 0)
        original = Tables(text, [ipaddress.ip_address("10.0.0.2")])
        firewalls = models(imported(text, netdev=["eth0", "eth1"], address=["10.0.0.2/24"]))
        for packet in packets(chance, 4, 60):
            theirs, ours = states(chance, packet)
            luck = chance.randrange(1000)
            local = str(packet.dst) == "10.0.0.2"
            came_by, leaves_by = chance.choice((("eth0", "eth1"), ("eth1", "eth0"), ("", "eth1")))
            wanted, found = "ACCEPT", "ACCEPT"
            if came_by:
                found = verdict(firewalls[came_by], "INGRESS", packet, ours, came_by)
            if came_by and local:
                wanted = original.judge("INPUT", Seen(packet, theirs, came_by, "", luck))
            elif came_by:
                assert found == "ACCEPT"
                wanted = original.judge("FORWARD", Seen(packet, theirs, came_by, leaves_by, luck))
                found = verdict(firewalls[leaves_by], "EGRESS", packet, ours, came_by)
            else:
                wanted = original.judge("OUTPUT", Seen(packet, theirs, "", leaves_by, luck))
                found = verdict(firewalls[leaves_by], "EGRESS", packet, ours)
            assert found == wanted if exact else found != "ACCEPT" or wanted == "ACCEPT", (seed, came_by, packet, theirs, text)


def test_both_families_share_a_firewall_and_keep_their_policies():
    four = random_save(random.Random(4), 4, exact=True).replace(":INPUT DROP", ":INPUT ACCEPT")
    six = random_save(random.Random(6), 6, exact=True).replace(":INPUT ACCEPT", ":INPUT DROP")
    firewall = models(imported(four + six, host=[]))["eth0"]
    apart = models(imported(four, six, host=[]))["eth0"]
    chance = random.Random(1)
    for text, family in ((four, 4), (six, 6)):
        for packet in packets(chance, family, 200):
            wanted = Tables(text).judge("INPUT", Seen(packet, "ESTABLISHED", "eth0"))
            assert verdict(firewall, "INGRESS", packet, "ESTABLISHED") == wanted
            assert verdict(apart, "INGRESS", packet, "ESTABLISHED") == wanted


def test_chains_that_return_too_often_are_refused():
    """Each RETURN makes a copy of what comes after; here all of them can apply to one packet."""
    names = [f"c{number}" for number in range(24)]
    lines = ["# Generated by iptables-save", "*filter", ":INPUT DROP", ":FORWARD ACCEPT", ":OUTPUT ACCEPT", *(f":{name} -" for name in names)]
    lines += [f"-A INPUT -j {name}" for name in names]
    for number, name in enumerate(names):
        lines += [f"-A {name} -s 10.0.0.0/{8 + number} -j RETURN", f"-A {name} -p tcp -m tcp --dport {number} -j DROP"]
    with pytest.raises(DocumentError, match="more than 100000 rules"):
        imported("\n".join([*lines, "COMMIT", ""]), host=[])
    apart = [re.sub(r"-s \S+", f"-s 10.{place}.0.0/16", line) for place, line in enumerate(lines)]
    assert len(imported("\n".join([*apart, "COMMIT", ""]), host=[]).document["spec"]["cubes"][0]["chain"][0]["rule"]) < 1000


# -- what is wrong, and what is lost --------------------------------------------------------------------------------------

SAVES = sorted((Path(__file__).parent / "data" / "iptables").glob("*.save"))
HEAD = "# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:web - [0:0]\n"


@pytest.mark.parametrize("file", SAVES, ids=lambda path: path.stem)
def test_what_is_no_save_is_refused_at_its_line_and_column(file):
    """Each file says in its first lines what is wrong with it."""
    text = file.read_text()
    expected = re.findall(r"^# expect (.*)$", text, re.MULTILINE)
    with pytest.raises(DocumentError) as caught:
        READ({"f": text}, {"netdev": ["eth0"]})
    found = [str(problem).removeprefix("f:") for problem in caught.value.problems]
    assert len(found) == len(expected), found
    for line, wanted in zip(found, expected, strict=True):
        assert line.startswith(wanted), found


SETS = """
create pairs hash:ip,port family inet
add pairs 10.0.0.1,tcp:80
create odd hash:net family inet
add odd 10.0.0.0/8
add odd 10.1.0.0/16 nomatch
create fine hash:ip family inet timeout 300
add fine 10.0.0.1 timeout 17
add fine 10.0.0.7
create neighbours bitmap:ip range 192.0.2.0/24
add neighbours 192.0.2.6-192.0.2.9
"""


def lost(*lines: str, head: str = HEAD, **options) -> list[tuple[int, int, str, str]]:
    """Line, column, severity and text of what the import of these rules says, but that there is no file for IPv6."""
    found = imported(head + "\n".join([*lines, "COMMIT", ""]), SETS, **({"host": []} | options))
    return [(where.line, where.column, problem.severity, f"{problem.message}; {problem.hint}")
            for problem in found.lost if (where := problem.where) is not None]  # fmt: skip


def rules(*lines: str, chain: str = "INGRESS", head: str = HEAD, **options) -> list[dict]:
    spec = imported(head + "\n".join([*lines, "COMMIT", ""]), SETS, **({"host": []} | options)).document["spec"]
    return next(found["rule"] for found in spec["cubes"][0]["chain"] if found["name"] == chain)


@pytest.mark.parametrize(("rule", "column", "severity", "words"), [
    ("-A INPUT -m set --match-set bad src -j ACCEPT", 17, "error", "set bad is not in the file: print what `ipset save` says into it) cannot be said; --lossy leaves the rule out, so that less"),
    ("-A INPUT -m set --match-set bad src -j DROP", 17, "error", "--lossy leaves the condition out, so that more is dropped"),
    ("-A INPUT -m set --match-set pairs src,dst -j DROP", 17, "error", "set pairs is of type hash:ip,port, not of addresses"),
    ("-A INPUT -m set --match-set odd src -j DROP", 17, "error", "set odd has an exception (nomatch)"),
    ("-A INPUT -m set --match-set fine src,src -j DROP", 17, "error", "src,src of a set of addresses"),
    ("-A INPUT -p tcp -m connlimit --connlimit-above 9 -j REJECT", 17, "error", "so that more is rejected"),
    ("-A INPUT -m mark --mark 0x1 -j web", 10, "error", "--lossy goes through the chain without it, and accepts nothing there"),
    ("-A INPUT -m mark --mark 0x1 -j RETURN", 10, "error", "goes through the rest of the chain before it returns"),
    ("-A INPUT -m limit --limit 5/min -j ACCEPT", 1, "warning", "a limit is kept by each firewall for itself"),
    ("-A INPUT -m limit --limit 5/min -j web", 19, "error", "--limit cannot be said"),
    ("-A INPUT -m recent --update -j LOG", 10, "warning", "more is logged"),
    ("-A INPUT -m addrtype --dst-type ANYCAST -j ACCEPT", 22, "error", "--dst-type cannot be said"),
    ("-A INPUT -m conntrack --ctstate RELATED,DNAT -j ACCEPT", 23, "error", "DNAT cannot be said; the other states are"),
    ("-A INPUT -s 10.0.0.1/255.0.255.0 -j DROP", 10, "error", "-s cannot be said"),
    ("-A INPUT -p udplite -m udplite --dport 80 -j ACCEPT", 32, "error", "--dport cannot be said"),
    ("-A INPUT -p tcp -m tcp --tcp-option 5 -j DROP", 24, "error", "--tcp-option cannot be said"),
    ("-A INPUT -j NFQUEUE --queue-num 1", 13, "error", "what target NFQUEUE does cannot be said; --lossy drops what comes here"),
    ("-A INPUT -j NFLOG --nflog-group 1", 13, "warning", "NFLOG is left out; the next rules are asked"),
    ('-A INPUT -j LOG --log-prefix "in: " --log-uid', 13, "warning", "left out: --log-uid"),
    ("-A INPUT -m limit --limit 5/min -j RETURN", 19, "error", "--limit cannot be said"),
    ("-A INPUT -i eth7 -j ACCEPT", 1, "warning", "there is no firewall at eth7; --netdev eth7"),
])  # fmt: skip
def test_what_cannot_be_carried_over_is_said_at_its_line(rule, column, severity, words):
    found = lost("-A INPUT -s 192.0.2.1/32 -j DROP", rule)
    ((line, at, kind, text),) = [each for each in found if "followed by" not in each[3]]
    assert (line, at, kind) == (8, column, severity)
    assert words in text


def test_tracking_and_what_is_invalid_are_other_things_here():
    found = lost("-A INPUT -m conntrack --ctstate INVALID -j ACCEPT")
    assert {severity: text.partition(",")[0] for _, _, severity, text in found} == {
        "warning": "connections are followed by each netdev for itself",
        "error": "what is INVALID here may be NEW to iptables; --lossy leaves the rule out",
    }  # fmt: skip


def test_a_forward_chain_needs_a_word_about_routing():
    refuses = HEAD.replace(":FORWARD ACCEPT", ":FORWARD DROP")
    assert not lost(head=refuses)
    ((line, _, severity, text),) = lost(head=refuses, host=None)
    assert (line, severity) == (4, "error")
    assert "--host says that it forwards nothing, --address ADDRESS that it does" in text
    assert not lost(head=HEAD, host=None)


def test_other_tables_are_listed_and_count_if_they_stop_or_change_packets():
    nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.9\nCOMMIT\n"
    marks = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n"
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n:bad - [0:0]\n-A PREROUTING -s 192.0.2.0/24 -j bad\n-A bad -j DROP\nCOMMIT\n"
    found = [(line, severity, text) for line, _, severity, text in lost(head=nat + marks + raw + HEAD)]
    assert [(line, severity) for line, severity, _ in found] == [(1, "error"), (5, "warning"), (9, "error")]
    assert "table nat is left out: 1 rules (DNAT)" in found[0][2]
    assert "may accept more" in found[0][2]
    assert "table raw is left out: 2 rules (DROP)" in found[2][2]


def test_rules_that_no_packet_comes_to_are_not_complained_about():
    assert not lost("-A web -m mark --mark 0x1 -j DROP")
    assert not lost("-A INPUT -j ACCEPT", "-A INPUT -m mark --mark 0x1 -j DROP")
    assert not lost("-A FORWARD -m mark --mark 0x1 -j DROP")


def test_nothing_hidden_is_taken_for_nothing():
    ((line, _, severity, text),) = lost(head="# Table `filter' is incompatible, use 'nft' tool.\n" + HEAD)
    assert (line, severity) == (1, "error")
    assert "more rules than this file has" in text


def test_conditions_of_which_a_part_can_be_said_keep_it() -> None:
    """What cannot be said neither vanishes nor makes the rule one for all."""
    assert [rule["conntrack"] for rule in rules("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT")] == ["ESTABLISHED,RELATED"]
    assert [rule["conntrack"] for rule in rules("-A INPUT -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT")] == ["NEW"]
    assert rules("-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT") == []
    assert rules("-A INPUT -f -j DROP") == []
    assert rules("-A INPUT ! -f -j DROP") == rules("-A INPUT -j DROP")
    head6 = HEAD.replace("iptables", "ip6tables")
    (ah,) = rules("-A INPUT -m ah -j ACCEPT", head=head6)
    assert ah["l4proto"] == "AH"
    (untracked,) = rules("-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT", head=head6)[:1]
    assert untracked["l4proto"] == "ICMPV6"
    assert "conntrack" not in untracked


def test_what_a_restore_takes_and_save_does_not_print_is_read() -> None:
    bare = "# Generated by iptables-save v1.8.9\n*filter\n-F\n"
    found = rules("-A INPUT -p udp -m udp --dport domain -j DROP", head=bare)
    assert [(rule["dport"], rule["action"]) for rule in found] == [(53, "DROP")]


def test_a_dhcp_client_is_thought_of_where_it_would_hear_nothing() -> None:
    def said(*lines: str) -> bool:
        found = imported(HEAD + "\n".join([*lines, "COMMIT", ""]), host=[]).lost
        return any("DHCP" in problem.message for problem in found)

    assert said("-A INPUT -p udp --dport 53 -j ACCEPT", "-A INPUT -j DROP")
    assert not said("-A INPUT -p udp --dport 67:68 -j ACCEPT", "-A INPUT -j DROP")


def test_what_reject_answers_is_carried() -> None:
    said = rules(*(f"-A INPUT -p udp --dport {port} -j REJECT --reject-with {what}" for port, what in enumerate(
        ("icmp-port-unreachable", "icmp-host-prohibited", "icmp-admin-prohibited", "icmp-net-unreachable"), 1)))  # fmt: skip
    assert [rule.get("reject-with") for rule in said] == [None, "HOST_PROHIBITED", "ADMIN_PROHIBITED", "NO_ROUTE"]
    joined = rules("-A INPUT -p udp --dport 1 -j REJECT", "-A INPUT -p udp --dport 2 -j REJECT --reject-with icmp-port-unreachable")
    assert [rule["dport"] for rule in joined] == ["1,2"]


def test_a_return_with_a_limit_before_a_drop_is_a_drop_of_what_is_over_it() -> None:
    flood = ("-A INPUT -p tcp --syn -j web", "-A web -p tcp --syn -m limit --limit 25/sec --limit-burst 50 -j RETURN", "-A web -j DROP",
             "-A INPUT -p tcp -j ACCEPT")  # fmt: skip
    over, *rest = rules(*flood)
    assert (over["action"], over["limit"], over["limit-burst"], over["l4proto"]) == ("DROP", "over 25/second", 50, "TCP")
    assert {rule["action"] for rule in rest} == {"ACCEPT"}


def test_limits_prefixes_lists_and_local_addresses_are_carried() -> None:
    (limited,) = rules("-A INPUT -p icmp -m limit --limit 5/min --limit-burst 7 -j ACCEPT")
    assert (limited["limit"], limited["limit-burst"]) == ("5/minute", 7)
    (log,) = rules('-A INPUT -m limit --limit 10/hour -j LOG --log-prefix "in: "')
    assert (log["log-prefix"], log["limit"]) == ("in: ", "10/hour")
    found = rules("-A INPUT -m addrtype --dst-type BROADCAST -j ACCEPT", address=["192.0.2.1/24"])
    assert {address for rule in found if rule["action"] == "ACCEPT" for address in rule["dst"].split(",")} == {"255.255.255.255", "192.0.2.255"}
    many = [f"-A INPUT -s 10.0.{n}.1/32 -p tcp -m tcp --dport 22 -j ACCEPT" for n in range(30)]
    (allowed,) = rules(*many)
    assert allowed["src-set"] == "addresses-1"


def test_sets_senders_and_the_hosts_own_addresses_are_carried() -> None:
    lines = """
-A INPUT -m set ! --match-set fine src -m mac --mac-source 02:00:00:00:00:0A -j ACCEPT
-A INPUT -m addrtype ! --dst-type LOCAL -j DROP
-A INPUT -m set --match-set fine src -j web
-A web -m set --match-set neighbours src -j DROP
-A web -m set ! --match-set neighbours src -m set ! --match-set fine src -j DROP
COMMIT
"""
    found = imported(HEAD + lines, SETS, host=[])
    (cube,) = found.document["spec"]["cubes"]
    assert [{leaf: said for leaf, said in rule.items() if leaf not in ("id", "src")} for rule in cube["chain"][0]["rule"]] == [
        {"src-set": "!fine", "smac": "02:00:00:00:00:0a", "action": "ACCEPT"}, {"dst-set": "!own-addresses", "action": "DROP"},
        {"src-set": "addresses-1", "action": "DROP"},
    ]  # fmt: skip
    assert cube["set"] == [{"name": "own-addresses", "own-addresses": True}, {"name": "fine", "prefix": ["10.0.0.1", "10.0.0.7"]},
                           {"name": "addresses-1", "prefix": []}]  # fmt: skip
    assert "some entries of set fine go by themselves, and stay here" in {problem.message for problem in found.lost}
    assert not [problem for problem in found.lost if problem.severity == "error"]


def test_a_set_that_two_firewalls_have_is_written_once() -> None:
    lines = "-A INPUT -m set --match-set fine src -j DROP\n-A INPUT -i eth1 -m set --match-set neighbours src -j DROP\nCOMMIT\n"
    document = imported(HEAD + lines, SETS, host=[], netdev=["eth0", "eth1"]).document
    assert document["spec"]["shared"] == [{"name": "fine", "entries": ["10.0.0.1", "10.0.0.7"]}]
    first, second = (cube["set"] for cube in document["spec"]["cubes"])
    assert first == [{"name": "fine", "prefix": {"shared": "fine"}}]
    assert [each["name"] for each in second if isinstance(each["prefix"], list)] == ["neighbours"]
    assert [cube["set"][0]["prefix"] for cube in cubes_of(document)] == [["10.0.0.1", "10.0.0.7"]] * 2


def test_a_state_that_no_table_gives_never_is() -> None:
    nat = "# Generated by iptables-save v1.8.9\n*nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -o eth0 -j {}\nCOMMIT\n"
    asked = "-A INPUT -m conntrack --ctstate DNAT -j ACCEPT"
    assert rules(asked, head=nat.format("MASQUERADE") + HEAD) == []
    assert not [each for each in lost(asked, head=nat.format("MASQUERADE") + HEAD) if "ctstate" in each[3]]
    for target in ("REDIRECT", "OTHER"):
        assert [each for each in lost(asked, head=nat.format(target) + HEAD) if "ctstate" in each[3]]
    assert [each for each in lost(asked) if "ctstate" in each[3]], "nobody says what the table nat has"


def test_what_is_written_is_what_a_person_would_have():
    assert rules(
        "[12:3456] -A INPUT -s 10.1.2.3/32 -p tcp -m tcp --dport 22 -m comment --comment \"the \\\"boss\\\"\" -j ACCEPT",
        "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -m multiport --dports 80,8000:8080 -j web",
        "-A web -d 192.0.2.0/24 -j RETURN", "-A web -j ACCEPT",
    ) == [
        {"id": 10, "src": "10.1.2.3", "l4proto": "TCP", "dport": 22, "action": "ACCEPT", "description": 'the "boss"'},
        {"id": 20, "dst": "192.0.2.0/24", "l4proto": "TCP", "dport": "80,8000-8080", "tcpflags": "!FIN,SYN,!RST,!ACK", "conntrack": "NEW", "action": "DROP"},
        {"id": 30, "src": "0.0.0.0/0", "l4proto": "TCP", "dport": "80,8000-8080", "tcpflags": "!FIN,SYN,!RST,!ACK", "conntrack": "NEW", "action": "ACCEPT"},
    ]  # fmt: skip


def test_types_of_icmp_are_carried_over_by_number_and_by_name():
    assert rules(
        "-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT", "-A INPUT -p icmp -m icmp --icmp-type 3/4 -j ACCEPT",
        "-A INPUT -p icmp -m icmp --icmp-type host-redirect -j DROP", "-A INPUT -p icmp -m icmp --icmp-type any -j DROP",
    ) == [
        {"id": 10, "l4proto": "ICMP", "icmp-type": 8, "action": "ACCEPT"}, {"id": 20, "l4proto": "ICMP", "icmp-type": "3/4", "action": "ACCEPT"},
        {"id": 30, "l4proto": "ICMP", "icmp-type": "5/1", "action": "DROP"}, {"id": 40, "l4proto": "ICMP", "action": "DROP"},
    ]  # fmt: skip
    assert [entry.get("icmp-type") for entry in rules("-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type neighbor-solicitation -j ACCEPT",
                                                      "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 1/4 -j ACCEPT", head=HEAD.replace("ip", "ip6"))] == [135, "1/4"]  # fmt: skip


def test_all_types_of_icmp_but_one_are_those_that_skip_it():
    found = rules("-A INPUT -p icmp -m icmp ! --icmp-type 8 -j DROP", "-A INPUT -s 10.0.0.1/32 -j ACCEPT")
    assert [(rule.get("src"), rule.get("icmp-type"), rule["action"]) for rule in found] == [
        ("10.0.0.1", 8, "ACCEPT"), (None, 8, "DROP"), (None, None, "DROP"), ("10.0.0.1", None, "ACCEPT"),
    ]  # fmt: skip


@pytest.mark.parametrize("said", ["nonsense", "256", "8/x", "8/300", ""])
def test_what_is_no_type_of_icmp_is_an_error_at_its_place(said):
    with pytest.raises(DocumentError, match=r"file0:7:38: .*is no type of ICMP"):
        imported(HEAD + f"-A INPUT -p icmp -m icmp --icmp-type '{said}' -j ACCEPT\nCOMMIT\n")


def test_an_unsaid_condition_leaves_no_accepting_rule_and_no_narrower_refusing_one():
    found = rules("-A INPUT -s 10.0.0.1/32 -m mark --mark 0x1 -j ACCEPT", "-A INPUT -s 10.0.0.2/32 -m mark --mark 0x1 -j DROP",
                  "-A INPUT -m mark --mark 0x1 -j web", "-A web -s 10.0.0.3/32 -j ACCEPT", "-A web -s 10.0.0.4/32 -j DROP")  # fmt: skip
    assert [(rule["src"], rule["action"]) for rule in found] == [("10.0.0.2,10.0.0.4", "DROP")]


def test_a_table_of_no_family_and_no_netdev_ask_for_a_word():
    with pytest.raises(UsageError, match="nothing says of which family"):
        imported("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
    with pytest.raises(UsageError, match="the rules name eth0, wlan0"):
        READ({"f": HEAD + "-A INPUT -i eth0 -j DROP\n-A web ! -i wlan0 -j DROP\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"}, {})
    with pytest.raises(UsageError, match="--address nowhere: no address"):
        imported(HEAD + "COMMIT\n", address=["nowhere"])
