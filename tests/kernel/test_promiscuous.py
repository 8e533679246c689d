"""A bridge's port at a netdev that filters by MAC, as Linux' own bridge is one: it hears frames for others, as long as it is a port."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.document.emitter import dump_yaml
from reconciler.kernel import linkwrite, netlink, netns, rtnl
from reconciler.model import LinkEnd
from tests.lib.commands import pcn, with_fault
from tests.lib.netns_topology import Host, NetnsTopology, ping

SERVICES = ("simplebridge", "bridge")


class Wires:
    """Host a is behind a Linux bridge `lan`, host b at a veth; a cube may join `lan` and the veth."""

    def __init__(self, world: NetnsTopology, directory: Path) -> None:
        self.world, self.name, self.lan = world, world.prefix, f"{world.prefix}l"
        self.a, self.b = world.host("a", "10.0.0.1/24"), world.host("b", "10.0.0.2/24")
        subprocess.run(["ip", "link", "add", self.lan, "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", self.a.port, "master", self.lan], check=True)
        netlink.configure(LinkEnd(self.lan))
        self.file = directory / "t.yaml"

    def write(self, service: str = "simplebridge", hook: str = "TC", peer: str | None = None) -> str:
        ports = [{"name": "p1", "peer": peer or self.lan}, {"name": "p2", "peer": self.b.port}]
        cube = {"name": f"{self.name}-br", "service-name": service, "type": hook, "ports": ports}
        whole = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": self.name}, "spec": {"cubes": [cube]}}
        self.file.write_text(dump_yaml(whole))
        return str(self.file)

    @property
    def hears_all(self) -> bool:
        return rtnl.links()[self.lan].promiscuous

    def reach(self) -> bool:
        return _answered(self.a, self.b)


def _answered(one: Host, other: Host) -> bool:
    return ping(one.netns, other.ip, 3) >= 2  # the first may be what the table learns from


@pytest.fixture
def wires(tmp_path: Path, own_root: str) -> Iterator[Wires]:
    assert own_root
    with NetnsTopology() as world:
        found = Wires(world, tmp_path)
        try:
            yield found
        finally:
            pcn("delete", found.write())
            subprocess.run(["ip", "link", "del", found.lan], check=False, capture_output=True)


def steps(*arguments: str, code: int = 0) -> list[tuple[str, str]]:
    found: dict[str, Any] = json.loads(pcn(*arguments, "-o", "json", code=code).stdout)
    return [(step["subject"], step["action"]) for step in found["steps"] if step["operation"] == "set_promiscuous"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_hears_frames_for_others_and_its_netdev_is_left_as_it_was(wires: Wires, service: str) -> None:
    file = wires.write(service)
    assert "promiscuous: on (a bridge hears frames for others)" in pcn("plan", file, code=2).stdout
    assert steps("apply", file) == [(f"netdev/{wires.lan}", "create")]
    assert wires.hears_all
    assert wires.reach()
    pcn("plan", file, code=0)
    pcn("drift", code=0)
    linkwrite.set_promiscuous(wires.lan, on=False)
    assert not wires.reach()  # the filter is a real one
    assert f"promiscuous/{wires.lan}" in pcn("drift", "-o", "json", code=3).stdout
    assert steps("apply", file) == [(f"netdev/{wires.lan}", "create")]
    assert wires.reach()
    assert steps("delete", wires.name) == [(f"netdev/{wires.lan}", "delete")]
    assert not wires.hears_all


def test_what_somebody_else_has_asked_for_stays(wires: Wires) -> None:
    linkwrite.set_promiscuous(wires.lan, on=True)
    assert steps("apply", wires.write()) == []
    assert wires.reach()
    assert steps("delete", wires.name) == []
    assert wires.hears_all


def test_a_veth_has_no_filter_and_is_left_alone(wires: Wires) -> None:
    assert steps("apply", wires.write(peer=wires.a.port)) == []
    assert not rtnl.links()[wires.b.port].promiscuous


def test_a_port_moves_to_another_netdev_and_an_apply_that_fails_takes_it_back(wires: Wires) -> None:
    pcn("apply", wires.write(peer=wires.a.port), code=0)
    file = wires.write()
    fault = """
import reconciler.live.execute as e
old = e.Executor.do
def do(self, operation):
    if operation.kind == "attach_hook": raise OSError(5, "broken")
    old(self, operation)
e.Executor.do = do
"""
    assert with_fault(fault, "apply", file).returncode == 1
    assert not wires.hears_all
    pcn("apply", file, code=0)
    assert wires.hears_all
    pcn("apply", wires.write(peer=wires.a.port), code=0)
    assert not wires.hears_all


def test_a_netdev_that_is_made_anew_is_told_again_and_one_that_is_gone_leaves_nothing(wires: Wires) -> None:
    file = wires.write()
    pcn("apply", file, code=0)
    subprocess.run(["ip", "link", "del", wires.lan], check=True)
    pcn("apply", file, code=0)
    subprocess.run(["ip", "link", "add", wires.lan, "type", "bridge"], check=True)
    pcn("apply", file, code=0)
    assert wires.hears_all
    subprocess.run(["ip", "link", "del", wires.lan], check=True)
    pcn("delete", wires.name, code=0)
    assert netns.exists(wires.a.netns)


def test_a_netdev_that_was_renamed_is_left_as_it_was_all_the_same(wires: Wires) -> None:
    pcn("apply", wires.write(), code=0)
    old, wires.lan = wires.lan, f"{wires.lan}2"
    subprocess.run(["ip", "link", "set", old, "name", wires.lan], check=True)
    pcn("apply", wires.write(), code=0)
    pcn("plan", wires.write(), code=0)
    assert wires.reach()
    pcn("delete", wires.name, code=0)
    assert not wires.hears_all


def test_a_netdev_that_was_renamed_and_whose_topology_is_deleted_then_is_left_as_it_was(wires: Wires) -> None:
    pcn("apply", wires.write(), code=0)
    old, wires.lan = wires.lan, f"{wires.lan}2"
    subprocess.run(["ip", "link", "set", old, "name", wires.lan], check=True)
    pcn("delete", wires.name, code=0)
    assert not wires.hears_all
