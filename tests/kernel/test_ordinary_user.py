"""Root beside an ordinary user who may write to the same bpffs: nothing of theirs is followed, waited for or believed."""
from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.errors import NotTrusted
from reconciler.kernel import maps, trusted
from reconciler.kernel.bpffs import Bpffs
from tests.lib.commands import BIN, Net, pcn
from tests.lib.nobody import Victim, done_by_nobody, nobody

DIRECTORIES = ("cubes", "links", "topologies", "shared", "public", "namespaces")
IN_TIME = 20.0  # seconds, on a busy machine; whoever waits for an ordinary user waits for ever
_CLONE_NEWNS, _MNT_DETACH = 0x20000, 2


@pytest.fixture
def root(own_root: str) -> Iterator[Path]:
    yield Path(own_root)
    if os.path.lexists(own_root) and not os.path.islink(own_root):
        shutil.rmtree(own_root)


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path / "victim")


@pytest.fixture
def commands(tmp_path: Path, root: Path) -> dict[str, list[str]]:
    """What root may do meanwhile; nothing of it is applied when it is refused. (`root` comes first: nothing is left.)"""
    file = str(Net(tmp_path).write())
    return {
        "apply": ["apply", file], "plan": ["apply", "--plan", file], "try": ["apply", "--try", "1", file],
        "confirm": ["apply", "--confirm"], "gc": ["gc"], "show": ["show"], "drift": ["drift"], "graph": ["graph"],
        "delete": ["delete", file], "stats": ["stats"],
    }  # fmt: skip


def links_to(root: Path, victim: Path) -> None:
    for name in DIRECTORIES:
        os.symlink(victim, root / name)


# -- whose the root is ---------------------------------------------------------------------------------------------------------


def a_root_of_nobodys(root: Path, victim: Path) -> Callable[[], object]:
    def act() -> None:
        root.mkdir()
        links_to(root, victim)

    return act


