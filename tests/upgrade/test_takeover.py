"""A host that runs the old release, and this one takes over: no packet and no open connection is lost, what was learned stays.

What fails here says what a host would lose that is upgraded.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kernel.bpffs import open_pin
from reconciler.slowpath.dispatch import MAX_AGE
from reconciler.slowpath.ring import Ring
from tests.upgrade.host import Host, nothing_removed, until
from tests.upgrade.release import HERE, Release
from tests.upgrade.traffic import udp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def host(old: Release, own_root: str, tmp_path: Path) -> Iterator[Host]:
    with Host(old, own_root, tmp_path) as found:
        yield found


@pytest.mark.parametrize("which", ["new", "other"])
def test_an_agent_takes_over_from_the_old_agent_and_nothing_is_lost(
    host: Host, which: str, request: pytest.FixtureRequest
) -> None:
    """With the code as it is, and with programs that are all others than those that run."""
    release: Release = request.getfixturevalue(which)
    host.start()
    host.agents[0].stop()
    with nothing_removed(host):
        host.agent(release).until_in_sync()
    host.apply(release, "--check")
    assert host.losses(release) == []


def test_a_command_takes_over_beside_the_old_agent_and_then_an_agent_does(host: Host, other: Release) -> None:
    """The old agent meets a layout that is not its own, and leaves it alone."""
    host.start()
    with nothing_removed(host):
        host.apply(other)
        host.agents[0].stop()
        host.agent(other).until_in_sync()
    host.apply(other, "--check")
    assert host.losses(other) == []


# -- killed ------------------------------------------------------------------------------------------------------------------


def killed_at_each_step(release: Release, host: Host, first: int = 0, last: int | None = None) -> int:
    """Apply with a release, and kill it ahead of its step number `first`, of the next, and so on until one comes through or the
    `last` was killed, each with what the one before it left. Gives how many were killed, counted from step 0."""
    argv = [sys.executable, "-m", "tests.upgrade.killed", str(host.files)]
    with subprocess.Popen(argv, cwd=release.home, env=release.environment(host.root, str(HERE)), text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        number = first
        while last is None or number <= last:
            print(number, file=process.stdin, flush=True)
            said = process.stdout.readline().strip()
            if said == "done":
                return number
            assert said == "killed", f"step {number}: {said}"
            number += 1
        return number


def test_a_takeover_that_is_killed_at_each_step_loses_nothing(old: Release, other: Release, own_root: str, tmp_path: Path) -> None:
    """Each attempt meets what the killed one before it left."""
    with Host(old, own_root, tmp_path, ("two-hosts", "firewall", "forwarder-chain")) as host:
        host.start(agent=False)
        assert killed_at_each_step(other, host) > 30
        host.apply(other, "--check")
        assert host.losses(other) == []


@pytest.mark.exhaustive
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("examples", [("two-hosts", "firewall"), ("router",)], ids="-".join)
def test_a_takeover_that_is_killed_at_any_step_loses_nothing_and_is_finished_by_the_next_one(
    old: Release, other: Release, own_root: str, tmp_path: Path, examples: tuple[str, ...]
) -> None:
    """Each attempt meets the old release, applied afresh: it takes nothing back that a newer one has begun. Every fifth step, which
    takes minutes: the test above meets every one."""
    for number in itertools.count(step=5):
        directory = tmp_path / str(number)
        directory.mkdir()
        with Host(old, own_root, directory, examples) as host:
            host.start(agent=False)
            killed = killed_at_each_step(other, host, number, number) > number
            host.apply(other)
            host.apply(other, "--check")
            assert host.losses(other) == [], f"killed ahead of step {number}"
        if not killed:
            assert number > 10
            return


# -- slow path and trial -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["new", "other"])
def test_packets_that_old_programs_handed_up_are_answered_after_the_takeover(
    old: Release, own_root: str, tmp_path: Path, which: str, request: pytest.FixtureRequest
) -> None:
    """The old agent dies, packets to a neighbour that nobody knows yet wait in its ring, and the next agent sees to them."""
    release: Release = request.getfixturevalue(which)
    with Host(old, own_root, tmp_path, ("router",)) as host:
        host.start()
        for number in range(101, 106):  # what waited too long on a busy machine says nothing, and is tried again
            if _answered_after_the_takeover(host, release, f"10.5.3.{number}"):
                break
            host.agents[-1].stop()
            host.apply(old)
            host.agent(old).until_in_sync()
        else:
            pytest.fail("no agent was there in time, five times: nothing could be seen")
        later = udp("ra", "rc", "10.6.0.1")
        later.send(0)
        assert later.arrives(5), "a new neighbour is not reached after the takeover"
        later.close()
        assert host.losses(release) == []


def _answered_after_the_takeover(host: Host, release: Release, fresh: str) -> bool:
    """False: that cannot be told, for the next agent was there too late."""
    subprocess.run(["ip", "-n", "rc", "address", "add", f"{fresh}/32", "dev", "lo"], check=True)
    with contextlib.closing(udp("ra", "rc", fresh)) as flow, Ring(open_pin(f"{host.root}/shared/slowpath")) as ring:
        until(lambda: ring.waiting() == 0, "the ring is not drained")
        host.agents[-1].end(signal.SIGKILL)
        began = time.monotonic()
        for number in range(5):
            flow.send(number)
        handed_up = ring.waiting() > 0
        agent = host.agent(release)
        until(lambda: ring.waiting() == 0, "packets lost: nobody reads the old ring")
        in_time = handed_up and time.monotonic() - began < MAX_AGE - 0.5
        agent.until_in_sync()
        assert not in_time or flow.arrives(5), f"packets lost that waited in the old ring: {flow.name}: {len(flow.lost)} of 5"
    return in_time


def test_a_trial_of_the_old_release_is_respected_and_kept_by_this_one(
    old: Release, new: Release, own_root: str, tmp_path: Path
) -> None:
    with Host(old, own_root, tmp_path, ("two-hosts",)) as host:
        host.start(agent=False)
        edited = host.edited("two-hosts", lambda data: data["spec"]["cubes"][0].update({"fdb": {"aging-time": 77}}))
        trial = old.spawn(own_root, tmp_path / "trial.log", "pcn-apply", "--try", "300", str(edited))
        try:
            until(lambda: "On trial" in (tmp_path / "trial.log").read_text(), "the trial does not begin")
            said = host.apply(new, code=75)
            assert "on trial" in said
            agent = host.agent(new)
            until(lambda: agent.looks() > 0 or agent.process.poll() is not None, "the agent does nothing")
            assert "77" in new.run(own_root, "pcn", "show").stdout
            agent.stop()
            new.run(own_root, "pcn-apply", "--confirm")
            assert trial.wait(20) == 0, (tmp_path / "trial.log").read_text()
        finally:
            old.run(own_root, "pcn-apply", "--confirm", code=None)
            trial.wait(20)
        assert json.loads(new.run(own_root, "pcn", "show", "-o", "json").stdout)
        assert host.losses(new) == []
