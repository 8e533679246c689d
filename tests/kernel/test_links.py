"""Links as people may write them: from the host's side or from a namespace's, under names that need be unique only there."""
from __future__ import annotations

import pytest

from tests.lib.lab import Lab, counts
from tests.lib.packets import ping

BRIDGE = """
cubes: [{name: br1, service-name: simplebridge, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}]
"""


@pytest.fixture
def lab():
    with Lab(BRIDGE) as lab:
        lab.hosts = {"h1": "", "h2": ""}
        yield lab


def from_the_host_s_side(lab: Lab) -> list[dict[str, object]]:
    return [{"name": "eth0", "netns": lab.space(host), "kind": "veth", "addresses": [f"10.0.0.{number}/24"], "peer": {"name": f"v{number}"}}
            for number, host in enumerate(lab.hosts, 1)]  # fmt: skip


def test_links_of_one_name_in_two_namespaces_are_two_links(lab, monkeypatch):
    monkeypatch.setattr(lab, "_link", lambda host, _: from_the_host_s_side(lab)[list(lab.hosts).index(host)])
    lab.apply()
    one, two = (lab.space(host) for host in lab.hosts)
    assert ping(one, "10.0.0.2") == 2
    assert lab.plan().plan.steps == ()
    assert sorted((link["netns"], link["name"]) for link in lab.live()["links"]) == [(one, "eth0"), (two, "eth0")]
    assert not lab.drift()

    links = from_the_host_s_side(lab)
    links[1]["mtu"] = 1400
    monkeypatch.setattr(lab, "_link", lambda host, _: links[list(lab.hosts).index(host)])
    changed = lab.apply()
    assert {step.address for step in changed.plan.steps if step.address.startswith("link/")} == {f"link/{two}:eth0"}
    assert counts(changed).program_loads == 0
    assert ping(one, "10.0.0.2") == 2
