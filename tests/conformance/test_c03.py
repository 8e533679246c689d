"""C03: a netdev goes away and comes back. The cube stays, the loss shows, and the return costs link operations only.

The netdevs are somebody else's here: a topology that owns its links would make them again.
"""
from __future__ import annotations

import pytest

from reconciler.kernel import linkwrite, netlink, offload
from reconciler.model import LinkEnd
from reconciler.plan.operations import AttachHook
from tests.lib import packets
from tests.lib.lab import HOOKS, Counts, Lab, counts
from tests.lib.netns_topology import settle

pytestmark = pytest.mark.kernel

SCENARIO = """
cubes:
  - name: hw0
    service-name: helloworld
    action: FORWARD
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]
"""
ALONE = SCENARIO.replace(", {name: p2, peer: v2}", "")
HOOKS_OF_V1 = {"TC": {"tcx_ingress", "tcx_egress"}, "XDP_SKB": {"xdp", "tcx_egress"}, "XDP_DRV": {"xdp", "tcx_egress"}}


class Bench:
    """Two hosts on wires that pcn does not own."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.spaces = {name: lab.world.namespace(name) for name in ("h1", "h2")}
        self.wire("h1")
        self.wire("h2")

    def wire(self, host: str) -> None:
        space, number = self.spaces[host], host[1:]
        self.lab.world.wire(f"v{number}", "eth0", space)
        if self.lab.hook != "TC":
            offload.put("eth0", "gro", True, space)
            offload.put("eth0", "tx-checksum", False, space)
        netlink.configure(LinkEnd("eth0", space, (f"10.0.0.{number}/24",)))
        netlink.configure(LinkEnd(f"v{number}"))
        settle((f"v{number}", None), ("eth0", space))

    def ok(self) -> bool:
        return packets.ping(self.spaces["h1"], "10.0.0.2", 2) == 2


@pytest.fixture(params=HOOKS)
def bench(request):
    with Lab(SCENARIO, hook=request.param) as lab:
        bench = Bench(lab)
        lab.apply()
        assert bench.ok()
        yield bench


def hooks_in(changes) -> set[str]:
    return {change.address.removeprefix("hook/v1/") for change in changes if change.address.startswith("hook/v1/")}


def test_a_deleted_netdev_leaves_the_cube_and_shows_as_drift(bench):
    lab = bench.lab
    linkwrite.delete_link("v1")
    assert lab.live_cube("hw0")["action"] == "FORWARD"
    assert hooks_in(lab.drift()) == HOOKS_OF_V1[lab.hook]
    assert lab.plan().plan.pending == (("hw0", "p1", "v1"),)
    assert counts(lab.plan()).program_loads == 0


def test_an_apply_without_the_netdev_leaves_the_port_unconnected_and_pending(bench):
    lab = bench.lab
    linkwrite.delete_link("v1")
    result = lab.apply()
    assert (counts(result).program_loads, counts(result).map_writes) == (0, 0)
    assert result.plan.pending == (("hw0", "p1", "v1"),)
    assert not lab.drift()
    assert not lab.plan().plan.steps
    assert lab.reader().names("links") == ["v2"]
    packets.ping(bench.spaces["h2"], "10.0.0.1", 1, timeout=0.1)
    assert lab.drops("hw0").keys() == {"NO_PEER"}


@pytest.mark.parametrize("applied_between", [False, True])
def test_its_return_is_attached_with_link_operations_only(bench, applied_between):
    lab = bench.lab
    loaded = lab.loaded("hw0")
    assert len(loaded) == (9 if lab.hook != "TC" else 6)
    linkwrite.delete_link("v1")
    if applied_between:
        lab.apply()
    bench.wire("h1")
    result = lab.apply()
    done = counts(result)
    assert done == Counts(link_changes=done.link_changes)
    assert {step.operation.kind for step in result.plan.steps} <= {"attach_hook", "set_hop"}
    assert sorted(step.operation.netdev for step in result.plan.steps if isinstance(step.operation, AttachHook)) == ["v1", "v1"]
    assert lab.loaded("hw0") == loaded
    assert bench.ok()
    assert not lab.drift()


@pytest.mark.parametrize("hook", HOOKS)
def test_so_is_that_of_the_cube_s_only_netdev(hook):
    with Lab(ALONE, hook=hook) as lab:
        bench = Bench(lab)
        lab.apply()
        loaded = lab.loaded("hw0")
        linkwrite.delete_link("v1")
        gone = lab.apply()
        assert lab.loaded("hw0") == loaded
        assert lab.live_cube("hw0")["ports"] == [{"name": "p1", "peer": "v1"}]  # asked for, and pending
        bench.wire("h1")
        back = lab.apply()
        assert lab.loaded("hw0") == loaded
        assert counts(gone) == counts(back) == Counts(link_changes=len(HOOKS_OF_V1[hook]) + (2 if hook == "TC" else 3))
        assert not lab.drift()
