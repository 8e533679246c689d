"""Edits of links and what is on them, each under traffic."""
from __future__ import annotations

import pytest

from reconciler.kernel import netns
from reconciler.plan.steps import Disruption
from tests.faults.bench import Bench
from tests.faults.edit_under_traffic import Edit, EditUnderTraffic, edit_under_traffic
from tests.faults.graphs import Data, cube, example, unique


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


def _far(data: Data) -> Data:
    return data["spec"]["links"][0]["peer"]  # type: ignore[no-any-return]


def _mtu(data: Data) -> None:
    data["spec"]["links"][0]["mtu"] = _far(data)["mtu"] = 1400


def _another_address(data: Data) -> None:
    _far(data)["addresses"].append("192.0.2.10/24")


def _a_route(data: Data) -> None:
    _far(data)["routes"] = [{"to": "203.0.113.0/24", "via": "10.0.0.2"}]


def _both_defaults(data: Data) -> None:
    _far(data)["addresses"].append("2001:db8::1/64")
    _far(data)["routes"] = [{"to": "default", "via": "10.0.0.2"}, {"to": "default", "via": "2001:db8::2"}]


@pytest.mark.parametrize("edit", [_mtu, _another_address, _a_route, _both_defaults], ids=lambda edit: edit.__name__.strip("_"))
def test_settings_of_a_link_are_changed_in_place(bench: Bench, edit: Edit) -> None:
    with edit_under_traffic(bench, unique(example("simplebridge")), edit) as made:
        assert made.counts[:2] == (0, 0)
        assert not any(step.operation.kind in ("create_link", "delete_links") for step in made.result.plan.steps)
        assert (made.disruption, made.lost, made.problems) == (Disruption.NONE, 0, [])


def test_an_address_is_replaced(bench: Bench) -> None:
    def edit(data: Data) -> None:
        _far(data)["addresses"] = ["10.0.0.77/24"]

    with edit_under_traffic(bench, unique(example("simplebridge")), edit, flow=False) as made:
        assert made.problems == []
        assert netns.exists(hosts_of(made)[0])


def hosts_of(made: EditUnderTraffic) -> list[str]:
    return list(made.result.topologies[0].namespaces)


def _another_name(data: Data) -> None:
    _far(data)["name"] = "wire"


def _another_namespace(data: Data) -> None:
    spec = data["spec"]
    spec["namespaces"][0] += "m"
    _far(data)["netns"] = spec["namespaces"][0]


def _another_near_name(data: Data) -> None:
    """The far end keeps its name and place: the old link has to go before the new one can be made."""
    old = data["spec"]["links"][0]["name"]
    data["spec"]["links"][0]["name"] = f"{old}r"
    for port in cube(data, "br1")["ports"]:
        if port["peer"] == old:
            port["peer"] = f"{old}r"


def _the_ends_change_places(data: Data) -> None:
    """A link in our own namespace, written the other way round."""
    link = next(link for link in data["spec"]["links"] if "netns" not in link.get("peer", {}))
    link["name"], link["peer"]["name"] = link["peer"]["name"], link["name"]


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
@pytest.mark.parametrize("edit", [_another_name, _another_namespace, _another_near_name], ids=lambda edit: edit.__name__.strip("_"))
def test_a_link_that_cannot_be_changed_is_made_anew_with_everything_on_it(bench: Bench, edit: Edit, kind: str) -> None:
    old = unique(example("simplebridge"))
    cube(old, "br1")["type"] = kind
    with edit_under_traffic(bench, old, edit, flow=False) as made:
        assert made.problems == []
        assert made.counts[0] == 0
        assert made.disruption == Disruption.PACKETS_LOST


def test_a_link_can_be_written_the_other_way_round(bench: Bench) -> None:
    old = unique(example("simplebridge"))
    name = old["spec"]["links"][0]["name"]
    old["spec"]["links"].append({"name": f"{name}a", "kind": "veth", "peer": {"name": f"{name}b"}})
    cube(old, "br1")["ports"].append({"name": "p3", "peer": f"{name}a"})
    with edit_under_traffic(bench, old, _the_ends_change_places, flow=False) as made:
        assert made.problems == []


def test_links_exchange_their_hosts(bench: Bench) -> None:
    """Each takes the other's far end: neither can be made before the other is gone."""

    def edit(data: Data) -> None:
        one, two = data["spec"]["links"]
        one["peer"], two["peer"] = two["peer"], one["peer"]

    with edit_under_traffic(bench, unique(example("simplebridge")), edit, flow=False) as made:
        assert made.problems == []
