"""Programs that would come out as those that run are taken over as they are, whatever their source says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.upgrade.host import Host
from tests.upgrade.release import Release, edited_release, substitute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def a_comment_everywhere(home: Path) -> None:
    """A line more at the top of every source, so that all lines are others too."""
    sources = [path for path in (home / "bpf").rglob("*.[ch]") if "include" not in path.parts]
    assert len(sources) > 20
    for path in sources:
        path.write_text("/* Nothing that a program is made of. */\n" + path.read_text())


def other_words(home: Path) -> None:
    """A file, a field and a constant by other names, and a table that nobody uses, in a service that learns; another file in the
    way from a cube to the next."""
    bridge = home / "bpf" / "simplebridge"
    text = (bridge / "simplebridge.c").read_text()
    assert "fdb_settings" in text
    assert text.count("aging_time") > 1
    renamed = text.replace("aging_time", "age_limit") + '\nBPF_TABLE("hash", u32, u64, unused, 16);\n'
    (bridge / "bridge.c").write_text(renamed)
    (bridge / "simplebridge.c").unlink()
    forwarder = home / "bpf" / "simpleforwarder"
    (forwarder / "simpleforwarder.c").rename(forwarder / "forward.c")
    for service, old, new in (("simplebridge", "simplebridge.c", "bridge.c"), ("simplebridge", "aging_time", "age_limit"),
                              ("simpleforwarder", "simpleforwarder.c", "forward.c")):  # fmt: skip
        path = home / "schemas" / "json" / f"{service}.schema.json"
        said = path.read_text()
        assert f'"{old}"' in said
        path.write_text(said.replace(f'"{old}"', f'"{new}"'))


def programs(root: str) -> dict[str, object]:
    """What each cube's generation in force says of its programs."""
    homes = [home for home in (Path(root) / "cubes").iterdir() if (home / "current").is_symlink()]
    return {home.name: json.loads(os.readlink(home / os.readlink(home / "current") / "about")) for home in homes}


def test_other_names_and_a_table_that_nobody_uses_plan_no_load_and_are_no_drift_however_often_applied(
    new: Release, own_root: str, tmp_path: Path, compiled_programs: Path
) -> None:
    worded = edited_release("a release with other words", tmp_path / "worded", other_words, compiled_programs)
    worded.compile()
    with Host(new, own_root, tmp_path, ("two-hosts", "forwarder-chain")) as host:
        host.start(agent=False)
        before = programs(own_root)
        assert len(before) > 2
        for _ in range(2):
            planned = json.loads(worded.run(own_root, "pcn-apply", "--plan", "-o", "json", str(host.files)).stdout)
            assert planned["steps"] == []
            host.apply(worded)
            worded.run(own_root, "pcn", "drift")
            assert programs(own_root) == before
        assert host.losses(worded) == []
        edited = host.edited("two-hosts", lambda data: data["spec"]["cubes"][0].update({"fdb": {"aging-time": 77}}))
        worded.run(own_root, "pcn-apply", str(edited))
        assert "77" in worded.run(own_root, "pcn", "show").stdout
        assert programs(own_root) == before


def digests_of_all_content(home: Path) -> None:
    """Programs are recorded by all that is known of them, as the first releases do."""
    substitute(home, "reconciler/compiler/object.py", "digest=_digest(self)", "digest=_seal(self)")


def test_programs_and_chains_that_older_code_recorded_under_other_digests_are_adopted(
    new: Release, own_root: str, tmp_path: Path, compiled_programs: Path
) -> None:
    older = edited_release("an older release", tmp_path / "older", digests_of_all_content, compiled_programs)
    with Host(older, own_root, tmp_path, ("two-hosts", "forwarder-chain")) as host:
        host.start()
        before = programs(own_root)
        planned = json.loads(new.run(own_root, "pcn-apply", "--plan", "-o", "json", str(host.files)).stdout)
        assert planned["steps"] == []
        host.apply(new)
        new.run(own_root, "pcn", "drift")
        assert programs(own_root) == before
        assert host.losses(new) == []


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
