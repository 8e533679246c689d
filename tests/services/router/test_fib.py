"""Which rows a router's configuration means, and which of its routes are used."""
from __future__ import annotations

import ipaddress
import random

from cubes.router.fib import CONNECTED, DISCARD, LOCAL, REMOTE, Links, derive, links_of, prefix_of, routes
from reconciler.service.sdk import Env, decode


def fib(ports, *ways):
    """`ports`: {name: [addresses]}, the first of a family is the primary one; `ways`: (network, nexthop[, cost[, interface]])."""
    return derive(config_of(ports, *ways))


def config_of(ports, *ways):
    said = []
    for name, addresses in ports.items():
        four, six = [a for a in addresses if ":" not in a], [a for a in addresses if ":" in a]
        port = {"name": name} | ({"ip": four[0]} if four else {}) | ({"ipv6": six[0]} if six else {})
        said.append(port | {"secondaryip": [{"ip": address} for address in four[1:] + six[1:]]})
    names = ("network", "nexthop", "pathcost", "interface")
    return {"ports": said, "route": [dict(zip(names, way, strict=False)) for way in ways]}


def row(found, network):
    got = found.rows.get(prefix_of(ipaddress.ip_network(network)))
    return got and (got.kind, got.port, str(got.via))


def test_an_address_makes_a_local_a_connected_and_a_broadcast_row():
    found = fib({"p": ["10.0.1.254/24", "2001:db8::1/64"]})
    networks = [decode("prefix", network, Env()) for network in found.rows]
    assert {network: row(found, network) for network in networks} == {
        "10.0.1.254/32": (LOCAL, "p", "10.0.1.254"),
        "10.0.1.0/24": (CONNECTED, "p", "10.0.1.254"),
        "10.0.1.255/32": (DISCARD, "p", "10.0.1.254"),
        "2001:db8::1/128": (LOCAL, "p", "2001:db8::1"),
        "2001:db8::/64": (CONNECTED, "p", "2001:db8::1"),
    }


def test_a_link_of_two_addresses_has_no_broadcast_and_a_single_address_no_subnet():
    found = fib({"p": ["10.0.1.0/31"], "q": ["10.9.9.9/32"]})
    assert row(found, "10.0.1.0/31") == (CONNECTED, "p", "10.0.1.0")
    assert row(found, "10.0.1.1/32") is None
    assert row(found, "10.9.9.9/32") == (LOCAL, "q", "10.9.9.9")


def test_the_cheapest_path_wins_with_its_own_port():
    found = fib({"p": ["10.1.0.1/30"], "q": ["10.2.0.1/30"]}, ("10.0.0.0/8", "10.1.0.2", 5), ("10.0.0.0/8", "10.2.0.2", 2))
    assert row(found, "10.0.0.0/8") == (REMOTE, "q", "10.2.0.2")
    assert found.active == [False, True]


def test_the_next_best_takes_over_port_and_next_hop_together_when_an_address_is_gone():
    ways = (("10.0.0.0/8", "10.1.0.2", 5), ("10.0.0.0/8", "10.2.0.2", 2))
    assert row(fib({"p": ["10.1.0.1/30"], "q": ["192.0.2.1/30"]}, *ways), "10.0.0.0/8") == (REMOTE, "p", "10.1.0.2")
    assert row(fib({"p": ["192.0.2.5/30"], "q": ["192.0.2.1/30"]}, *ways), "10.0.0.0/8") is None


def test_a_ports_subnet_and_address_win_whatever_a_route_costs():
    found = fib({"p": ["10.1.0.1/24"], "q": ["10.2.0.1/24"]}, ("10.2.0.0/24", "10.1.0.2", 0), ("10.2.0.1/32", "10.1.0.2", 0))
    assert row(found, "10.2.0.0/24") == (CONNECTED, "q", "10.2.0.1")
    assert row(found, "10.2.0.1/32") == (LOCAL, "q", "10.2.0.1")
    assert found.active == [False, False]


def test_a_next_hop_is_looked_up_among_subnets_only_and_must_be_behind_the_interface_that_is_said():
    ports = {"p": ["10.1.0.1/24"], "q": ["10.2.0.1/24"]}
    ways = (("1.0.0.0/8", "10.3.0.1"), ("2.0.0.0/8", "10.1.0.1"), ("3.0.0.0/8", "10.1.0.255"),
            ("4.0.0.0/8", "10.1.0.2", 1, "q"), ("5.0.0.0/8", "10.1.0.2", 1, "p"), ("10.3.0.0/24", "10.1.0.2"))  # fmt: skip
    why = {way[0]: reason for way, (_, reason) in zip(ways, fib(ports, *ways).ways, strict=True)}
    assert why["1.0.0.0/8"] == "no port has a subnet with 10.3.0.1"
    assert why["2.0.0.0/8"] == "10.1.0.1 is the router's own address"
    assert why["3.0.0.0/8"].startswith("10.1.0.255 is")
    assert why["4.0.0.0/8"] == "10.1.0.2 is behind port p, not q"
    assert not why["5.0.0.0/8"]
    assert not why["10.3.0.0/24"]


