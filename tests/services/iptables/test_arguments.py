"""iptables' arguments as rules and back, without a kernel: what is listed is what was said, and what cannot be done is refused."""
from __future__ import annotations

import pytest

from cubes.iptables.arguments import read_rule
from cubes.iptables.command_line import read_command
from cubes.iptables.listing import specification
from cubes.iptables.spoken import Refused

SAME = [
    "-s 10.0.0.1/32 -j ACCEPT",
    "! -s 10.0.0.0/8 -d 192.168.1.0/24 -j DROP",
    "-i eth0 -o eth+ -j ACCEPT",
    "! -i lo -j DROP",
    "-p tcp -j ACCEPT",
    "-p tcp -m tcp --dport 22 -j ACCEPT",
    "-p tcp -m tcp --sport 1024:65535 --dport 80 -j ACCEPT",
    "-p udp -m udp ! --dport 53 -j DROP",
    "-p tcp -m multiport --dports 80,443,8000:8100 -j ACCEPT",
    "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j LOG",
    "-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP",
    "-p icmp -m icmp --icmp-type 8 -j ACCEPT",
    "-p icmp -m icmp --icmp-type 3/4 -j RETURN",
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m comment --comment ssh -j web",
    '-m comment --comment "say \\"no\\" to all" -j DROP',
    "-m set --match-set friends src -j ACCEPT",
    "-m set ! --match-set friends dst -j DROP",
    "-m addrtype ! --src-type LOCAL -m addrtype --dst-type LOCAL -j DROP",
    "-p gre -j DROP",
    "-p 112 -j ACCEPT",
]
SHORT = [
    ("-p tcp --syn --dport 80 -j ACCEPT", "-p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT"),
    ("--protocol 6 --source 10.1.2.3/255.255.0.0 --jump DROP", "-s 10.1.0.0/16 -p tcp -j DROP"),
    ("-p icmp --icmp-type echo-request -j ACCEPT", "-p icmp -m icmp --icmp-type 8 -j ACCEPT"),
    ("-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", "-m conntrack --ctstate INVALID,NEW -j DROP"),
    ("-m conntrack ! --ctstate DNAT -j DROP", "-j DROP"),
    ("-m state --state ESTABLISHED,RELATED -j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    ("-p all -s 0/0 -j ACCEPT".replace("0/0", "0.0.0.0/0"), "-j ACCEPT"),
    ("-p udp -j REJECT", "-p udp -j REJECT --reject-with icmp-port-unreachable"),
    ("-p tcp -j REJECT --reject-with tcp-rst", "-p tcp -j REJECT --reject-with tcp-reset"),
    ("-j REJECT --reject-with=admin-prohib", "-j REJECT --reject-with icmp-admin-prohibited"),
    ("-m limit --limit 5/s --limit-burst 5 -j ACCEPT", "-m limit --limit 5/sec -j ACCEPT"),
    ("-m limit --limit 120/minute -j LOG --log-level 7 --log-prefix 'so it is: '", '-m limit --limit 2/sec -j LOG --log-prefix "so it is: "'),
    ("--goto web", "-g web"),
    ("-p udp --dport :1023 -j DROP", "-p udp -m udp --dport 0:1023 -j DROP"),
]
WRONG = [
    ("-p udp -j REJECT --reject-with tcp-reset", "needs -p tcp"),
    ("-j REJECT --reject-with never", "answers are icmp-port-unreachable"),
    ("-p tcp -j DROP --reject-with tcp-reset", "needs -j REJECT"),
    ("-m recent --set -j ACCEPT", "-m recent: this match is not there"),
    ("-m set --match-set bad src,dst -j DROP", "--match-set bad src,dst: sets are of addresses here, of src or of dst"),
    ("-m set --match-set bad src -m addrtype --src-type LOCAL -j DROP", "--src-type: a rule asks for one set of each end"),
    ("-m mac --mac-source 02:00:00:00:00:01 -j DROP", "-m mac: the service firewall asks who sent a frame"),
    ("-m addrtype --dst-type BROADCAST -j ACCEPT", "--dst-type BROADCAST: of kinds of addresses there is LOCAL"),
    ("-m conntrack --ctstate DNAT -j ACCEPT", "--ctstate DNAT: it is never so here, as the cube does not see what the kernel's NAT does"),
    ("-m conntrack --ctstate UNTRACKED -j ACCEPT", "--ctstate UNTRACKED: it is never so here, as every packet is followed"),
    ("-m conntrack ! --ctstate NEW,ESTABLISHED,RELATED,INVALID -j DROP", "no state is left"),
    ("-m limit --limit 0/s -j ACCEPT", "write a number of packets"),
    ("-m limit --limit 5/week -j ACCEPT", "write a number of packets"),
    ("-m limit --limit-burst 5 -j ACCEPT".replace("5", "9"), "needs --limit"),
    ("-p tcp", "a rule needs a target"),
    ("--dport 80 -j ACCEPT", "ports need -p tcp"),
    ("-p tcp --dport ssh -j ACCEPT", "write a port's number"),
    ("-p tcp --dport 80,443 -j ACCEPT", "use -m multiport"),
    ("-s example.org -j DROP", "write an IPv4 address"),
    ("-s fd00::1 -j DROP", "iptables is for IPv4"),
    ("! -p tcp -j DROP", "what must not be"),
    ("-p udp --syn -j DROP", "need -p tcp"),
    ("-j DROP --log-prefix x", "needs -j LOG"),
    ("-j LOG --log-prefix 123456789012345678901234567890", "1 to 29 letters"),
    ("-j ACCEPT --random", "unknown option --random"),
    ("-f -j DROP", "is not asked"),
]


def words(text: str) -> list[str]:
    import shlex

    return shlex.split(text)


@pytest.mark.parametrize("text", SAME)
def test_what_iptables_lists_is_listed_so(text: str) -> None:
    (rule,) = read_rule(words(text))
    assert specification(rule) == text


@pytest.mark.parametrize(("said", "listed"), SHORT)
def test_what_is_said_in_another_way_is_listed_in_one(said: str, listed: str) -> None:
    (rule,) = read_rule(words(said))
    assert specification(rule) == listed


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_what_cannot_be_done_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence.replace("(", r"\(")):
        read_rule(words(text))


