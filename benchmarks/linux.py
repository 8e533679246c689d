"""The functions of Linux itself that cubes are compared with, in the middle of a bed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.bed import Bed

CLUSTER = "10.96.{}.{}"


def bridge(bed: Bed) -> None:
    """A bridge over all wires. They learn, as simplebridge's ports do; it does not join multicast groups of its own, and asks
    no iptables, which a new namespace may have it do."""
    bed.run("sysctl -qew net.bridge.bridge-nf-call-iptables=0")
    bed.run("ip link add br0 type bridge stp_state 0 mcast_snooping 0", "ip link set br0 up")
    bed.run(*(f"ip link set {host} master br0" for host in bed.hosts))


def forwarding(bed: Bed) -> None:
    """IPv4 forwarding between the hosts' subnets; neighbours are known for good."""
    bed.run("sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.all.rp_filter=0")
    for host in bed.hosts:
        bed.run(f"sysctl -qw net.ipv4.conf.{host}.rp_filter=0", f"ip address add 10.0.{bed.number(host)}.254/24 dev {host}")
        bed.run(f"ip neighbour replace {bed.address(host)} lladdr {bed.mac(host)} dev {host} nud permanent")
        gateway = f"10.0.{bed.number(host)}.254"
        bed.run(f"ip neighbour replace {gateway} lladdr {bed.gateway_mac(host)} dev eth0 nud permanent", host=host)


def forwarding6(bed: Bed) -> None:
    """IPv6 forwarding between fd00:N::/64 in the same way, whose hosts' addresses nobody needs."""
    for scope in ("all", *bed.hosts):
        bed.run(*(f"sysctl -qw net.ipv6.conf.{scope}.{key}" for key in ("disable_ipv6=0", "forwarding=1", "accept_dad=0")))
    for host in bed.hosts:
        bed.run(f"ip address add fd00:{bed.number(host)}::fe/64 dev {host} nodad")


Served = tuple[str, int, str, str]
"""A service's port: address, port, protocol (tcp or udp), and the address and port of its endpoint."""


def kube_proxy(bed: Bed, services: int | Sequence[Served], version: int = 4) -> None:
    """What kube-proxy's iptables mode leaves on a node with these services of one endpoint each (or so many, of the last host),
    and a bridge that asks iptables, as most CNI plug-ins of that kind have it. Bridged packets then meet connection tracking and
    FORWARD. `version` of IP: with 6, endpoints are written [address]:port."""
    tables = "iptables" if version == 4 else "ip6tables"
    bed.run(f"sysctl -qw net.bridge.bridge-nf-call-{tables}=1")
    if isinstance(services, int):
        places = [CLUSTER.format(number // 250, number % 250 + 1) for number in range(services)]
        services = [(place, 80, "tcp", f"{bed.address(bed.hosts[-1])}:8080") for place in places]
    pods, bits = ("10.0.0.0/8", 32) if version == 4 else ("fd00:244::/32", 128)
    bed.feed(f"{tables}-restore", "\n".join([*_nat(services, pods, bits), *_filter()]))


def _nat(services: Sequence[Served], pods: str, bits: int) -> Iterator[str]:
    yield from ("*nat", ":KUBE-SERVICES - [0:0]", ":KUBE-POSTROUTING - [0:0]", ":KUBE-MARK-MASQ - [0:0]")
    yield from (f":KUBE-{kind}-{number} - [0:0]" for number in range(len(services)) for kind in ("SVC", "SEP"))
    yield from ("-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES", "-A POSTROUTING -j KUBE-POSTROUTING")
    yield "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"
    yield "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN"
    yield "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0"
    yield "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"
    for number, (place, port, proto, endpoint) in enumerate(services):
        meant = f"-d {place}/{bits} -p {proto} -m comment --comment ns/svc{number} -m {proto} --dport {port}"
        yield f"-A KUBE-SERVICES {meant} -j KUBE-SVC-{number}"
        yield f"-A KUBE-SVC-{number} ! -s {pods} {meant} -j KUBE-MARK-MASQ"
        yield f"-A KUBE-SVC-{number} -j KUBE-SEP-{number}"
        yield f"-A KUBE-SEP-{number} -s {endpoint.rpartition(':')[0].strip('[]')}/{bits} -j KUBE-MARK-MASQ"
        yield f"-A KUBE-SEP-{number} -p {proto} -m {proto} -j DNAT --to-destination {endpoint}"
    yield "COMMIT"


def _filter() -> Iterator[str]:
    yield from ("*filter", ":KUBE-FORWARD - [0:0]", ":KUBE-EXTERNAL-SERVICES - [0:0]")
    yield "-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES"
    yield "-A FORWARD -j KUBE-FORWARD"
    yield "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"
    yield "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT"
    yield "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    yield "COMMIT"


def iptables_list(bed: Bed, addresses: Iterable[str]) -> None:
    """A rule for each source, as early as iptables can have it: before connection tracking."""
    rules = "\n".join(f"-A PREROUTING -s {address} -j DROP" for address in addresses)
    bed.feed("iptables-restore", f"*raw\n{rules}\nCOMMIT")


def nft_list(bed: Bed, addresses: Iterable[str], *, ingress: str = "") -> None:
    """One set of sources: before connection tracking, or (`ingress`) at a netdev's own hook, the earliest there is."""
    hook = f"ingress device {ingress} priority 0" if ingress else "prerouting priority raw"
    family = "netdev" if ingress else "ip"
    text = (
        f"table {family} t {{\n set s {{ type ipv4_addr; elements = {{ {', '.join(addresses)} }} }}\n"
        f" chain c {{ type filter hook {hook}; policy accept; ip saddr @s counter drop; }}\n}}"
    )
    bed.feed("nft -f -", text)
