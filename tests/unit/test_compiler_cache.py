"""The cache of compiled programs: what is a hit, and what is never believed."""
from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from reconciler.compiler import Object, Unit, cache, compile_units, toolchain
from reconciler.compiler.sources import gather
from reconciler.errors import CompileError
from tests.lib.nobody import UID, Victim

KEY = "0" * 63 + "1"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PCN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def program(source: str = "s.c", compiler: str = "bcc-1") -> Object:
    return Object("", source, "TC", "ingress", bytes(8), (), {}, {}, 0, (), {}, "GPL", compiler).sealed()


def stored(found: Object, key: str = KEY) -> Path:
    path = cache.store(key, found)
    assert path is not None
    return path


def test_what_was_kept_is_found_by_its_key_and_compiler():
    stored(program())
    assert cache.load(KEY, "bcc-1") == program()
    assert cache.load(KEY, "bcc-2") is None
    assert cache.load("1" * 64, "bcc-1") is None


def test_without_a_compiler_the_work_of_any_serves():
    stored(program(compiler="bcc-7"))
    assert cache.load(KEY, None) == program(compiler="bcc-7")


def test_nothing_half_written_is_left(home):
    stored(program())
    assert [path.name for path in home.iterdir()] == [f"{KEY}-bcc-1.json"]


@pytest.mark.parametrize("spoil", [
    lambda path: path.write_text(path.read_text()[:-20]),
    lambda path: path.write_text("[]"),
    lambda path: path.write_text(path.read_text().replace('"insns":"00', '"insns":"01')),
    lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "key": "2" * 64})),
    lambda path: path.write_bytes(b"\xff\xfe"),
])
def test_a_file_that_is_not_what_it_should_be_is_a_miss(spoil):
    path = stored(program())
    spoil(path)
    assert cache.load(KEY, "bcc-1") is None


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_a_miss_and_said(mode, caplog):
    path = stored(program())
    path.chmod(mode)
    assert cache.load(KEY, "bcc-1") is None
    assert "is ignored" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_file_of_another_user_is_a_miss(caplog):
    os.chown(stored(program()), 65534, 65534)
    assert cache.load(KEY, "bcc-1") is None
    assert "is ignored" in caplog.text


def test_a_link_to_a_file_is_a_miss(home):
    path = stored(program())
    path.rename(home / "elsewhere")
    path.symlink_to(home / "elsewhere")
    assert cache.load(KEY, "bcc-1") is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")],
                         ids=["fifo", "directory", "link to a device"])
def test_what_is_no_file_is_a_miss_that_nobody_waits_for(home, make, caplog):
    path = stored(program())
    path.unlink()
    make(path)
    assert cache.load(KEY, "bcc-1") is None
    assert cache.load(KEY, None) is None
    cache.prune()


