"""What of a repository is read: the documents of one directory as they were committed, and nothing that is too much."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.sources import git as module
from reconciler.sources.git import GitPlace, GitSource
from reconciler.sources.source import SourceError
from reconciler.sources.spool import Spool
from tests.unit.test_feed import git


@pytest.fixture
def work(tmp_path: Path) -> Path:
    found = tmp_path / "work"
    (found / "sites" / "below").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", cwd=found)
    return found


def source_of(work: Path, tmp_path: Path, path: str = "sites") -> GitSource:
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "--allow-empty", "-m", "change", cwd=work)
    return GitSource(GitPlace.of(f"file://{work}#main:{path}"), tmp_path / "cache")


def test_documents_are_read_as_they_were_committed_and_nothing_else_is(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    sites = work / "sites"
    (sites / ".gitattributes").write_text("a.yaml export-subst\nb.yml export-ignore\n")
    for name, text in {"a.yaml": "$Format:%H$\n", "b.yml": "b\n", "c.json": "{}", "empty.yaml": "", "über uns.yaml": "u", "README.md": "x" * 5000, ".d.yaml": "d"}.items():
        (sites / name).write_text(text)
    (sites / "below" / "huge.yaml").write_text("x" * 5000)
    (work / "above.yaml").write_text("above")
    os.symlink("/etc/passwd", sites / "link.yaml")
    found = source_of(work, tmp_path).fetch()
    assert found is not None
    assert found.files == {"a.yaml": b"$Format:%H$\n", "b.yml": b"b\n", "c.json": b"{}", "empty.yaml": b"", "über uns.yaml": b"u"}


@pytest.mark.parametrize("limit", ["MAX_BYTES", "_MOST_FILES", "_MOST_BYTES"])
def test_what_is_too_much_is_refused_before_it_is_read(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(module, limit, {"MAX_BYTES": 9, "_MOST_FILES": 1, "_MOST_BYTES": 15}[limit])
    for name in ("a.yaml", "b.yaml"):
        (work / "sites" / name).write_text("0123456789" if limit != "_MOST_FILES" else "")
    source = source_of(work, tmp_path)
    with pytest.raises(SourceError, match=r"[ab]\.yaml has more than"):
        source.fetch()


def test_a_directory_that_is_empty_has_no_documents_and_one_that_is_not_there_is_an_error(work: Path, tmp_path: Path) -> None:
    (work / "sites" / "note").write_text("")
    found = source_of(work, tmp_path).fetch()
    assert found is not None
    assert found.files == {}
    with pytest.raises(SourceError, match="work: "):
        source_of(work, tmp_path, "elsewhere").fetch()


def test_a_name_that_leads_elsewhere_is_no_document(work: Path, tmp_path: Path) -> None:
    """`git add` makes no such tree, but whoever writes one can, and a server takes and gives it."""

    def store(kind: str, content: bytes) -> str:
        words = ("hash-object", "-t", kind, "--literally", "-w", "--stdin")
        return subprocess.run(["git", *words], cwd=work, input=content, check=True, capture_output=True).stdout.decode().strip()

    blob = store("blob", b"evil")
    names = sorted([f"{tmp_path}/absolute.yaml", "a.yaml", "b/../../../up.yaml", "b/c.yaml"])
    sites = store("tree", b"".join(b"100644 %b\0%b" % (name.encode(), bytes.fromhex(blob)) for name in names))
    tree = store("tree", b"40000 sites\0" + bytes.fromhex(sites))
    source = source_of(work, tmp_path)
    commit = subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit-tree", tree], cwd=work, input=b"odd", check=True, capture_output=True)
    git("update-ref", "refs/heads/main", commit.stdout.decode().strip(), cwd=work)
    found = source.fetch()
    assert found is not None
    assert found.files == {"a.yaml": b"evil"}


@pytest.mark.parametrize("name", ["/absolute.yaml", "b/../../up.yaml", "..", ".link", ""])
def test_a_directory_of_a_feed_takes_plain_names_alone(tmp_path: Path, name: str) -> None:
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").mkdir()
    spool.publish({"a.yaml": b"before"})
    with pytest.raises(SourceError, match="is no plain name"):
        spool.publish({"a.yaml": b"after", name: b""})
    assert spool.files() == {"a.yaml": b"before"}
