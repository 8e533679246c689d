"""An edit that an agent applies directly after a look which found all well: it is planned by that look, and nothing is lost by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.agent.controller import SOON, Controller
from reconciler.agent.files import Files
from reconciler.document.load import parse
from reconciler.engine import unchanged
from reconciler.engine.apply import Options, apply, drift
from reconciler.errors import PcnError
from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {}}}\nspec:\n  cubes:\n"
MANY = 40  # enough for a list of which an edit leaves the other entries as they are


def text(topology: str, count: int, does: str = "FORWARD, outport: b") -> str:
    return HEAD.format(topology) + "".join(
        f"  - name: {topology}{number}\n    service-name: simpleforwarder\n    ports:\n    - {{name: a}}\n    - {{name: b}}\n"
        f"    actions:\n    - {{inport: a, action: {does if number == 0 else 'DROP'}}}\n"
        for number in range(count)
    )


class Agent:
    """What an agent does when a file is saved, in this process."""

    def __init__(self, directory: Path) -> None:
        self.options, self.file = Options(), directory / "t.yaml"
        self.files, self.healer = Files([str(directory)]), Controller(self.options)

    def save(self, said: str) -> float:
        self.file.write_text(said)
        self.healer.want(self.files.refresh(self.options.services))
        again = self.healer.poll()
        assert not self.healer.problem
        return again

    def path(self, below: str) -> str:
        return f"{self.options.root}/cubes/{below}"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    agent.save(text("t", MANY))
    while agent.healer._snapshots.unchanged is None or not agent.healer._snapshots.unchanged.is_unchanged():
        agent.healer.poll()
    yield agent
    for topology in ("t", "u"):
        apply(parse(text(topology, 1), "f"), Options(), delete=True)


def test_what_an_edit_leaves_alone_is_healed_by_the_look_that_follows_at_once(agent: Agent) -> None:
    os.unlink(agent.path("t1/ports/a"))
    assert agent.save(text("t", MANY, "DROP")) == SOON
    assert not os.path.lexists(agent.path("t1/ports/a"))
    assert [change.address for change in drift()] == ["cube/t1/port/a"], "the edit is in force, and nothing else is touched"
    assert agent.healer.poll() == 0
    assert drift() == []


def test_damage_to_a_cube_that_is_edited_is_seen_when_the_edit_is_verified(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pcn.agent")
    os.unlink(agent.path("t0/ports/a"))
    assert agent.save(text("t", MANY, "DROP")) == 0, "everything was looked at"
    assert drift() == []
    assert "somebody else wrote to the kernel meanwhile" in caplog.text
    assert os.path.lexists(agent.path("t0/ports/a"))


def test_a_table_that_was_removed_since_is_made_anew_and_nothing_has_failed(agent: Agent) -> None:
    os.unlink(agent.path("t0/tables/actions"))
    assert agent.save(text("t", MANY, "DROP")) == 0, "everything was looked at"
    assert drift() == []


def test_what_was_in_force_before_and_failed_meanwhile_is_no_problem_once_the_edit_is(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit fails; while it waits for its next try, so does healing what was in force, of which a netdev has just gone."""

    def fails(*_: object) -> None:
        raise PcnError("cannot find netdev 'pod11'")

    agent.file.write_text(text("t", MANY, "DROP"))
    agent.healer.want(agent.files.refresh(agent.options.services))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Controller, "_attempt", fails)
        agent.healer.poll()
        agent.healer.poll()
    agent.healer.forget()
    for _ in range(5):
        agent.healer.poll()
    assert drift() == []
    assert agent.healer.problem == ""


def test_a_row_that_somebody_wrote_since_does_not_stay(agent: Agent) -> None:
    """One that the edit writes too, and one that it does not."""
    for row in (0, 1):
        with Bpffs(agent.options.root).opened("cubes/t0/tables/actions") as fd:
            spec = maps.info(fd).spec
            maps.update(fd, row.to_bytes(4, "little"), b"\1" * spec.value_size)
        agent.save(text("t", MANY, "DROP" if row else "FORWARD, outport: a"))
        assert drift() == []
        while agent.healer.poll():
            pass


MANY_MORE = 1200  # rows, of a table that is long


