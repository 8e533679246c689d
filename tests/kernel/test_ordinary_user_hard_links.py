"""Hard links of an ordinary user's to root's files, and beside them, with the kernel's own protection on and off.

An ordinary user can link what is root's to a name in a directory of theirs, or in one that is open to all, and it is root's there as
well. So no owner of a file says who chose its place: its directory does, and those that others can write to are refused.
"""
from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.errors import NotTrusted
from reconciler.kernel import cachedir, rundir
from reconciler.service.remote import contact, places
from reconciler.service.remote.places import Place
from tests.lib.commands import Net, pcn
from tests.lib.nobody import done_by_nobody
from tests.lib.remote_services import GATE, Pki

PROTECTION = Path("/proc/sys/fs/protected_hardlinks")
SECRET = "root:$6$salt$secret:19000:0:99999:7:::\n"


@pytest.fixture(params=["0", "1"], ids=["unprotected", "protected"])
def protection(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = PROTECTION.read_text()
    PROTECTION.write_text(request.param)
    yield request.param == "1"
    PROTECTION.write_text(before)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that only root can read, in a directory that all can reach."""
    for directory in (tmp_path, *tmp_path.parents):
        if str(directory).startswith("/tmp/") and not directory.stat().st_mode & stat.S_IXOTH:
            directory.chmod(directory.stat().st_mode | 0o755)
    found = tmp_path / "secret"
    found.write_text(SECRET)
    found.chmod(0o600)
    return found


def linked(secret: Path, name: Path, *, protected: bool) -> bool:
    """Whether the kernel lets the ordinary user do it."""
    with contextlib.suppress(AssertionError):
        done_by_nobody(lambda: os.link(secret, name))
    assert name.exists() is not protected
    if protected:
        return False
    assert name.stat().st_ino == secret.stat().st_ino
    return True


def open_to_all(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o1777)
    return path


def test_a_link_to_roots_file_is_not_taken_for_a_service_of_roots(secret: Path, tmp_path: Path, protection: bool) -> None:
    home = open_to_all(tmp_path / "services")
    for name in ("gate.schema.json", "gate.c", "gate.py"):
        source = tmp_path / f"roots-{name}"
        source.write_bytes((GATE / name).read_bytes())
        source.chmod(0o644)
        linked(source, home / name, protected=protection)
    file = Net(tmp_path).write()
    refused = pcn("validate", str(file), "--services", str(home), code=77)
    assert "can be written by others" in refused.stderr


def test_a_link_is_not_taken_for_a_file_that_says_where_a_service_is(
    secret: Path, tmp_path: Path, protection: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, roots = open_to_all(tmp_path / "etc"), tmp_path / "other.yaml"
    roots.write_text(yaml.safe_dump({"directory": str(GATE)}))
    linked(roots, home / "gate.yaml", protected=protection)
    monkeypatch.setenv("PCN_SERVICES", str(home))
    if (home / "gate.yaml").exists():
        with pytest.raises(NotTrusted, match="can be written by others"):
            places.find("gate")
    else:
        assert places.find("gate") is None


def test_nothing_can_be_linked_into_the_cache_or_the_run_directory(secret: Path, protection: bool) -> None:
    with rundir.opened():
        pass
    for directory in (Path(rundir.directory()), Path(cachedir.directory())):
        with pytest.raises(AssertionError, match="PermissionError"):
            done_by_nobody(lambda directory=directory: os.link(secret, directory / "planted"))
        assert not (directory / "planted").exists()


def test_a_link_out_of_what_root_has_written_gives_nobody_a_way_to_change_it(tmp_path: Path, secret: Path, protection: bool) -> None:
    theirs = open_to_all(tmp_path / "theirs")
    if linked(secret, theirs / "copy", protected=protection):
        with pytest.raises(AssertionError, match="PermissionError"):
            done_by_nobody(lambda: (theirs / "copy").write_text("mine"))
        with pytest.raises(AssertionError, match="PermissionError"):
            done_by_nobody((theirs / "copy").read_text)
    assert secret.read_text() == SECRET


def test_a_topology_that_is_a_link_to_roots_secret_is_quoted_to_root_alone(secret: Path, tmp_path: Path, protection: bool) -> None:
    """Who is asked to read a file reads it. An error quotes the line, to whoever runs the command."""
    theirs = open_to_all(tmp_path / "topologies")
    if linked(secret, theirs / "t.yaml", protected=protection):
        said = pcn("validate", str(theirs / "t.yaml"), code=65)
        assert "t.yaml:1:" in said.stderr
    assert secret.read_text() == SECRET
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_certificates_and_signers_are_not_taken_from_where_others_can_put_a_link(secret: Path, tmp_path: Path, protection: bool) -> None:
    home, pki = open_to_all(tmp_path / "open"), Pki(tmp_path / "pki")
    cert, key = pki.issue("pcn")
    pki.directory.chmod(0o755)
    for name, source in (("ca.pem", pki.ca), ("cert.pem", Path(cert)), ("key.pem", Path(key))):
        if not linked(source, home / name, protected=protection):
            os.link(source, home / name)  # root's own does not make the directory a better one
        paths = {"ca": str(pki.ca), "cert": cert, "key": key, name.removesuffix(".pem"): str(home / name)}
        place = Place("gate", "https://127.0.0.1:1", host="127.0.0.1", port=1, tls=paths, digest=f"sha256:{'0' * 64}")
        with pytest.raises(NotTrusted, match="can be written by others"):
            contact.connector(place)(0.1)
    said = pcn("fleet", "status", "--git", "/nowhere", "--verify", str(home / "ca.pem"), code=77).stderr
    assert "can be written by others" in said
    said = pcn("fleet", "status", "--etcd", "https://127.0.0.1:1", "--etcd-ca", str(home / "ca.pem"), code=77).stderr
    assert "can be written by others" in said
