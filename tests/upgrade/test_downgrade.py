"""The old release's own commands, started on a host that this release has changed: they remove nothing.

Somebody may have an old container, an old unit, or two versions installed. What the old code does not know is not its to remove.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import pins
from tests.upgrade.host import Host, nothing_removed
from tests.upgrade.release import Release
from tests.upgrade.traffic import udp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
REFUSED = pins.KEEP_OUT.rpartition("/")[2]


@pytest.fixture
def changed(old: Release, other: Release, own_root: str, tmp_path: Path) -> Iterator[Host]:
    """A host of the old release, its agent still running, on which this release has exchanged every program."""
    with Host(old, own_root, tmp_path) as host:
        host.start()
        host.apply(other)
        yield host


def test_the_old_releases_commands_and_agent_remove_nothing_and_say_why(changed: Host, old: Release, other: Release) -> None:
    running = changed.agents[0]
    with nothing_removed(changed, generations=True):
        running.until(lambda: REFUSED in running.text())
        for command, *arguments in (
            ("pcn-apply", str(changed.files)), ("pcn-apply", "--delete", str(changed.files)), ("pcn", "gc"), ("pcn", "delete", "router"),
        ):  # fmt: skip
            assert REFUSED in old.run(changed.root, command, *arguments, code=1).stderr
        fresh = udp("ra", "rc", "10.6.0.1")
        fresh.send(0)
        assert fresh.arrives(5), "packets lost: the old agent's slow path does not go on"
        fresh.close()
        running.stop()
        again = changed.agent(old)
        again.until(lambda: again.text().count("ready:") > 1)
        again.stop()
    changed.agent(other).until_in_sync()
    assert changed.losses(other) == []


def test_either_release_waits_for_the_others_lock(old: Release, new: Release, own_root: str, tmp_path: Path) -> None:
    with Host(old, own_root, tmp_path, ("two-hosts",)) as host:
        host.start(agent=False)
        lock = os.open(own_root, os.O_RDONLY | os.O_DIRECTORY)  # as both take it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for release in (old, new):
                host.apply(release, "--lock-timeout", "0.2", code=75)
        finally:
            os.close(lock)
        host.apply(new)
