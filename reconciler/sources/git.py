"""A directory of a Git repository: `URL[#branch][:path]`. Nothing from the repository is executed.

`ls-remote` detects a new commit; it is fetched into a bare repository of our own, with our configuration
and hooks, and its files are read from there: there is no work tree. A status is a blob of JSON, refs/pcn/status/<host>.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.document.load import MAX_BYTES, SUFFIXES
from reconciler.errors import UsageError
from reconciler.sources import fleet
from reconciler.sources.source import Revision, SourceError, is_plain

_URL = re.compile(r"(?:https?|ssh|git|file)://[^\s]+|/[^\s:]*|[A-Za-z0-9][\w.-]*@[A-Za-z0-9][\w.-]*:[^\s-][^\s]*")
_BRANCH = re.compile(r"[A-Za-z0-9_][\w./-]*")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_SECONDS = 30.0  # for one git command
_STATUS = "refs/pcn/status/"
_MOST_FILES, _MOST_BYTES = 10_000, 256 << 20
_SAFE = (  # by default a repository or a server could have these executed
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0",
    "-c", "gpg.program=false", "-c", "gpg.x509.program=false", "-c", "fetch.recurseSubmodules=false",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GitPlace:
    url: str
    branch: str = ""
    path: str = ""

    @classmethod
    def of(cls, text: str) -> GitPlace:
        """Raises UsageError for text that could be parsed as an option, or a path outside of the repository."""
        url, _, rest = text.partition("#")
        branch, _, path = rest.partition(":")
        path = path.strip("/")
        if not _URL.fullmatch(url):
            raise UsageError(f"{url!r} is no URL of a Git repository: https://…, ssh://…, user@host:path, git://… or /path")
        if branch and (not _BRANCH.fullmatch(branch) or ".." in branch or branch.endswith((".lock", "/", "."))):
            raise UsageError(f"{branch!r} is no name of a branch")
        if any(part in ("", ".", "..", ".git") for part in path.split("/") if path) or not path.isprintable():
            raise UsageError(f"{path!r} is no path in a repository")
        return cls(url, branch, path)

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}" if self.branch else "HEAD"


class GitSource:
    """`every` in seconds. `signers`: a file of allowed signers (ssh-keygen(1)), one of whom must have signed a commit."""

    name, forgets = "git", False

    def __init__(self, place: GitPlace, cache: Path, every: float = 30.0, signers: str = "") -> None:
        self._place, self._every, self._signers = place, every, signers
        self.words = f"git {place.url}" + (f"#{place.branch}" if place.branch else "") + (f":{place.path}" if place.path else "")
        self._home = cache / "git" / f"{hashlib.sha256(place.url.encode()).hexdigest()[:16]}.git"
        self._last = ""
        self._due = 0.0  # monotonic time of the next ls-remote
        if not (self._home / "HEAD").exists():
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._run("init", "--quiet", "--bare", "--template=", str(self._home), bare=False)

    # -- documents --------------------------------------------------------------------------------------------------

    def kept(self) -> Revision | None:
        try:
            commit = self._run("rev-parse", "--verify", "--quiet", self._own_ref).decode().strip()
            return self._read(commit)
        except SourceError:
            return None

    def fetch(self) -> Revision | None:
        self._due = time.monotonic() + self._every
        listed = self._run("ls-remote", "--", self._place.url, self._place.ref).decode().split()
        if not listed or not _COMMIT.fullmatch(listed[0]):
            raise SourceError(f"{self._place.url} has no {self._place.branch or 'HEAD'}")
        if listed[0] == self._last:
            return None
        self._get(self._place.ref)
        commit = self._run("rev-parse", "--verify", "FETCH_HEAD^{commit}").decode().strip()
        if self._signers:
            self._verify(commit)
        return self._read(commit)

    def keep(self, revision: Revision) -> None:
        self._run("update-ref", self._own_ref, revision.id)
        self._last = revision.id

    def _get(self, ref: str) -> None:
        self._run("fetch", "--quiet", "--depth=1", "--no-tags", "--force", "--no-write-commit-graph", "--", self._place.url, ref)

    @property
    def _own_ref(self) -> str:
        """The ref of the commit that was last kept, for this branch and path."""
        return f"refs/pcn/read/{hashlib.sha256(self.words.encode()).hexdigest()[:16]}"

    def _verify(self, commit: str) -> None:
        try:
            self._run("-c", f"gpg.ssh.allowedSignersFile={self._signers}", "verify-commit", commit)
        except SourceError as error:
            raise SourceError(f"commit {commit[:12]} is not signed by anybody in {self._signers} ({error})") from None

    def _read(self, commit: str) -> Revision:
        trailer = self._run("show", "-s", "--format=%(trailers:key=pcn-prune,valueonly)", commit).decode().split()
        wanted = _documents(self._run("ls-tree", "-l", "-z", f"{commit}:{self._place.path}"))
        return Revision(commit, dict(zip(wanted, _objects(self._run, wanted.values()), strict=True)), "all" in trailer)

    def at(self, revision: str) -> Revision:
        if not _COMMIT.fullmatch(revision):
            raise SourceError(f"{revision!r} is no commit")
        try:
            return self._read(revision)
        except SourceError:
            self._get(revision)
            return self._read(revision)

    def wait(self, poked: threading.Event, seconds: float) -> bool:
        poked.wait(max(0.0, min(seconds, self._due - time.monotonic())))
        return time.monotonic() >= self._due

    # -- statuses ---------------------------------------------------------------------------------------------------

    def report(self, host: str, status: Mapping[str, Any]) -> None:
        blob = self._run("hash-object", "-w", "--stdin", given=json.dumps(status).encode()).decode().strip()
        self._run("push", "--quiet", "--force", "--no-verify", "--", self._place.url, f"{blob}:{_STATUS}{_ref_name(host)}")

    def statuses(self) -> list[Mapping[str, Any]]:
        self._run("fetch", "--quiet", "--no-tags", "--force", "--prune", "--", self._place.url, f"+{_STATUS}*:{_STATUS}*")
        return blobs(self._run)

    def close(self) -> None:
        pass

    # -- git --------------------------------------------------------------------------------------------------------

    def _run(self, *words: str, given: bytes = b"", bare: bool = True) -> bytes:
        """Git's standard output. Raises SourceError, with the last lines of its standard error."""
        command = ["git", *_SAFE, *(["--git-dir", str(self._home)] if bare else []), *words]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _OWN
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, timeout=_SECONDS, env=environment, cwd="/", check=False
            )
        except subprocess.TimeoutExpired:
            raise SourceError(f"{self._place.url} did not answer within {_SECONDS:g} s") from None
        except OSError as error:
            raise SourceError(f"git cannot be run: {error.strerror}") from None
        if done.returncode:
            said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
            raise SourceError(f"{self._place.url}: {' '.join(said[-2:]) or f'git {words[0]} ended with {done.returncode}'}")
        return done.stdout


