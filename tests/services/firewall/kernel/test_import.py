"""Rules of the real iptables, and the firewalls that are made of what it prints: the same packets pass."""
from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from reconciler.document.load import parse
from reconciler.kernel import netns
from tests.lib.netns_topology import run_in
from tests.services.firewall.iptables_lab import Flows, RouterLab
from tests.services.firewall.iptables_model import Seen, Tables, packets, random_save, states
from tests.services.firewall.lab import HOST, STACK, FirewallLab
from tests.services.firewall.model import Model

FLAVOURS = ("legacy", "nft")
PROGRAMS = {4: "iptables", 6: "ip6tables"}
STATES = ("NEW,INVALID", "ESTABLISHED", "RELATED,ESTABLISHED")
SETS, FLOWS = 6, 20


def saved(flavour: str, text: str, family: int = 4) -> str:
    """What iptables-save prints once these rules are in force in the namespace that we are in."""
    program = f"{PROGRAMS[family]}-{flavour}"
    subprocess.run([f"{program}-restore"], input=text, text=True, check=True, capture_output=True)
    return subprocess.run([f"{program}-save"], text=True, check=True, capture_output=True).stdout


def imported(tmp_path: Path, text: str, *words: str) -> dict:
    """The spec of what `pcn import` makes of a save, which `pcn validate` accepts."""
    from reconciler.cli.main import main

    save, topology = tmp_path / "rules.save", tmp_path / "rules.yaml"
    save.write_text(text)
    assert main(["import", "iptables-save", str(save), "-q", "-o", str(topology), *words]) == 0
    assert main(["validate", "-q", str(topology)]) == 0
    return parse(topology.read_text(), str(topology))[0].data["spec"]


def random_rules(seed: int, family: int = 4, *, exact: bool = True) -> str:
    """For a router between v1 and v2. The nft flavour cannot say what is in no prefix at all."""
    text = random_save(random.Random(f"b {seed}"), family, exact=exact, states=STATES, reject=False)
    for said, instead in (("eth0", "v1"), ("eth1", "v2"), ("! -s 0.0.0.0/0", "-s 0.0.0.0/0"), ("! -d 0.0.0.0/0", "-d 0.0.0.0/0"),
                          ("! -s ::/0", "-s ::/0"), ("! -d ::/0", "-d ::/0")):  # fmt: skip
        text = text.replace(said, instead)
    return text


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_router_lets_pass_what_it_let_pass_with_iptables(flavour, tmp_path):
    """Compared is each flow up to the first packet that iptables refuses: afterwards the kernel goes on as if that one had
    passed, and the firewall as if it had never been."""
    flows = [Flows(seed).some(FLOWS) for seed in range(SETS)]
    saves: list[str] = []
    wanted: list[list[list[bool]]] = []
    with RouterLab() as lab:
        run_in(None, ["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_be_liberal=1"])
        for seed in range(SETS):
            saves.append(saved(flavour, random_rules(seed)))
            wanted.append(lab.passes(flows[seed]))
    with RouterLab() as lab:
        for seed in range(SETS):
            spec = imported(tmp_path, saves[seed], "--netdev", "v1", "--netdev", "v2", "--address", "10.0.0.254/24", "--address", "10.0.1.254/24")
            lab.spec |= {name: spec[name] for name in ("shared", "cubes", "attachments") if name in spec}
            lab.apply()
            for flow, were, are in zip(flows[seed], wanted[seed], lab.passes(flows[seed]), strict=True):
                until = were.index(False) + 1 if False in were else len(were)
                assert are[:until] == were[:until], (seed, flow, saves[seed])
    passed = [verdict for some in wanted for flow in some for verdict in flow]
    assert 0.05 < sum(passed) / len(passed) < 0.95, "rules that accept or refuse all compare nothing"


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("family", [4, 6])
def test_what_the_real_programs_print_means_what_was_given_to_them(flavour, family):
    """They write a rule in a form of their own: prefixes, flags, the order of words."""
    from cubes.firewall import IMPORTS

    with netns.throwaway():
        for seed in range(20):
            text = random_rules(seed, family)
            printed, chance = saved(flavour, text, family), random.Random(seed)
            document = IMPORTS["iptables-save"].read({"f": printed}, {"netdev": ["v1"], "host": ()}).document
            firewall = Model(document["spec"]["cubes"][0])
            for packet in packets(chance, family, 50):
                theirs, ours = states(chance, packet)
                wanted = Tables(text).judge("INPUT", Seen(packet, theirs, "v1"))
                assert firewall.decide("INGRESS", packet, ours, "v1").verdict == wanted, (packet, theirs, text, printed)


