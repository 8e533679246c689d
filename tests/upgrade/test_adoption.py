"""Programs that would come out as those that run are taken over as they are, whatever their source says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.upgrade.host import Host
from tests.upgrade.release import Release, edited_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def a_comment_everywhere(home: Path) -> None:
    """A line more at the top of every source, so that all lines are others too."""
    sources = [path for path in (home / "bpf").rglob("*.[ch]") if "include" not in path.parts]
    assert len(sources) > 20
    for path in sources:
        path.write_text("/* Nothing that a program is made of. */\n" + path.read_text())


def test_a_comment_in_every_source_plans_no_load_and_is_no_drift(
    new: Release, own_root: str, tmp_path: Path, compiled_programs: Path
) -> None:
    commented = edited_release("a release with more comments", tmp_path / "commented", a_comment_everywhere, compiled_programs)
    commented.compile()
    with Host(new, own_root, tmp_path) as host:
        host.apply(new)
        planned = json.loads(commented.run(own_root, "pcn-apply", "--plan", "-o", "json", str(host.files)).stdout)
        assert planned["steps"] == []
        commented.run(own_root, "pcn", "drift")
