"""A netdev that lost its carrier while a look was under way, which has seen it: what was learned behind it goes all the same."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.agent.main import Agent
from reconciler.agent.netlink_events import LOST


@pytest.mark.parametrize("seen", [False, True])
def test_what_was_learned_behind_a_netdev_goes_with_its_carrier_whoever_saw_it_first(seen: bool) -> None:
    forgotten: list[set[str]] = []
    looks: list[bool] = []

    async def job(work: Any) -> Any:
        return work()

    async def ended() -> None:
        pass

    async def look() -> None:
        looks.append(True)

    links = SimpleNamespace(
        changes=lambda: {"eth7": LOST}, without_carrier=lambda: {"eth7", "eth8"}, is_as=lambda name, _: seen
    )
    agent: Any = SimpleNamespace(
        links=links, healer=SimpleNamespace(netdevs={}), jobs=SimpleNamespace(do=job),
        looks=SimpleNamespace(moved=set(), ended=ended, now=look), _forget_behind=forgotten.append, _facts_changed=lambda: False,
    )  # fmt: skip
    asyncio.run(Agent._links_settled(agent))
    assert forgotten == [{"eth7"}]
    assert len(looks) == (not seen), "who has seen it has acted upon it"
