"""A command that does nothing must start at once, so the heavy libraries may only be imported where they are used.

Measured: networkx 120 ms, pyroute2 130 ms, jsonschema 66 ms, bcc 46 ms and 70 MB.
"""
from __future__ import annotations

import pkgutil
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("bcc", "networkx", "pyroute2", "jsonschema", "watchdog", "asyncio")
LOOPS = {f"reconciler.{name}" for name in (  # run in the agent and the API, whose loop is asyncio's, and in no command
    "api.app", "api.cube_log", "api.events", "api.listeners", "api.own", "api.page", "api.routes", "api.run", "api.server", "agent.client",
    "agent.handover", "agent.jobs", "agent.polls", "agent.loop", "agent.main", "agent.report", "agent.server", "agent.sources", "agent.sync", "rpc.client", "rpc.serve", "service.remote.offer",
    "slowpath.shared_ring", "slowpath.supervisor")}
NO_OP_BUDGET = 0.150  # seconds

# Imports each module in a process of its own, so that neither an import cycle nor a heavy import can hide behind
# another module that was imported before it.
PROBE = """
import importlib, os, sys, traceback
heavy, names = sys.argv[1].split(","), sys.argv[2:]
for name in names:
    if os.fork() == 0:
        try:
            importlib.import_module(name)
            print(name, *(module for module in heavy if module in sys.modules), flush=True)
        except BaseException as error:
            print(name, "does-not-import:", repr(error), flush=True)
        os._exit(0)
    os.wait()
"""


def modules_of(package: str) -> list[str]:
    found = pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
    return [package, *sorted(module.name for module in found if not module.name.endswith("__main__"))]


@pytest.mark.timeout(300)
def test_every_module_can_be_imported_first_and_imports_nothing_heavy() -> None:
    names = [name for package in ("reconciler", "cubes") for name in modules_of(package)]
    probe = [sys.executable, "-c", PROBE, ",".join(HEAVY), *names]
    lines = subprocess.run(probe, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == names
    heavy = {name: set(found) for name, *found in map(str.split, lines) if found}
    assert {name: found for name, found in heavy.items() if found != {"asyncio"}} == {}
    assert set(heavy) == LOOPS


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_a_command_that_does_nothing_imports_nothing_heavy(arguments: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", str(Path(sys.executable).parent / "pcn"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert "reconciler.cli.main" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.serial
def test_a_command_that_does_nothing_starts_in_its_budget() -> None:
    command = [str(Path(sys.executable).parent / "pcn"), "--help"]
    assert min(cpu_seconds(command) for _ in range(5)) < NO_OP_BUDGET


def cpu_seconds(command: list[str]) -> float:
    """What a process costs; unlike the time on the wall, the same when the machine is busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