def a_root_of_nobodys_that_is_locked(root: Path, victim: Path) -> Callable[[], object]:
    def act() -> int:
        root.mkdir()
        os.symlink(victim, root / "cubes")
        fd = os.open(root, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    return act


def a_symlink_in_the_roots_place(root: Path, victim: Path) -> Callable[[], object]:
    return lambda: os.symlink(victim, root)


def a_symlink_to_another_directory_on_bpffs(root: Path, victim: Path) -> Callable[[], object]:
    def act() -> None:
        other = root.with_name(f"{root.name}-other")
        other.mkdir()
        os.symlink(other, root)

    return act


def what_nobody_put_into_roots_open_directory(root: Path, victim: Path) -> Callable[[], object]:
    root.mkdir()
    root.chmod(0o777)
    return lambda: links_to(root, victim)


def a_directory_that_nobody_made_in_roots_open_one(root: Path, victim: Path) -> Callable[[], object]:
    root.mkdir()
    root.chmod(0o1777)

    def act() -> None:
        (root / "cubes").mkdir(mode=0o777)
        os.symlink(victim, root / "cubes" / "c")

    return act


ATTACKS = [
    a_root_of_nobodys, a_root_of_nobodys_that_is_locked, a_symlink_in_the_roots_place, a_symlink_to_another_directory_on_bpffs,
    what_nobody_put_into_roots_open_directory, a_directory_that_nobody_made_in_roots_open_one,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_root_in_which_an_ordinary_user_had_a_hand_is_refused_by_every_command(
    attack: Callable[[Path, Path], Callable[[], object]], root: Path, victim: Victim, commands: dict[str, list[str]]
) -> None:
    with nobody(attack(root, victim.path)):
        there = sorted(os.listdir(root.parent))
        for name, command in commands.items():
            began = time.monotonic()
            refused = pcn(*command)
            expected = (1, 77) if name == "confirm" else (77,)  # it asks for a trial and looks at no root
            assert refused.returncode in expected, f"{name}: {refused.stdout}{refused.stderr}"
            assert time.monotonic() - began < IN_TIME
            if name != "confirm":
                assert any(words in refused.stderr for words in ("belongs to user 65534", "symlink", "others could write")), name
        assert victim.is_untouched()
        assert sorted(os.listdir(root.parent)) == there
    for left in (root, root.with_name(f"{root.name}-other")):
        if left.is_symlink():
            left.unlink()
        elif left.exists():
            shutil.rmtree(left)


def test_an_agent_refuses_such_a_root_and_touches_nothing(root: Path, victim: Victim, tmp_path: Path) -> None:
    with nobody(a_root_of_nobodys(root, victim.path)):
        agent = subprocess.Popen([str(BIN / "pcn"), "agent", "run", str(Net(tmp_path).write())], stderr=subprocess.PIPE, text=True)
        assert agent.stderr is not None
        try:
            said = ""
            while "belongs to user 65534" not in said:
                line = agent.stderr.readline()
                assert line, said
                said += line
        finally:
            agent.terminate()
            agent.wait(20)
            agent.stderr.close()
        assert victim.is_untouched()


# -- a root that once was open --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o750])
def test_roots_own_root_with_another_mode_is_mended(root: Path, net: Net, mode: int) -> None:
    root.mkdir()
    root.chmod(mode)
    pcn("apply", str(net.file), code=0)
    assert stat.S_IMODE(root.stat().st_mode) & 0o777 == 0o700
    assert {stat.S_IMODE(os.stat(directory).st_mode) for directory, *_ in os.walk(root / "cubes")} == {0o700}


@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_a_lock_that_somebody_took_while_they_could_is_not_waited_for(root: Path, net: Net, kind: int) -> None:
    def act() -> int:
        fd = os.open(root, os.O_RDONLY)
        fcntl.flock(fd, kind)
        return fd

    root.mkdir()
    root.chmod(0o755)
    with nobody(act):
        began = time.monotonic()
        pcn("apply", "--lock-timeout", "30", str(net.file), code=0)
        pcn("show", "--lock-timeout", "30", code=0)
        assert time.monotonic() - began < IN_TIME


def test_nor_is_one_whose_taker_is_gone_and_left_it_to_a_child(root: Path, net: Net) -> None:
    """The kernel's list then names a process that there is no more."""

    def act() -> None:
        fd = os.open(root, os.O_RDONLY)
        if os.fork() == 0:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os._exit(0)
        os.wait()
        assert fd

    root.mkdir()
    root.chmod(0o755)
    with nobody(act):
        pcn("apply", "--lock-timeout", "30", str(net.file), code=0)


def test_roots_own_lock_is_waited_for_whichever_version_took_it(root: Path, net: Net) -> None:
    root.mkdir(mode=0o700)
    fd = os.open(root, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)  # as all versions do
    assert f"process {os.getpid()}" in pcn("apply", "--lock-timeout", "0.3", str(net.file), code=75).stderr
    os.close(fd)
    with Bpffs(str(root)).locked(1):
        assert "is being changed by" in pcn("apply", "--lock-timeout", "0.3", str(net.file), code=75).stderr


def test_the_former_owner_of_a_root_can_do_nothing_with_what_they_still_have_open(
    root: Path, victim: Victim, commands: dict[str, list[str]]
) -> None:
    reading, writing = os.pipe()

    def act() -> tuple[int, int]:
        os.makedirs(root / "cubes")
        kept = os.open(root, os.O_RDONLY), os.open(root / "cubes", os.O_RDONLY)
        if os.fork() == 0:
            os.read(reading, 1)
            os.symlink(victim.path, "c", dir_fd=kept[1])
            try:
                os.symlink(victim.path, "links", dir_fd=kept[0])
                os.rename("cubes", "other", src_dir_fd=kept[0], dst_dir_fd=kept[0])
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.wait()[1] == 0
        return kept

    # The process that acts goes on only when root has taken the root over.
    with nobody(lambda: _later(act, reading, root)):
        _wait_for(root / "cubes")
        os.chown(root, 0, 0)
        root.chmod(0o700)
        os.write(writing, b"..")
        for name in ("apply", "gc", "show", "drift", "delete"):
            refused = pcn(*commands[name], code=77)
            assert "cubes belongs to user 65534" in refused.stderr
        assert victim.is_untouched()
    os.close(reading)
    os.close(writing)
    shutil.rmtree(root)


def _later(act: Callable[[], object], reading: int, root: Path) -> object:
    """`act` in a child, so that its parent is ready at once."""
    del reading, root
    if os.fork() == 0:
        act()
        os._exit(0)
    return None


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + IN_TIME
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- the way to the root --------------------------------------------------------------------------------------------------------


def test_a_root_below_a_directory_that_others_can_exchange_is_refused(
    tmp_path: Path, own_root: str, commands: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobodys = Path(f"{own_root}-nobodys")
    done_by_nobody(nobodys.mkdir)
    open_to_all = Path(f"{own_root}-open")
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    linked = Path(f"{own_root}-linked")
    done_by_nobody(lambda: os.symlink(open_to_all, linked))
    for above in (nobodys, open_to_all, linked):
        monkeypatch.setenv("PCN_BPFFS", str(above / "pcn"))
        for name in ("apply", "gc", "show", "delete"):
            assert pcn(*commands[name], code=77).stderr
        assert not os.path.lexists(above / "pcn")
    linked.unlink()
    nobodys.rmdir()
    open_to_all.rmdir()


@pytest.fixture(params=["openat2", "where a sandbox takes openat2 away"])
def way_of_opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "openat2":
        monkeypatch.setattr(trusted, "_OPENAT2", 1_000_000)  # no such system call


@pytest.mark.usefixtures("way_of_opening")
def test_a_symlink_below_the_root_is_never_followed_whoever_made_it(root: Path, victim: Victim) -> None:
    """Not even root's own, of which a slip of the hand is enough."""
    below = Bpffs(str(root))
    below.prepare()
    for name in ("cubes", "links", "namespaces"):
        os.symlink(victim.path, root / name)
    for deed in (
        lambda: below.names("cubes"), lambda: below.remove("cubes/c"), lambda: below.make_directory("cubes"),
        lambda: below.rename("cubes/c", "cubes/d"), lambda: below.remove("links/eth0/precious"), lambda: below.inodes("links/eth0"),
        lambda: below.remove_directory("cubes/c"), below.remove_if_empty,
    ):  # fmt: skip
        with pytest.raises(NotTrusted, match="symlink"):
            deed()
    below.remove("cubes")
    assert not os.path.lexists(root / "cubes")
    assert victim.is_untouched()
    shutil.rmtree(root)


@pytest.mark.usefixtures("way_of_opening")
def test_what_is_mounted_over_a_directory_below_the_root_is_not_entered(root: Path, victim: Victim) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    below = Bpffs(str(root))
    below.prepare()
    below.make_directory("cubes")
    assert libc.mount(os.fsencode(victim.path), os.fsencode(root / "cubes"), None, ctypes.c_ulong(0x1000), None) == 0
    try:
        for deed in (lambda: below.names("cubes"), lambda: below.remove("cubes"), lambda: below.remove("cubes/c")):
            with pytest.raises((NotTrusted, OSError)):
                deed()
        assert victim.is_untouched()
    finally:
        libc.umount2(os.fsencode(root / "cubes"), _MNT_DETACH)
    below.remove("cubes")
    below.remove_if_empty()


def test_a_root_that_is_renamed_away_under_its_lock_is_still_the_one_that_is_written_to(root: Path) -> None:
    """By root itself: nobody else can, since /sys/fs/bpf is sticky."""
    below = Bpffs(str(root))
    aside = root.with_name(f"{root.name}-aside")
    with below.locked(1):
        os.rename(root, aside)
        root.mkdir()
        below.make_directory("cubes")
        fd = maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1), "t")
        below.pin(fd, "cubes/t")
        os.close(fd)
        assert sorted(os.listdir(aside)) == ["cubes"]
        assert os.listdir(root) == []
        below.remove("cubes")
    aside.rmdir()
    root.rmdir()


def test_an_ordinary_user_cannot_take_roots_root_away(root: Path) -> None:
    Bpffs(str(root)).prepare()

    def act() -> None:
        for deed in (lambda: os.rename(root, f"{root}-mine"), lambda: os.rmdir(root), lambda: os.listdir(root)):
            with pytest.raises(PermissionError):
                deed()

    done_by_nobody(act)
    root.rmdir()


def test_the_bpffs_that_pcn_mounts_is_roots_alone() -> None:
    process = os.fork()
    if process == 0:
        code = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNS) == 0:  # what is mounted there is private already (tests/lib/sandbox.py)
                while libc.umount2(b"/sys/fs/bpf", _MNT_DETACH) == 0:
                    continue
                Bpffs("/sys/fs/bpf/pcn").prepare()
                code = int(os.stat("/sys/fs/bpf").st_mode & 0o777 != 0o700)
        finally:
            os._exit(code)
    assert os.waitpid(process, 0)[1] == 0
