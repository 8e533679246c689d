"""The old release's own commands, started on a host that this release has taken over: they remove nothing.

Somebody may have an old container, an old unit, or two versions installed. What the old code does not know is not its to remove.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrade.host import Host, nothing_removed
from tests.upgrade.release import Release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def taken_over(other: Release, own_root: str, tmp_path: Path) -> Iterator[Host]:
    """A host of this release, every program of which is another one than the old release's."""
    with Host(other, own_root, tmp_path) as host:
        host.start()
        yield host


def test_the_old_releases_gc_removes_nothing(taken_over: Host, old: Release, other: Release) -> None:
    with nothing_removed(taken_over, generations=True):
        said = old.run(taken_over.root, "pcn", "gc").stdout
    assert "Nothing to do" in said
    taken_over.apply(other, "--check")
    assert taken_over.losses(other) == []


def test_the_old_releases_apply_and_agent_remove_nothing_and_this_release_takes_over_again(
    taken_over: Host, old: Release, other: Release
) -> None:
    """They put their own programs in the place of the new ones, as a downgrade has to."""
    taken_over.agents[0].stop()
    with nothing_removed(taken_over):
        taken_over.apply(old)
        taken_over.agent(old).until_in_sync()
    taken_over.agents[1].stop()
    with nothing_removed(taken_over):
        taken_over.apply(other)
    assert taken_over.losses(other) == []
