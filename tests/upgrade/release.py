"""Releases of pcn as trees of files, each run by processes of its own, so that two of them meet on one host as in an upgrade.

The old one is a commit of this repository's own history. Others are copies of this checkout that are edited on purpose.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parents[2]
OLD = "296be9a7c04dad0657f39473f3804b4f5fa370f4"
RENAMED = {"two-hosts": "simplebridge", "blacklist": "ddosmitigator", "forwarder-chain": "simpleforwarder",
           "xdp-switch": "simplebridge-xdp"}  # fmt: skip
PARTS = ("reconciler", "schemas", "cubes", "bpf", "examples", "pyproject.toml")
OF_ONES_OWN = "static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {"


@dataclass
class Release:
    """One tree. `cache` keeps what it compiled."""

    name: str
    home: Path
    cache: Path
    scripts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scripts = tomllib.loads((self.home / "pyproject.toml").read_text())["project"]["scripts"]

    @property
    def examples(self) -> Path:
        return self.home / "examples" / "topologies"

    def example(self, name: str) -> Path:
        """A topology by the name that the first release has for it; later ones name some for the service that they show."""
        found = self.examples / f"{name}.yaml"
        return found if found.exists() else self.examples / f"{RENAMED[name]}.yaml"

    def argv(self, command: str, *arguments: str) -> list[str]:
        module, _, function = self.scripts[command].partition(":")
        # What is imported must be this tree's, and not that of the checkout which .venv points to.
        code = (
            f"import sys; from {module} import {function} as main; import {module.partition('.')[0]} as top; "
            f"assert top.__path__[0].startswith({str(self.home)!r}), top.__path__; sys.exit(main())"
        )
        return [sys.executable, "-c", code, *arguments]

    def environment(self, root: str, *more: str) -> dict[str, str]:
        """`more`: directories from which may be imported what the release does not have itself."""
        return os.environ | {"PYTHONPATH": ":".join((str(self.home), *more)), "PCN_CACHE": str(self.cache), "PCN_BPFFS": root}

    def run(
        self, root: str, command: str, *arguments: str, code: int | None = 0, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """A command, to its end; `code` is what it must exit with, None if that is the caller's to judge."""
        done = subprocess.run(self.argv(command, *arguments), cwd=self.home, env=self.environment(root), capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, check=False, timeout=timeout)  # fmt: skip
        if code is not None and done.returncode != code:
            said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise AssertionError(f"{self.name}: {command} {' '.join(arguments)}: exit {done.returncode}, not {code}\n{said}")
        return done

    def compile(self) -> None:
        """What its examples need, ahead of time: a compiler that is busy shall not look like an agent that is stuck. Each is a world
        of its own, so two of them may use the same names."""
        for example in sorted(self.examples.glob("*.yaml")):
            self.run("/nowhere", "pcn", "compile", str(example), timeout=600)

    def spawn(self, root: str, log: Path, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that goes on; what it says is in `log`."""
        with log.open("ab") as out:
            return subprocess.Popen(self.argv(command, *arguments), cwd=self.home, env=self.environment(root),
                                    stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # fmt: skip


class Agent:
    """A release's agent, which watches `paths`. `came` and `went`: since when it is known to be at work, and until when it was."""

    def __init__(self, release: Release, root: str, log: Path, *paths: str) -> None:
        self.release, self.root, self.log = release, root, log
        self.process = release.spawn(root, log, "pcn-agent", *paths)
        self.came, self.went = math.inf, math.inf

    def until_in_sync(self, seconds: float = 120.0) -> None:
        """Until it says that all is well."""
        self.until(lambda: self.release.run(self.root, "pcn", "agent", "status", code=None).returncode == 0, seconds)
        self.came = min(self.came, time.monotonic())

    def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the agent of {self.release.name} ended:\n{self.text()}"
            assert time.monotonic() < deadline, f"the agent of {self.release.name}, after {seconds} s:\n{self.text()}"
            time.sleep(0.05)

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        said = self.release.run(self.root, "pcn", "agent", "status", "-o", "json", code=None).stdout
        return dict(json.loads(said)) if said else {}

    def looks(self) -> int:
        """How often it has looked at the kernel."""
        return int(self.status().get("looks", 0))

    def text(self) -> str:
        return self.log.read_text()[-5000:]

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def end(self, number: int) -> None:
        self.went = min(self.went, time.monotonic())
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(20)


def old_release(directory: Path, cache: Path) -> Release:
    """The old release, from the history. Skips where there is none to be had (a source archive); fails where it should be."""
    if not (HERE / ".git").exists():
        pytest.skip(f"this is no checkout: the release to upgrade from ({OLD[:7]}) is in the history alone")
    git = ["git", "-c", f"safe.directory={HERE}", "-C", str(HERE)]  # the checkout may be another user's than root's
    if subprocess.run([*git, "cat-file", "-e", f"{OLD}^{{commit}}"], capture_output=True, check=False).returncode:
        pytest.fail(f"the release to upgrade from, commit {OLD}, is not in this checkout's history: git fetch --unshallow")
    home = directory / "old"
    home.mkdir()
    archive = subprocess.run([*git, "archive", OLD, *PARTS], stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", str(home)], input=archive.stdout, check=True)
    return Release(f"the old release ({OLD[:7]})", home, cache)


def this_release(cache: Path) -> Release:
    return Release("this release", HERE, cache)


def edited_release(name: str, directory: Path, edit: Callable[[Path], None], cache: Path | None = None) -> Release:
    """A copy of this checkout that `edit` has changed."""
    for part in PARTS:
        source, target = HERE / part, directory / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    edit(directory)
    return Release(name, directory, cache or directory / "cache")


# -- edits -------------------------------------------------------------------------------------------------------------


def every_program_changes(home: Path) -> None:
    """Each program has an instruction more, which does nothing: all are loaded anew, and forward as before."""
    changed = 0
    for path in (home / "bpf").rglob("*.[ch]"):
        text = path.read_text()
        if OF_ONES_OWN in text:
            path.write_text(text.replace(OF_ONES_OWN, f'{OF_ONES_OWN}\n  {{ int more = 0; asm volatile("%0 += 1" : "+r"(more)); }}'))
            changed += 1
    assert changed > 10, "the programs begin otherwise than this test knows"


def substitute(home: Path, below: str, old: str, new: str) -> None:
    """Replace a text in a file, or in the one file below a directory that has it."""
    paths = [home / below] if (home / below).is_file() else (home / below).rglob("*.[chp]*")
    found = [path for path in paths if path.suffix in (".c", ".h", ".py", ".json") and old in path.read_text()]
    assert len(found) == 1, f"{old!r} is in {found}"
    found[0].write_text(found[0].read_text().replace(old, new))
