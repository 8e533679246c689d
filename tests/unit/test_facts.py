"""Facts as values: their versions, and what a worker may publish."""
from __future__ import annotations

import pytest

from reconciler import facts
from reconciler.facts import addresses
from reconciler.kernel.netstate import AddressState, NetdevState


def state(name: str, index: int) -> NetdevState:
    return NetdevState(name, index, "dummy", "02:00:00:00:00:01", 1500, True, True, 0, "", 0, None, 0, None)


def test_a_version_is_the_values_own() -> None:
    assert facts.version({"b": 1, "a": [2]}) == facts.version({"a": [2], "b": 1})
    assert facts.version({"a": 1}) != facts.version({"a": 2})


def test_a_cube_gets_what_it_wants_and_what_is_there() -> None:
    given = facts.of_cube(("netdevs", "health", "more"), {"netdevs": {}, "addresses": {}}, {"health": 1, "old": 2})
    assert given == {"netdevs": {}, "health": 1}


def test_a_cube_cannot_publish_what_is_the_hosts() -> None:
    assert facts.of_cube(("netdevs",), {}, {"netdevs": "forged"}) == {}


@pytest.mark.parametrize("name", ["netdevs", "addresses", "", "Health", "a/b", "..", "a~", "x" * 64])
def test_names_that_no_cube_can_publish(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a fact"):
        facts.publishable(name, 1)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, "x" * 3500, {("a",): 1}])
def test_values_that_cannot_be_published(value: object) -> None:
    with pytest.raises(ValueError, match="fact health"):
        facts.publishable("health", value)


def test_hidden_netdevs_are_no_facts() -> None:
    states = {name: state(name, index) for index, name in enumerate(("eth0", "pcn01234567n"))}
    found = facts.host({"netdevs", "addresses"}, states, lambda: [AddressState(i, f"10.0.0.{i}/8", False) for i in (0, 1)])
    assert found["netdevs"].keys() == {"eth0"}
    assert found["addresses"] == {"eth0": ["10.0.0.0/8"]}


def test_addresses_are_in_one_order() -> None:
    states = {"b": state("b", 2), "a": state("a", 1)}
    said = [AddressState(2, "10.0.0.9/8", False), AddressState(1, "fe80::1/64", True), AddressState(2, "10.0.0.1/8", False)]
    assert list(addresses.of(states, said).items()) == list(addresses.of(dict(reversed(states.items())), said[::-1]).items())
