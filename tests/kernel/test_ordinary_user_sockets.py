"""Sockets and seats in /run beside an ordinary user: nothing of theirs decides anything, and nothing waits for it."""
from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.agent import singleton
from reconciler.engine.confirm import old_address
from reconciler.kernel import rundir
from tests.kernel.test_cli_confirm import on_trial
from tests.lib.commands import BIN, Net, live, pcn, wait_until
from tests.lib.nobody import UID, Victim, done_by_nobody, nobody

RUN = Path("/run/pcn")
IN_TIME = 20.0


# -- a trial that is none --------------------------------------------------------------------------------------------------------


def _squat(root: str, answer: bytes | None, backlog: int = 8) -> Callable[[], object]:
    """Have the socket by which older versions find a trial; say this to whoever asks, or never even accept."""

    def act() -> object:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(old_address(root))
        listener.listen(backlog)
        if answer is None:
            full = []
            while backlog == 0 and len(full) < 3:  # so that whoever connects would wait
                full.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                full[-1].connect_ex(old_address(root))
            return listener, full

        def serve() -> None:
            while True:
                talk, _ = listener.accept()
                if answer:
                    talk.sendall(answer)
                threading.Timer(60, talk.close).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return listener, thread

    return act


SQUATTERS = {
    "who says that a trial is under way": (b"trying 99 1\n", 8), "who says that it is kept": (b"kept\n", 8),
    "who says that it is rolled back": (b"rolled back\n", 8), "who accepts and says nothing": (b"", 8),
    "who never accepts": (None, 8), "whose queue is full": (None, 0),
}  # fmt: skip


@pytest.mark.parametrize("squatter", SQUATTERS)
def test_whoever_has_the_name_of_a_trial_is_neither_believed_nor_waited_for(net: Net, own_root: str, squatter: str) -> None:
    answer, backlog = SQUATTERS[squatter]
    with nobody(_squat(own_root, answer, backlog)):
        began = time.monotonic()
        pcn("apply", str(net.file), code=0)
        assert "no apply on trial" in pcn("apply", "--confirm", code=1).stderr
        before = live(net)
        net.write("DROP")
        assert "not confirmed" in pcn("apply", "--try", "0.5", str(net.file), code=1).stderr
        assert live(net) == before
        pcn("gc", code=0)
        pcn("delete", net.name, code=0)
        assert time.monotonic() - began < 3 * IN_TIME


def test_an_agent_heals_beside_somebody_who_has_the_name_of_a_trial(net: Net, own_root: str) -> None:
    with nobody(_squat(own_root, None, 0)):
        agent = subprocess.Popen([str(BIN / "pcn"), "agent", "run", str(net.file)], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: (singleton.ask(own_root) or {}).get("healthy", False))
            net.write("DROP")
            wait_until(lambda: (singleton.ask(own_root) or {"reconciles": {"applied": 0}})["reconciles"]["applied"] == 2)
        finally:
            agent.terminate()
            agent.wait(20)


def test_a_trial_can_be_confirmed_and_rolled_back_while_somebody_pushes_at_its_old_socket(net: Net, own_root: str) -> None:
    def pushy() -> object:
        kept = []
        for word in (b"keep\n", b"back\n", b""):
            each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            each.settimeout(5)
            each.connect(old_address(own_root))
            with contextlib.suppress(BrokenPipeError):  # it is told to leave at once
                each.sendall(word)
            kept.append(each)
        return kept

    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    with on_trial(net, 4) as process, nobody(pushy):
        assert process.poll() is None
        began = time.monotonic()
        assert process.wait(timeout=IN_TIME) == 1
        assert time.monotonic() - began < IN_TIME
    assert live(net) == before


# -- a trial that is one -----------------------------------------------------------------------------------------------------------


