"""When polls begin, and for whom they are over."""
from __future__ import annotations

import asyncio
from collections.abc import Collection

from reconciler.agent.loop import Loop
from reconciler.agent.polls import Polls


def test_who_waits_for_a_poll_goes_on_as_soon_as_what_it_applied_is_in_force() -> None:
    loop, said = Loop(), list[str]()
    over = asyncio.Event()

    async def poll(_: Collection[str]) -> float:
        await asyncio.sleep(0)
        said.append("in force")
        polls.in_force()
        await over.wait()
        said.append("over")
        return 60.0

    polls = Polls(loop, poll, lambda: said.append("all over"), 60.0)

    async def ask() -> None:
        await polls.fresh()
        said.append("answered")
        ended = asyncio.ensure_future(polls.ended())
        await asyncio.sleep(0)
        assert not ended.done(), "the poll itself goes on"
        over.set()
        await ended
        said.append("ended")

    loop.run_until(ask())
    loop.close()
    assert said[:3] == ["in force", "answered", "over"]
    assert "ended" in said


def test_who_asks_while_a_poll_is_over_but_for_its_rest_waits_for_the_next_one() -> None:
    loop, begun = Loop(), list[int]()
    rest = asyncio.Event()

    async def poll(_: Collection[str]) -> float:
        begun.append(len(begun))
        polls.in_force()
        await rest.wait()
        return 60.0

    polls = Polls(loop, poll, lambda: None, 60.0)

    async def ask() -> None:
        await polls.fresh()
        later = asyncio.ensure_future(polls.fresh())
        await asyncio.sleep(0.01)
        assert not later.done()
        assert begun == [0]
        rest.set()
        await later
        assert begun == [0, 1]

    loop.run_until(ask())
    loop.close()