_ENVIRONMENT = ("PATH", "HOME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "GIT_SSH_COMMAND", "LANG")
_OWN = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file", "GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C"}


def blobs(git: Callable[..., bytes]) -> list[Mapping[str, Any]]:
    """The statuses in a repository, by two processes regardless of their number."""
    names = git("for-each-ref", "--format=%(objectname) %(objecttype)", _STATUS).decode().splitlines()
    return fleet.read(_objects(git, [name.split()[0] for name in names if name.endswith(" blob")]))


def _objects(git: Callable[..., bytes], wanted: Collection[str]) -> list[bytes]:
    """Contents of blobs, in the order of `wanted`."""
    stream = io.BytesIO(git("cat-file", "--batch", given="".join(f"{name}\n" for name in wanted).encode()) if wanted else b"")
    found = []
    for _ in wanted:
        size = int(stream.readline().split()[2])
        found.append(stream.read(size))
        stream.readline()
    return found


def _ref_name(host: str) -> str:
    return re.sub(r"[^\w-]|^-", "_", host)


def _documents(listed: bytes) -> dict[str, str]:
    """The object IDs of the documents directly in the directory, by name: nothing else is read, whatever its size. Raises
    SourceError."""
    found: dict[str, str] = {}
    whole = 0
    for entry in listed.split(b"\0"):
        about, _, name = os.fsdecode(entry).partition("\t")
        if not name.endswith(SUFFIXES) or not is_plain(name) or not name.isprintable() or not about.startswith("100"):
            continue  # directories, symlinks, submodules, and names that no work tree can have
        _, _, number, size = about.split()
        if not size.isdecimal():
            raise SourceError(f"{name} is not whole in the repository's copy here")
        whole += int(size)
        if int(size) > MAX_BYTES or len(found) >= _MOST_FILES or whole > _MOST_BYTES:
            most = f"{MAX_BYTES >> 20} MiB, or there are more than {_MOST_FILES} files or {_MOST_BYTES >> 20} MiB"
            raise SourceError(f"{name} has more than {most}")
        found[name] = number
    return found
