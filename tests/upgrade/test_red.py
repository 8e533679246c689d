"""These tests can fail: a release that is broken on purpose is told from one that is not, and what it would lose is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.upgrade.host import Host, network, pins, removed
from tests.upgrade.release import Release, edited_release, substitute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def the_pins_of_tables_are_renamed(home: Path) -> None:
    substitute(home, "reconciler/pins.py", "{home}/tables/{table_name}", "{home}/rows/{table_name}")


def the_pins_of_hooks_are_renamed(home: Path) -> None:
    substitute(home, "reconciler/pins.py", 'f"links/{escape(netdev)}/{point}"', 'f"hooks/{escape(netdev)}/{point}"')


def a_layout_is_changed(home: Path) -> None:
    substitute(home, "bpf", "  u32 seen; /* CLOCK_MONOTONIC, seconds */\n};\nstruct fdb_settings",
               "  u32 seen; /* CLOCK_MONOTONIC, seconds */\n  u32 more;\n};\nstruct fdb_settings")  # fmt: skip


@pytest.mark.parametrize(("edit", "example", "said"), [
    (the_pins_of_tables_are_renamed, "two-hosts", "the takeover fails: error: the kernel does not hold what was applied"),
    (the_pins_of_hooks_are_renamed, "two-hosts", "the takeover fails: error:"),
    (a_layout_is_changed, "two-hosts", "learned row lost: cube br1: ('02:00:00:00:00:99'"),
], ids=["tables", "hooks", "layout"])
def test_a_release_that_would_lose_something_is_found_out(
    old: Release, own_root: str, tmp_path: Path, compiled_programs: Path, edit: Callable[[Path], None], example: str, said: str
) -> None:
    broken = edited_release("a broken release", tmp_path / "broken", edit, compiled_programs)
    with Host(old, own_root, tmp_path, (example,)) as host:
        host.start()
        host.agents[0].stop()
        before = pins(own_root), network()
        found = [f"the takeover fails: {words}" for words in [host.apply(broken, code=None)] if "error:" in words]
        found += removed(host, *before)
        host.agent(broken).until(lambda: host.agents[1].looks() > 0)
        found += host.losses(broken)
        host.cleaner = broken
    assert any(line.startswith(said) for line in found), found