def test_both_families_in_one_stream_of_the_real_programs(tmp_path):
    with netns.throwaway():
        text = saved("legacy", random_rules(1, 4), 4) + saved("nft", random_rules(2, 6), 6)
    (cube,) = imported(tmp_path, text, "--netdev", "v1", "--host")["cubes"]
    families = {":" in rule.get("src", rule.get("dst", "")) for chain in cube["chain"] for rule in chain["rule"]}
    assert families == {True, False}


HOST_RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ports - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT ! -s 10.0.0.0/24 -j DROP
-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m state --state NEW -j ports
-A INPUT -p udp -m multiport --dports 7000,7010:7019 -j ACCEPT
-A INPUT -p udp -j REJECT
-A OUTPUT -p udp -m udp --dport 7777 -j DROP
-A ports -m iprange --src-range 10.0.0.3-10.0.0.9 -j RETURN
-A ports -p tcp -m tcp ! --dport 7100:7199 -j ACCEPT
COMMIT
"""
CALLS = [("tcp", port) for port in (7000, 7100, 7199, 7200)] + [("udp", port) for port in (6999, 7000, 7010, 7019, 7020)]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_host_answers_whom_it_answered_with_iptables(flavour, tmp_path):
    """Real sockets: connections and datagrams, to the host and from it."""

    def answers(lab: FirewallLab) -> list[object]:
        inwards = [lab.tcp("h1", None, STACK, port) if kind == "tcp" else lab.udp("h1", None, STACK, port, 5000 + port % 100) for kind, port in CALLS]
        outwards = [lab.tcp(None, "h1", HOST, 7000), lab.udp(None, "h1", HOST, 7777, 6001), lab.udp(None, "h1", HOST, 7778, 6002)]
        return [*inwards, *outwards, lab.in_ok(), lab.out_ok()]

    with FirewallLab() as lab:
        lab.spec |= {"cubes": [], "attachments": []}
        lab.apply()
        save = saved(flavour, HOST_RULES)
        wanted = answers(lab)
    with FirewallLab() as lab:
        lab.spec |= imported(tmp_path, save, "--netdev", "v1")
        lab.apply()
        assert answers(lab) == wanted
    assert wanted == [True, False, False, True, (False, False), (True, True), (True, True), (True, True), (False, False),
                      True, (False, False), (True, True), False, True]  # fmt: skip


def test_what_cannot_be_carried_over_stops_the_command_unless_it_is_told_to_go_on(tmp_path, capfd):
    from reconciler.cli.main import main

    with netns.throwaway():
        text = saved("legacy", HOST_RULES.replace("-p udp -j REJECT", "-p udp -m length --length 0:100 -j ACCEPT"))
    save, topology = tmp_path / "rules.save", tmp_path / "rules.yaml"
    save.write_text(text)
    words = ["import", "iptables-save", str(save), "--netdev", "v1", "-o", str(topology)]
    line = next(number for number, said in enumerate(text.splitlines(), 1) if "-m length" in said)
    assert main(words) == 65
    said = capfd.readouterr()
    assert said.out == ""
    assert f"{save}:{line}:17: -m length --length cannot be said" in said.err
    assert "1 thing cannot be carried over, and nothing was written" in said.err
    assert not topology.exists()
    assert main([*words, "--lossy"]) == 0
    assert f"#   {save}:{line}:17: -m length --length cannot be said" in topology.read_text()
    assert main(["validate", "-q", str(topology)]) == 0