def test_a_trial_counts_in_every_network_namespace(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    elsewhere = ["unshare", "--net", str(BIN / "pcn")]
    with on_trial(net, 60) as process:
        for command in (["gc"], ["delete", net.name], ["apply", str(net.file)]):
            refused = subprocess.run([*elsewhere, *command], capture_output=True, text=True, check=False, timeout=60)
            assert (refused.returncode, "on trial" in refused.stderr) == (75, True), refused
        assert "Kept" in subprocess.run([*elsewhere, "apply", "--confirm"], capture_output=True, text=True, check=True).stderr
        assert process.wait(timeout=IN_TIME) == 0


def test_a_trial_of_an_older_version_is_respected_and_can_be_confirmed(net: Net, own_root: str) -> None:
    """It has nothing in /run/pcn; here this process plays its watchdog."""
    pcn("apply", str(net.file), code=0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as watchdog:
        watchdog.bind(old_address(own_root))
        watchdog.listen(4)
        for command in (["apply", str(net.file)], ["delete", net.name], ["gc"]):
            assert f"on trial (process {os.getpid()})" in pcn(*command, code=75).stderr
        heard: list[bytes] = []

        def answer() -> None:
            while b"keep\n" not in heard:  # those that only looked have left already
                talk, _ = watchdog.accept()
                with talk:
                    heard.append(talk.recv(64))
                    if heard[-1]:
                        talk.sendall(b"kept\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "Kept" in pcn("apply", "--confirm", code=0).stderr
        thread.join(IN_TIME)
        assert heard[-1] == b"keep\n"
    pcn("apply", str(net.file), code=0)


def test_an_older_version_sees_a_trial_of_this_one(net: Net, own_root: str) -> None:
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    with on_trial(net, 60) as process:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
            old.settimeout(IN_TIME)
            old.connect(old_address(own_root))
            old.sendall(b"status\n")
            assert old.recv(64).startswith(b"trying ")
        pcn("apply", "--confirm", code=0)
        assert process.wait(timeout=IN_TIME) == 0


def test_a_trial_whose_watchdog_hangs_holds_nobody_up(net: Net, own_root: str) -> None:
    """It still counts, but who only wants to know reads a file."""
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    with on_trial(net, 60) as process:
        said = next(each for each in RUN.iterdir() if each.name.startswith("trial-") and each.suffix != ".sock").read_text()
        watchdog = int(said.split()[1])
        os.kill(watchdog, 19)  # SIGSTOP
        began = time.monotonic()
        assert f"(process {watchdog})" in pcn("apply", str(net.file), code=75).stderr
        assert time.monotonic() - began < IN_TIME
        os.kill(watchdog, 18)
        pcn("apply", "--confirm", code=0)
        assert process.wait(timeout=IN_TIME) == 0
    assert [each.name for each in RUN.iterdir() if each.name.startswith("trial-")] == []


# -- /run/pcn --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_run() -> Iterator[None]:
    """A /run in which everybody may make things, and no /run/pcn in it."""
    shutil.rmtree(RUN, ignore_errors=True)
    before = stat.S_IMODE(os.stat("/run").st_mode)
    os.chmod("/run", 0o1777)
    yield
    os.chmod("/run", before)
    if RUN.is_symlink():
        RUN.unlink()
    shutil.rmtree(RUN, ignore_errors=True)


def _directory_of_nobodys(victim: Path) -> None:
    del victim
    RUN.mkdir(mode=0o777)


def _symlink(victim: Path) -> None:
    os.symlink(victim, RUN)


def _file(victim: Path) -> None:
    del victim
    RUN.touch()


def _fifo(victim: Path) -> None:
    del victim
    os.mkfifo(RUN)


@pytest.mark.parametrize("attack", [_directory_of_nobodys, _symlink, _file, _fifo])
def test_a_run_directory_of_somebody_elses_is_refused(
    net: Net, open_run: None, tmp_path: Path, attack: Callable[[Path], None]
) -> None:
    victim = Victim(tmp_path / "victim")
    with nobody(lambda: attack(victim.path)):
        began = time.monotonic()
        for command in (["apply", str(net.file)], ["apply", "--try", "1", str(net.file)], ["agent", "run", str(net.file)], ["gc"]):
            refused = pcn(*command, code=77)
            assert "/run/pcn" in refused.stderr
        assert pcn("apply", "--confirm").returncode != 0
        assert pcn("agent", "status").returncode != 0
        assert time.monotonic() - began < 3 * IN_TIME
    assert victim.is_untouched()
    if RUN.is_dir() and not RUN.is_symlink():
        RUN.rmdir()
    else:
        RUN.unlink()


@pytest.mark.parametrize("make", [
    Path.touch, os.mkfifo, lambda path: path.symlink_to("/etc/passwd"),
    lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), Path.mkdir,
], ids=["file", "fifo", "symlink", "socket", "directory"])  # fmt: skip
def test_what_somebody_put_into_the_run_directory_while_they_could_is_refused(net: Net, open_run: None, make: Callable[[Path], object]) -> None:
    RUN.mkdir()
    RUN.chmod(0o777)
    with nobody(lambda: make(RUN / "root-x")):
        refused = pcn("apply", str(net.file), code=77)
        assert f"/run/pcn/root-x belongs to user {UID}" in refused.stderr
    shutil.rmtree(RUN)


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_the_run_directory_is_made_roots_alone(net: Net, open_run: None, mode: int) -> None:
    RUN.mkdir()
    RUN.chmod(mode)
    pcn("apply", str(net.file), code=0)
    assert stat.S_IMODE(RUN.stat().st_mode) == 0o700


def test_a_seat_is_not_taken_through_whatever_else_stands_in_its_place() -> None:
    """A FIFO or a device of root's own would be opened for ever, or do what it does when it is opened."""
    with rundir.opened():
        pass
    for make in (os.mkfifo, lambda path: os.symlink("/dev/null", path), lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))):
        make(RUN / "seat")
        with pytest.raises(Exception, match="no regular file"):
            rundir.take("seat", "x")
        with pytest.raises(Exception, match="no regular file"):
            rundir.holder("seat")
        (RUN / "seat").unlink()