def test_a_socket_or_a_fifo_in_a_files_place_makes_way(home):
    path = stored(program())
    for make in (os.mkfifo, lambda path: os.mknod(path, 0o600 | stat.S_IFSOCK)):
        path.unlink()
        make(path)
        assert cache.load(KEY, "bcc-1") is None
        assert cache.store(KEY, program()) == path
        assert cache.load(KEY, "bcc-1") == program()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_directory_that_others_may_write_to_is_neither_read_nor_written(home, mode, caplog):
    path = stored(program())
    home.chmod(mode)
    assert cache.load(KEY, "bcc-1") is None
    assert cache.store("1" * 64, program()) is None
    assert cache.prune(0) == 0
    assert "can be written by others" in caplog.text
    assert list(home.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
@pytest.mark.parametrize("attack", [
    lambda home, victim: home.mkdir(), lambda home, victim: home.symlink_to(victim), lambda home, victim: os.mkfifo(home),
], ids=["directory", "symlink", "fifo"])
def test_a_directory_that_an_ordinary_user_made_first_is_not_used(monkeypatch, tmp_path, attack, caplog):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    victim = Victim(tmp_path / "victim")
    monkeypatch.setenv("PCN_CACHE", str(shared / "pcn"))
    attack(shared / "pcn", victim.path)
    os.chown(shared / "pcn", UID, UID, follow_symlinks=False)
    assert cache.load(KEY, "bcc-1") is None
    assert cache.store(KEY, program()) is None
    assert cache.prune(0) == 0
    assert "cannot be kept" in caplog.text
    assert victim.is_untouched()


@pytest.mark.kernel
def test_on_a_full_disk_nothing_is_left(home, tmp_path, caplog):
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", home], check=True)
    try:
        big = dataclasses.replace(program(), insns=bytes(64 << 10)).sealed()
        assert cache.store(KEY, big) is None
        assert "cannot be kept" in caplog.text
        assert "No space left" in caplog.text
        assert list(home.iterdir()) == []
        stored(program())
    finally:
        subprocess.run(["umount", home], check=True)


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(home):
    path = stored(program())
    old, new = home / ".new-abc", home / ".new-def"
    for each in (old, new):
        each.write_text("half")
    os.utime(old, (1000, 1000))
    cache.prune()
    assert sorted(home.iterdir()) == sorted([path, new])


def test_a_cache_that_cannot_be_written_is_no_error(home, monkeypatch, caplog):
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file where the directory should be")
    assert cache.store(KEY, program()) is None
    assert "cannot be kept" in caplog.text


def test_pruning_keeps_what_was_of_use_last(home):
    paths = [stored(program(), f"{i:064x}") for i in range(4)]
    for age, path in enumerate(paths):
        os.utime(path, (1000 - age, 1000 - age))
    other = home / "README"
    other.write_text("not ours" * 1000)
    size = paths[0].stat().st_size
    assert cache.prune(2 * size) == 2 * size
    assert [path.exists() for path in paths] == [True, True, False, False]
    assert other.exists()


def test_a_hit_of_an_old_file_makes_it_young_again():
    path = stored(program())
    os.utime(path, (1000, 1000))
    cache.load(KEY, "bcc-1")
    assert path.stat().st_mtime > 1000


def test_pruning_where_there_is_nothing_removes_nothing():
    assert cache.prune() == 0


def test_the_key_follows_every_text_and_every_choice_but_not_the_place(tmp_path):
    def key(home: str, *, source: str = '#include "x.h"\n', beside: str = "int x;\n", flavour: str = "TC", **defines: int) -> str:
        (tmp_path / home).mkdir(exist_ok=True)
        (tmp_path / home / "s.c").write_text(source)
        (tmp_path / home / "x.h").write_text(beside)
        unit = Unit(tmp_path / home / "s.c", flavour, "ingress", defines=defines)
        return cache.key(unit, gather(unit))

    assert key("a") == key("b")
    changed = [key("a"), key("a", source='#include "x.h"\n\n'), key("a", beside="int y;\n"), key("a", flavour="XDP"),
               key("a", N=1)]
    assert len(set(changed)) == len(changed)


def test_without_root_the_cache_is_the_users(monkeypatch):
    monkeypatch.delenv("PCN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/u/cache")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cache.directory() == Path("/home/u/cache/pcn")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cache.directory() == Path("/var/cache/pcn")


def test_without_a_compiler_a_hit_is_served_and_a_miss_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "library", lambda: None)
    (tmp_path / "s.c").write_text("int x;\n")
    unit = Unit(tmp_path / "s.c", "TC", "ingress")
    with pytest.raises(CompileError, match=r"cannot compile s\.c: BCC's library must be installed .*python3-bpfcc"):
        compile_units([unit])
    cache.store(cache.key(unit, gather(unit)), program())
    assert compile_units([unit, unit]) == [program(), program()]


@pytest.mark.parametrize(("manager", "way"), [
    ("apt-get", "apt-get install python3-bpfcc"), ("dnf", "dnf install python3-bcc"), ("pacman", "pacman -S python-bcc"),
    ("apk", "apk add py3-bcc"),
])
def test_the_package_is_named_as_this_machine_names_it(manager, way, monkeypatch):
    import shutil

    monkeypatch.setattr(toolchain, "library", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == manager else None)
    assert f"`{way}`" in toolchain.missing()


def test_the_compilers_version_is_that_of_its_library(tmp_path, monkeypatch):
    (tmp_path / "libbcc.so.0.99.1").touch()
    (tmp_path / "libbcc.so.0").symlink_to("libbcc.so.0.99.1")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}")
    assert toolchain.available() == "bcc-0.99.1"
