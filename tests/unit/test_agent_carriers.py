"""A netdev that lost its carrier while a look was under way, which has seen it: what was learned behind it goes all the same."""
from __future__ import annotations

import asyncio
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.agent.carriers import forget_behind
from reconciler.agent.main import Agent
from reconciler.agent.netlink_events import BLINKED, CAME, LOST, RAISED, LinkEvents
from reconciler.engine.options import Options
from reconciler.errors import FeatureMissing
from reconciler.graph.records import CubeRecord, PortRecord
from reconciler.kernel import linkwrite, netns


@pytest.mark.parametrize("seen", [False, True])
def test_what_was_learned_behind_a_netdev_goes_with_its_carrier_whoever_saw_it_first(seen: bool) -> None:
    forgotten: list[set[str]] = []
    polls: list[bool] = []

    async def job(work: Any) -> Any:
        return work()

    async def ended() -> None:
        pass

    async def poll() -> None:
        polls.append(True)

    links = SimpleNamespace(
        changes=lambda: {"eth7": LOST}, lost=set, is_as=lambda name, _: seen
    )
    agent: Any = SimpleNamespace(
        links=links, healer=SimpleNamespace(netdevs={}), jobs=SimpleNamespace(do=job),
        polls=SimpleNamespace(moved=set(), ended=ended, now=poll), _forget_behind=forgotten.append, _facts_changed=lambda: False,
    )  # fmt: skip
    asyncio.run(Agent._links_settled(agent))
    assert forgotten == [{"eth7"}]
    assert len(polls) == (not seen), "who has seen it has acted upon it"


def test_by_a_netdev_that_has_just_come_or_was_just_set_up_nothing_has_got_lost() -> None:
    links = LinkEvents.__new__(LinkEvents)
    links._last = {name: (1, "", True, name in ("lively", "back"), 0, ()) for name in ("new", "raised", "dead", "lively", "back")}
    changes = {"new": CAME, "raised": RAISED, "dead": LOST, "lively": LOST, "gone": "went away", "back": BLINKED}
    assert links.lost(changes) == {"dead", "back"}


@pytest.mark.kernel
def test_a_carrier_that_is_back_before_anybody_looked_was_lost_all_the_same() -> None:
    with netns.throwaway():
        subprocess.run(["ip", "link", "add", "x", "up", "type", "veth", "peer", "name", "y"], check=True)
        linkwrite.set_link("y", up=True)
        links = LinkEvents()
        linkwrite.set_link("x", mtu=1400)
        assert links.changes() == {}
        linkwrite.set_link("y", up=False)
        linkwrite.set_link("y", up=True)
        assert {name: what for name, what in links.changes().items() if name == "x"} == {"x": BLINKED}
        links.close()


def test_the_kernel_is_not_read_for_a_netdev_behind_which_no_cube_learns(tmp_path) -> None:
    balancer = [CubeRecord("lb", "lbrp", "t", "TC"), PortRecord("lb", "p", 0, "eth7")]
    bridge = [CubeRecord("br", "simplebridge", "t", "TC"), PortRecord("br", "p", 0, "eth8")]
    wanted = {record.address: record for record in (*balancer, *bridge)}
    options = Options(root=str(tmp_path / "nothing"))
    assert not forget_behind({"eth7", "eth9"}, options, wanted).steps
    with pytest.raises(FeatureMissing, match="bpf filesystem"):
        forget_behind({"eth8"}, options, wanted)
