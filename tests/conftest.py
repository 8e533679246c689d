"""What holds for every test: a network and a bpffs that no other run sees, a shared cache of compiled programs, and nothing
left behind.

Tests below a directory called kernel, faults or upgrade need root and a real kernel, as do those marked `kernel` elsewhere. As an
ordinary user they are skipped, and the last lines say how many. As root nothing is skipped for want of anything: a
kernel that cannot do what pcn needs is a failure.
"""
from __future__ import annotations

import fcntl
import itertools
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib import fusion, residue
from tests.lib.object_ledger import ObjectLedger

TESTS = Path(__file__).parent
BPFFS = Path("/sys/fs/bpf")
NEEDS_ROOT = "needs root and a real kernel"
EXHAUSTIVE = "takes long, and part of it was run: scripts/test -m exhaustive"
KERNEL_DIRECTORIES = {"kernel", "faults", "upgrade"}

_serial = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hops", action="store_true", help="cubes that follow one another go by hops, and not as one program")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("fused_and_unfused"):
        metafunc.parametrize("fused", [True, False], ids=["fused", "hops"], indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    fusion.fused = not config.getoption("--hops")
    if os.geteuid() == 0:
        from tests.lib.sandbox import enter_sandbox

        enter_sandbox()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_when)
    asked = config.getoption("markexpr")
    for item in items:
        if item.get_closest_marker("exhaustive") and "exhaustive" not in asked:
            item.add_marker(pytest.mark.skip(reason=EXHAUSTIVE))
        if KERNEL_DIRECTORIES & set(item.path.relative_to(TESTS).parts):
            item.add_marker(pytest.mark.kernel)
        if item.get_closest_marker("kernel") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))


def _when(item: pytest.Item) -> int:
    """Those that others have to wait for come first, and then those that take long, so that a run does not end with one."""
    return next((number for number, name in enumerate(("serial", "slow")) if item.get_closest_marker(name)), 2)


def pytest_report_header() -> str:
    return f"kernel {platform.release()}, {'root' if os.geteuid() == 0 else 'not root: kernel tests are skipped'}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests were skipped, a line for each reason; pytest's own list has one for each place."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} not run: {reason.removeprefix('Skipped: ')}", yellow=True)
    if os.geteuid() != 0:
        terminalreporter.write_line("for all tests: sudo scripts/test")


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of this run see, and no other run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def compiled_programs(shared_by_workers: Path) -> Path:
    """One cache for the whole run, so that each program is compiled once, and none comes from an earlier run; but in a virtual
    machine, which is slow at compiling, what was compiled outside ($PCN_TEST_CACHE)."""
    cache = Path(os.environ.get("PCN_TEST_CACHE") or shared_by_workers / "cache")
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def locks(shared_by_workers: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of two files to lock, the door and the room."""
    door, room = (os.open(shared_by_workers / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for name in ("door", "room"))
    yield door, room
    os.close(door)
    os.close(room)


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest, locks: tuple[int, int]) -> Iterator[None]:
    """Tests share the machine, but those marked `serial` have it for themselves; who waits at the door lets nobody pass."""
    door, room = locks
    fcntl.flock(door, fcntl.LOCK_EX)
    fcntl.flock(room, fcntl.LOCK_EX if request.node.get_closest_marker("serial") else fcntl.LOCK_SH)
    fcntl.flock(door, fcntl.LOCK_UN)
    yield
    fcntl.flock(room, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def ledger() -> Iterator[ObjectLedger]:
    """BPF objects that tests left, or others made meanwhile; what is left in the end is an error of the last test."""
    noted = ObjectLedger()
    yield noted
    noted.settle()


@pytest.fixture(autouse=True)
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """See tests/lib/fusion.py."""
    monkeypatch.setattr(fusion, "fused", getattr(request, "param", True) and fusion.fused)


@pytest.fixture(autouse=True)
def own_root(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, compiled_programs: Path, ledger: ObjectLedger, turn: None
) -> Iterator[str]:
    """A root in bpffs for this test alone; afterwards the kernel must hold what it held before.

    The name tells which process made it (see tests/lib/residue.py). Tests without a kernel get a name too, so that a
    mistake in one cannot touch what the machine's pcn has built.
    """
    root = f"{BPFFS}/pcn-test-{residue.prefix(next(_serial))}"
    monkeypatch.setenv("PCN_BPFFS", root)
    monkeypatch.setenv("PCN_CACHE", str(compiled_programs))
    if not request.node.get_closest_marker("kernel"):
        yield root
        return
    before = residue.snapshot()
    yield root
    try:
        residue.assert_no_residue(before, kinds=residue.OWN)
        ledger.note(before, request.node.nodeid)
        ledger.check()
    finally:
        shutil.rmtree(root, ignore_errors=True)  # the next test shall not suffer for it