def test_several_addresses_are_several_rules() -> None:
    found = read_rule(words("-s 10.0.0.1,10.0.0.2 -d 10.1.0.0/16,10.2.0.0/16 -j DROP"))
    assert [(rule["src"], rule["dst"]) for rule in found] == [
        ("10.0.0.1/32", "10.1.0.0/16"), ("10.0.0.1/32", "10.2.0.0/16"), ("10.0.0.2/32", "10.1.0.0/16"), ("10.0.0.2/32", "10.2.0.0/16"),
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "command"), [
    ("-nvL INPUT --line-numbers", "L"), ("-S", "S"), ("-t filter -A INPUT -j ACCEPT", "A"), ("-w 5 -D INPUT 3", "D"),
    ("-I INPUT -j DROP", "I"), ("-I INPUT 2 -j DROP", "I"), ("-R INPUT 2 -j DROP", "R"), ("-P INPUT DROP", "P"), ("-E a b", "E"),
    ("-X", "X"), ("-F", "F"), ("-w -N web", "N"), ("--check INPUT -j DROP", "C"),
])  # fmt: skip
def test_commands_are_read_as_iptables_reads_them(line: str, command: str) -> None:
    assert read_command(words(line)).command == command


@pytest.mark.parametrize(("line", "sentence"), [
    ("-t nat -A INPUT -j ACCEPT", "table filter alone"), ("-A", "needs a chain"), ("-A INPUT -D INPUT 1 -j DROP", "one command at a time"),
    ("-Z", "reset-counters"), ("-D INPUT 0", "1 or more"), ("-R INPUT -j DROP", "rule's number"), ("", "say what to do"),
    ("-F INPUT -s 10.0.0.1", "takes no rule"), ("-P INPUT", "needs a value"), ("-6 -L", "for IPv4"),
])  # fmt: skip
def test_a_command_that_is_none_is_refused(line: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        read_command(words(line))
