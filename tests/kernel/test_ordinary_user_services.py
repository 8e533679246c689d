"""`--services DIR` as root: what another user could have written is not run."""
from __future__ import annotations

import os
import py_compile
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lib.commands import pcn
from tests.lib.nobody import UID

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "services" / "doorman"
RAN = "doorman-ran"


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """A service whose Python half leaves a trace when it is run."""
    home = tmp_path / "services"
    shutil.copytree(EXAMPLE, home, ignore=shutil.ignore_patterns("__pycache__"))
    half = home / "doorman.py"
    half.write_text(half.read_text() + f"\nimport pathlib\npathlib.Path({str(tmp_path / RAN)!r}).touch()\n")
    return home


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text("apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n"
                    "  cubes:\n    - {name: d, service-name: doorman}\n")  # fmt: skip
    return path


def _cached(home: Path) -> Path:
    """A compiled half beside the half, which Python would take for it."""
    (home / "__pycache__").mkdir()
    return Path(py_compile.compile(str(home / "doorman.py")) or "")


ATTACKS: dict[str, Callable[[Path], None]] = {
    "the directory is another's": lambda home: os.chown(home, UID, UID),
    "the directory is open to all": lambda home: home.chmod(0o777),
    "the directory is open to all, and sticky": lambda home: home.chmod(0o1777),
    "the directory is open to a group": lambda home: home.chmod(0o775),
    "the half is another's": lambda home: os.chown(home / "doorman.py", UID, UID),
    "the half is open to all": lambda home: (home / "doorman.py").chmod(0o666),
    "the C is another's": lambda home: os.chown(home / "doorman.c", UID, UID),
    "the schema is open to all": lambda home: (home / "doorman.schema.json").chmod(0o646),
    "the half is a symlink of another's": lambda home: _relinked(home / "doorman.py"),
    "the compiled half is another's": lambda home: os.chown(_cached(home), UID, UID),
    "where compiled halves are is another's": lambda home: os.chown(_cached(home).parent, UID, UID),
    "a directory above is another's": lambda home: os.chown(home.parent, UID, UID),
}


def _relinked(half: Path) -> None:
    half.rename(half.with_suffix(".txt"))
    half.symlink_to(half.with_suffix(".txt"))
    os.chown(half, UID, UID, follow_symlinks=False)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_another_user_could_have_written_is_refused_before_it_is_run(
    attack: str, services: Path, document: Path, tmp_path: Path
) -> None:
    ATTACKS[attack](services)
    for command in (["validate", str(document)], ["apply", "--plan", str(document)], ["show"], ["agent", "run", str(document)]):
        refused = pcn(*command, "--services", str(services), code=77)
        assert any(words in refused.stderr for words in (f"belongs to user {UID}", "can be written by others"))
    assert not (tmp_path / RAN).exists()
    os.chown(services.parent, 0, 0)


@pytest.mark.parametrize("name", ["doorman.py", "doorman.c", "doorman.schema.json"])
def test_a_fifo_is_not_waited_for(services: Path, document: Path, name: str) -> None:
    (services / name).unlink()
    os.mkfifo(services / name)
    assert "is no regular file" in pcn("validate", str(document), "--services", str(services), code=77).stderr


def test_what_is_roots_is_run(services: Path, document: Path, tmp_path: Path) -> None:
    pcn("validate", str(document), "--services", str(services), code=0)
    linked = tmp_path / "linked"
    linked.symlink_to(services)
    pcn("validate", str(document), "--services", str(linked), code=0)
    assert (tmp_path / RAN).exists()