def balanced(backend: str) -> str:
    """A load balancer with a backend for each service, of which the one in the middle has this one."""
    head = HEAD.format("t") + "  - name: lb\n    service-name: lbrp\n    service:\n"
    return head + "".join(
        f"    - {{vip: 10.1.{number >> 8}.{number & 255}, vport: 80, proto: TCP, backend: "
        f"[{{ip: {backend if number == MANY_MORE // 2 else '10.9.0.9'}, port: 80}}]}}\n"
        for number in range(1, MANY_MORE)
    )


def test_a_long_table_is_not_read_for_one_row_and_what_somebody_wrote_to_another_is_healed_at_once(agent: Agent) -> None:
    agent.save(balanced("10.9.0.1"))
    while agent.healer._snapshots.unchanged is None or not agent.healer._snapshots.unchanged.is_unchanged():
        agent.healer.poll()
    with Bpffs(agent.options.root).opened("cubes/lb/tables/members") as fd:
        spec = maps.info(fd).spec
        before = maps.rows(fd, spec)
        other = next(key for key, row in before.items() if row[12:16] == bytes((10, 9, 0, 9)))
        maps.delete_many(fd, spec, [other])
        assert agent.save(balanced("10.9.0.2")) == SOON, "what was edited was looked at"
        there = maps.rows(fd, spec)
        assert other not in there
        own = next(key for key, row in there.items() if row[12:16] == bytes((10, 9, 0, 2)))
        agent.healer.poll()
        assert maps.rows(fd, spec)[other] == before[other]
        while agent.healer._snapshots.unchanged is None or not agent.healer._snapshots.unchanged.is_unchanged():
            agent.healer.poll()
        maps.delete_many(fd, spec, [own])
        agent.healer.poll()
        assert own in maps.rows(fd, spec), "what an edit wrote is read by each look after it"
    assert drift() == []
    agent.save(text("t", MANY))


def test_an_edit_that_does_more_than_write_rows_reads_the_cube(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pcn.agent")
    os.unlink(agent.path("t0/ports/a"))
    agent.save(text("t", MANY).replace("simpleforwarder\n", "simpleforwarder\n    loglevel: DEBUG\n", 1))
    assert drift() == []
    assert "meanwhile" not in caplog.text


@pytest.mark.parametrize("said", [text("u", 1), text("t", MANY, "DROP").replace("outport: b", "")])
def test_what_somebody_applied_meanwhile_is_noticed(agent: Agent, said: str) -> None:
    apply(parse(said, "another"), Options())
    os.unlink(agent.path("t1/ports/a"))
    agent.save(text("t", MANY, "FORWARD, outport: a"))
    assert drift() == [], "everything was looked at"
    assert os.path.lexists(agent.path("u0")) == ("name: u0" in said)


def test_a_look_of_long_ago_will_not_do(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "_FRESH", 0.0)
    os.unlink(agent.path("t1/ports/a"))
    assert agent.save(text("t", MANY, "DROP")) == 0
    assert drift() == []


def test_cubes_that_come_and_go_are_no_edit_of_others(agent: Agent) -> None:
    agent.save(text("t", MANY + 2))
    assert drift() == []
    assert os.path.lexists(agent.path(f"t{MANY + 1}"))
    agent.healer.poll()
    agent.save(text("t", MANY - 1))
    assert drift() == []
    assert not os.path.lexists(agent.path(f"t{MANY - 1}"))


def test_edits_in_a_row_are_planned_by_what_was_verified_of_the_one_before(agent: Agent) -> None:
    os.unlink(agent.path("t1/ports/a"))
    for number in range(4):
        assert agent.save(text("t", MANY, "DROP" if number % 2 else "FORWARD, outport: a")) == SOON
        assert [change.address for change in drift()] == ["cube/t1/port/a"], "in force, and nothing else was looked at"
    while agent.healer.poll():
        pass
    assert drift() == []


def test_a_poll_makes_way_for_an_edit_which_is_planned_by_the_poll_before_it(agent: Agent) -> None:
    polls = agent.healer.tally.polls
    agent.healer.is_awaited = lambda: True
    assert agent.healer.poll() == SOON
    assert agent.healer.tally.polls == polls, "it ended early"
    os.unlink(agent.path("t1/ports/a"))
    assert agent.save(text("t", MANY, "DROP")) == SOON
    assert agent.healer.poll() == SOON, "the look after it, too"
    assert agent.save(text("t", MANY, "FORWARD, outport: a")) == SOON
    assert [change.address for change in drift()] == ["cube/t1/port/a"]
    agent.healer.is_awaited = lambda: False
    agent.healer.poll()
    assert drift() == []
