"""Files as people and machines save them: by rename, in place, by symlink; whole, half, and broken."""
from __future__ import annotations

import json
import os
import time

import pytest

from tests.lib.agent_process import OWNED, Bench
from tests.lib.lab import Lab


@pytest.fixture
def bench(tmp_path):
    with Lab(OWNED) as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        yield bench


def text(bench: Bench, ageing: int) -> str:
    bench.lab.cube("br1")["fdb"]["aging-time"] = ageing
    return json.dumps(bench.lab.document().data, indent=1)


def ageing_time(bench: Bench) -> int:
    return bench.lab.live_cube("br1")["fdb"]["aging-time"]


def wait_for(bench: Bench, ageing: int, seconds: float = 3.0) -> float:
    began = time.monotonic()
    while ageing_time(bench) != ageing:
        assert time.monotonic() - began < seconds, f"{ageing_time(bench)} and not {ageing}\n{bench.log.read_text()}"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.slow
def test_of_a_hundred_saves_in_ten_seconds_the_last_good_one_is_in_force_and_each_broken_one_seen_is_named_once(bench):
    shown = []
    with bench.agent() as agent, bench.stream() as stream:
        began = time.monotonic()
        for number in range(100):
            content = text(bench, 100 + number)
            if number % 10 == 5:  # broken, and left so for long enough to be seen
                shown.append(f"broken-{number}")
                content = content.replace("aging-time", shown[-1])
            if number % 2:
                draft = bench.directory / ".draft"
                draft.write_text(content)
                draft.rename(bench.file)
            else:
                bench.file.write_text(content)
            time.sleep(0.5 if number % 10 == 5 else 0.055)
        assert 9 < time.monotonic() - began < 13
        wait_for(bench, 199)
        agent.until(lambda said: said["healthy"])
        stream.close()
        assert stream.lost() == 0
        named = [line for line in agent.text().splitlines() if "unknown key" in line]
    assert [sum(f'unknown key "{name}"' in line for line in named) for name in shown] == [1] * 10
    assert not bench.lab.plan().plan.steps


def test_a_symlink_that_is_swapped_takes_effect_at_once(bench, tmp_path):
    for release in (1, 2):
        (tmp_path / f"release{release}").mkdir()
        (tmp_path / f"release{release}" / "lab.yaml").write_text(text(bench, 1000 + release))
    current = tmp_path / "current"
    current.symlink_to("release1")
    with bench.agent_of(current / "lab.yaml"):
        wait_for(bench, 1001)
        draft = tmp_path / "current.new"
        draft.symlink_to("release2")
        os.rename(draft, current)
        assert wait_for(bench, 1002) < 1.5


def test_a_config_map_that_is_swapped_takes_effect_at_once(bench, tmp_path):
    """As the kubelet does it: files are symlinks into ..data, itself a symlink that is renamed over."""
    mount = tmp_path / "mount"
    for version in ("..1", "..2"):
        (mount / version).mkdir(parents=True)
        (mount / version / "lab.yaml").write_text(text(bench, 2000 + int(version[2:])))
    (mount / "..data").symlink_to("..1")
    (mount / "lab.yaml").symlink_to("..data/lab.yaml")
    with bench.agent_of(mount):
        wait_for(bench, 2001)
        (mount / "..data_tmp").symlink_to("..2")
        os.rename(mount / "..data_tmp", mount / "..data")
        assert wait_for(bench, 2002) < 1.5


def test_a_broken_file_does_not_hold_up_the_others(bench):
    other = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "other"}, "spec": {"cubes": [
        {"name": "hw9", "service-name": "helloworld"}]}}  # fmt: skip
    (bench.directory / "other.yaml").write_text(json.dumps(other))
    with bench.agent("--prune") as agent:
        agent.until(lambda said: said["topologies"] == ["lab", "other"])
        (bench.directory / "other.yaml").write_text("spec: [")
        agent.until(lambda said: not said["healthy"])
        bench.file.write_text(text(bench, 333))
        wait_for(bench, 333)
        assert agent.status()["topologies"] == ["lab", "other"]
        assert [file["state"] for file in agent.status()["files"]] == ["applied", "broken"]
        (bench.directory / "other.yaml").unlink()
        agent.until(lambda said: said["topologies"] == ["lab"])


def test_an_apply_that_fails_is_tried_again_and_a_new_version_at_once(bench):
    held = bench.lab.world.name("x")
    bench.lab.world.wire(held, bench.lab.world.name("y"))
    with bench.agent() as agent:
        good = bench.file.read_text()
        bench.lab.spec["links"] = [{"name": held, "kind": "veth", "peer": {"name": bench.lab.world.name("z")}}]
        bench.file.write_text(text(bench, 444))
        agent.until(lambda said: said["reconciles"]["failed"] > 2)
        assert not agent.status()["healthy"]
        assert agent.text().count("is not pcn's") == 1
        assert ageing_time(bench) == 120
        bench.file.write_text(good.replace("120", "555"))
        assert wait_for(bench, 555) < 1.5
        agent.until(lambda said: said["healthy"])
