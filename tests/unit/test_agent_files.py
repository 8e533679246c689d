"""The desired set that watched files make: last good versions, and what is said about the others."""
from __future__ import annotations

import json
import os
import subprocess

import pytest

from reconciler.agent.files import Files
from reconciler.agent.watch import deciding
from reconciler.service.registry import Services

SERVICES = Services()


def topology(name: str, *cubes: str) -> str:
    spec = {"cubes": [{"name": cube, "service-name": "helloworld"} for cube in cubes]}
    return json.dumps({"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": name}, "spec": spec}, indent=1)


@pytest.fixture
def directory(tmp_path):
    home = tmp_path / "files"
    home.mkdir()
    return home


def names(files: Files) -> set[str]:
    return set(files.refresh(SERVICES).topologies)


def complaints(files: Files) -> list[str]:
    found = [words for bad, words in files.news if bad]
    files.news.clear()
    return found


def test_a_directory_means_its_yaml_and_json_files_but_no_hidden_ones(directory):
    for name in ("a.yaml", "b.yml", "c.json", ".d.yaml", "e.yaml~", "f.txt"):
        (directory / name).write_text(topology(name[0] if name[0] != "." else "d", f"cube-{name[0]}" if name[0] != "." else "cube-d"))
    assert names(Files([str(directory)])) == {"a", "b", "c"}


def test_a_broken_version_leaves_the_last_good_one_in_force_and_is_said_once(directory):
    file, files = directory / "a.yaml", Files([str(directory)])
    file.write_text(topology("a", "one"))
    before = files.refresh(SERVICES)
    file.write_text(topology("a", "one").replace("helloworld", "heloworld"))
    for _ in range(3):
        after = files.refresh(SERVICES)
        assert after == before
    said = complaints(files)
    assert len(said) == 1
    assert "last good version stays in force" in said[0]
    assert "helloworld" in said[0]
    assert files.files[str(file)].problem
    file.write_text(topology("a", "one", "two"))
    assert files.refresh(SERVICES).digest != before.digest
    assert not files.files[str(file)].problem
    assert complaints(files) == []


def test_a_file_that_was_never_good_says_nothing(directory):
    (directory / "a.yaml").write_text("spec: [")
    (directory / "b.yaml").write_text(topology("b", "two"))
    files = Files([str(directory)])
    assert names(files) == {"b"}
    assert len(complaints(files)) == 1


def test_of_two_files_that_do_not_go_together_the_newer_version_gives_way(directory):
    files = Files([str(directory)])
    (directory / "a.yaml").write_text(topology("a", "one"))
    (directory / "b.yaml").write_text(topology("b", "two"))
    files.refresh(SERVICES)
    (directory / "b.yaml").write_text(topology("b", "one"))  # the cube of the other file
    assert names(files) == {"a", "b"}
    assert len(complaints(files)) == 1
    assert {path[-6:]: bool(file.problem) for path, file in files.files.items()} == {"a.yaml": False, "b.yaml": True}
    assert {cube["name"] for document in files.refresh(SERVICES).documents for cube in document.data["spec"]["cubes"]} == {"one", "two"}


def test_a_file_that_is_gone_is_gone_but_not_if_its_directory_is(directory):
    files = Files([str(directory)])
    (directory / "a.yaml").write_text(topology("a", "one"))
    (directory / "b.yaml").write_text(topology("b", "two"))
    assert names(files) == {"a", "b"}
    (directory / "b.yaml").unlink()
    assert names(files) == {"a"}
    aside = directory.with_name("aside")
    directory.rename(aside)
    assert names(files) == {"a"}
    assert files.absent == str(directory)
    aside.rename(directory)
    assert names(files) == {"a"}
    assert not files.absent


def test_a_change_of_content_is_seen_whatever_the_times_say(directory):
    file, files = directory / "a.yaml", Files([str(directory)])
    file.write_text(topology("a", "one"))
    files.refresh(SERVICES)
    assert not files.changed()
    status = file.stat()
    file.write_text(topology("a", "two"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.changed()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"---\n", b"[1, 2]", b"\x00"])
def test_no_content_ends_the_agent(directory, content):
    (directory / "a.yaml").write_bytes(content)
    files = Files([str(directory)])
    assert names(files) == set()
    assert len(complaints(files)) == 1


def test_a_file_that_cannot_be_read_is_said_once(directory):
    (directory / "a.yaml").symlink_to("a.yaml")
    files = Files([str(directory / "a.yaml")])
    names(files)
    names(files)
    assert len(complaints(files)) == 1


def test_every_directory_with_a_symlink_on_the_way_decides(tmp_path):
    (tmp_path / "release1").mkdir()
    (tmp_path / "release1" / "lab.yaml").touch()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "current").symlink_to("../release1")
    assert deciding(str(tmp_path / "links" / "current" / "lab.yaml")) >= {str(tmp_path / "links"), str(tmp_path / "release1")}
    assert deciding(str(tmp_path / "release1")) >= {str(tmp_path / "release1")}
    (tmp_path / "loop").symlink_to("loop")
    assert deciding(str(tmp_path / "loop" / "x"))


def test_files_that_no_longer_fit_together_leave_the_last_set_that_did(directory):
    peers = topology("a", "one").replace('"service-name": "helloworld"', '"service-name": "helloworld", "ports": [{"name": "p"}]')
    (directory / "a.yaml").write_text(peers)
    (directory / "b.yaml").write_text(peers.replace('"a"', '"b"').replace('"one"', '"two"').replace('"p"', '"p", "peer": "one:p"'))
    files = Files([str(directory)])
    before = files.refresh(SERVICES)
    assert before.topologies == {"a", "b"}
    (directory / "a.yaml").unlink()  # the other file, which has not changed, refers to it
    assert files.refresh(SERVICES) == before
    assert complaints(files)


@pytest.mark.kernel
def test_a_mount_that_goes_away_takes_nothing_along(directory):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=True)
    try:
        (directory / "a.yaml").write_text(topology("a", "one"))
        files = Files([str(directory)])
        assert names(files) == {"a"}
    finally:
        subprocess.run(["umount", str(directory)], check=True)
    assert names(files) == {"a"}
    assert files.absent == str(directory)