def test_a_link_local_next_hop_needs_to_say_where():
    ports = {"p": ["2001:db8::1/64"], "q": ["10.0.0.1/24"]}
    assert row(fib(ports, ("::/0", "fe80::9", 1, "p")), "::/0") == (REMOTE, "p", "fe80::9")
    assert row(fib(ports, ("::/0", "fe80::9")), "::/0") is None
    assert row(fib(ports, ("::/0", "fe80::9", 1, "q")), "::/0") is None


def test_the_longest_prefix_is_found():
    found = fib({"p": ["10.1.0.1/24"]}, ("0.0.0.0/0", "10.1.0.2"), ("10.0.0.0/8", "10.1.0.3"), ("10.2.0.0/16", "10.1.0.4"))
    ways = {target: str(found.find(ipaddress.ip_address(target)).via) for target in ("9.9.9.9", "10.9.0.1", "10.2.3.4")}
    assert ways == {"9.9.9.9": "10.1.0.2", "10.9.0.1": "10.1.0.3", "10.2.3.4": "10.1.0.4"}
    assert found.find(ipaddress.ip_address("2001:db8::1")) is None


def test_the_order_in_which_things_are_written_makes_no_difference():
    chance = random.Random(7)
    ports = {f"p{i}": [f"10.{i}.0.1/24", f"10.{i}.1.1/24", f"fd00:{i}::1/64"] for i in range(1, 6)}
    ways = [(f"20.{n % 7}.0.0/16", f"10.{n % 5 + 1}.{n % 3}.9", n % 4) for n in range(60)]
    wanted = derive(config_of(ports, *dict.fromkeys(ways))).rows
    for _ in range(20):
        mixed = config_of(ports, *chance.sample(list(dict.fromkeys(ways)), len(dict.fromkeys(ways))))
        chance.shuffle(mixed["ports"])
        assert derive(mixed).rows == wanted


def test_what_wins_is_what_trying_every_route_says():
    """Against a rule written in another way: of the routes to each network, the least of those that could be used."""
    chance = random.Random(11)
    for _ in range(50):
        ports = {f"p{i}": [f"10.{i}.0.1/24"] for i in range(chance.randint(1, 4))}
        ways = {(f"20.{chance.randint(0, 3)}.0.0/16", f"10.{chance.randint(0, 5)}.0.{chance.randint(1, 4)}"): chance.randint(1, 3)
                for _ in range(10)}  # fmt: skip
        config = config_of(ports, *((*way, cost) for way, cost in ways.items()))
        found = derive(config)
        for network in {network for network, _ in ways}:
            usable = [r for r in routes(config) if str(r) == network and any(
                r.nexthop in ipaddress.ip_interface(a[0]).network and str(r.nexthop) != a[0].split("/")[0] for a in ports.values())]
            best = min(usable, key=lambda r: (r.pathcost, int(r.nexthop)), default=None)
            assert (row(found, network) or (0, 0, None))[2] == (str(best.nexthop) if best else None)


TWO_WAYS = config_of({"p": ["10.0.1.254/24"], "q": ["10.0.2.254/24"]}, ("10.9.0.0/16", "10.0.1.1"), ("10.9.0.0/16", "10.0.2.1", 5))


def test_a_route_over_a_port_that_is_down_gives_way_and_its_subnet_too():
    found = derive(TWO_WAYS, Links(down=frozenset("p")))
    assert found.active == [False, True]
    assert row(found, "10.9.0.0/16") == (REMOTE, "q", "10.0.2.1")
    assert row(found, "10.0.1.0/24") is None
    assert row(found, "10.0.1.255/32") is None
    assert row(found, "10.0.1.254/32") == (LOCAL, "p", "10.0.1.254")
    assert found.ways[0] == (None, "no port has a subnet with 10.0.1.1")


def test_a_port_without_carrier_is_the_last_resort_and_no_active_one():
    found = derive(TWO_WAYS, Links(no_carrier=frozenset("p")))
    assert (found.active, row(found, "10.9.0.0/16")) == ([False, True], (REMOTE, "q", "10.0.2.1"))
    found = derive(TWO_WAYS, Links(no_carrier=frozenset("pq")))
    assert (found.active, row(found, "10.9.0.0/16")) == ([False, False], (REMOTE, "p", "10.0.1.1"))
    assert row(found, "10.0.1.0/24") == (CONNECTED, "p", "10.0.1.254")


def test_a_link_local_next_hop_behind_a_port_that_is_down_is_none():
    config = config_of({"p": ["2001:db8::1/64"]}, ("::/0", "fe80::1", 1, "p"))
    assert derive(config, Links(down=frozenset("p"))).ways == [(None, "port p is down")]


def test_links_are_those_of_the_ports_netdevs_and_what_is_not_there_is_down():
    config = {"ports": [{"name": "a", "peer": "v1"}, {"name": "b", "peer": "v2"}, {"name": "c", "peer": "r2:x"}, {"name": "d"}, {"name": "e", "peer": "v3"}]}
    assert links_of(config, {"links": {"v1": "up", "v2": "no-carrier"}}) == Links(frozenset("e"), frozenset("b"))
    assert links_of(config, {}) == Links()