def test_a_seat_says_who_has_it_and_is_free_when_its_holder_dies() -> None:
    code = "import sys; from reconciler.kernel import rundir; rundir.take('seat', 'me'); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert rundir.holder("seat") == "me"
        with pytest.raises(rundir.Taken, match="me"):
            rundir.take("seat")
        process.kill()
    assert rundir.holder("seat") is None
    rundir.take("seat").release()
    assert not (RUN / "seat").exists()


# -- the agent's sockets ---------------------------------------------------------------------------------------------------------


def _agent(net: Net, where: str) -> subprocess.CompletedProcess[str]:
    return pcn("agent", "run", "--metrics", f"unix:{where}", str(net.file))


@pytest.mark.parametrize("make", [
    lambda path: path.write_text("precious"), lambda path: path.symlink_to(path.with_name("elsewhere")), os.mkfifo,
    Path.mkdir,
], ids=["file", "symlink", "fifo", "directory"])  # fmt: skip
def test_metrics_take_the_place_of_nothing_but_a_socket(net: Net, tmp_path: Path, make: Callable[[Path], object]) -> None:
    place_ = tmp_path / "metrics.sock"
    make(place_)
    (tmp_path / "elsewhere").write_text("precious")
    before = place_.lstat()
    refused = _agent(net, str(place_))
    assert refused.returncode == 64, refused.stderr
    assert "is no socket" in refused.stderr
    assert (place_.lstat().st_ino, place_.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_metrics_are_not_served_where_others_could_exchange_the_socket(net: Net, tmp_path: Path) -> None:
    nobodys = Path("/tmp") / f"{net.prefix}-nobodys"
    done_by_nobody(nobodys.mkdir)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    for directory in (nobodys, tmp_path / "open"):
        refused = _agent(net, str(directory / "m.sock"))
        assert refused.returncode == 77, refused.stderr
        assert os.listdir(directory) == []
    nobodys.rmdir()


def test_a_dead_agents_metrics_socket_makes_way_and_a_live_ones_does_not(net: Net, tmp_path: Path, own_root: str) -> None:
    place_ = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place_))
        sock.listen()
        refused = _agent(net, str(place_))
        assert (refused.returncode, "somebody listens" in refused.stderr) == (64, True)
    agent = subprocess.Popen([str(BIN / "pcn"), "agent", "run", "--metrics", f"unix:{place_}", str(net.file)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (singleton.ask(own_root) or {}).get("healthy", False))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place_))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")
        assert stat.S_IMODE(place_.stat().st_mode) == 0o600
    finally:
        agent.terminate()
        agent.wait(20)


def test_a_lock_file_of_an_agent_that_somebody_holds_open_is_nothing_to_wait_for(net: Net, open_run: None, own_root: str) -> None:
    """Of a time when the directory was open to read: the file itself never was."""
    RUN.mkdir(mode=0o755)
    name = RUN / (Path(singleton.socket_path(own_root)).stem + ".lock")
    name.touch(mode=0o600)

    def act() -> None:
        with pytest.raises(PermissionError):
            fcntl.flock(os.open(name, os.O_RDONLY), fcntl.LOCK_EX)

    done_by_nobody(act)
    pcn("apply", str(net.file), code=0)
