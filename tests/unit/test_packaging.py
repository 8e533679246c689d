"""What a user gets: the wheel, the set-up, and documents that name things which exist."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.cli.terminal import UNWRITTEN
from reconciler.cli.verbs import VERBS
from tests.lib.netns_topology import NetnsTopology, ping

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("reconciler", "schemas", "cubes", "bpf", "providers")
SCRIPTS = (".ci/run", *(f"scripts/{name}" for name in ("setup", "test", "test-distributions", "test-kernels", "lint", "demo", "bench")), *(f"bin/{name}" for name in PROJECT["scripts"]))
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

# Run with only the unpacked wheel's directory ahead of everything else on the path.
ASK_THE_WHEEL = """
import sys
sys.path.insert(0, sys.argv[1])
import reconciler
from reconciler.service.registry import Services
assert reconciler.__file__.startswith(sys.argv[1]), reconciler.__file__
services = Services()
for name in services.names():
    service = services.get(name)
    files = [*service.programs("ingress"), *service.programs("egress")]
    assert service.schema["title"] == name and all(file.is_file() for file in files), (name, files)
    print(name)
"""


TOPOLOGY = """
apiVersion: polycube.network/v1
kind: Topology
metadata: {{name: contributing}}
spec:
  cubes:
    - {{name: br1, service-name: simplebridge, ports: [{{name: p1, peer: {0}, tcubes: [guard]}}, {{name: p2, peer: {1}}}]}}
    - {{name: guard, service-name: droptype, ethertype: {2}}}
"""


def block(page: str, language: str) -> str:
    """The first fenced block of a language on a page."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def pcn(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "bin/pcn", *arguments], input=text, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(directory.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    there = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    wanted = {name for name in there if "__pycache__" not in name}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert {Path(name).suffix for name in held} >= {".py", ".c", ".h", ".yang", ".json"}


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-P", "-c", ASK_THE_WHEEL, str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    models = {path.name.removesuffix(".schema.json") for path in (ROOT / "schemas/json").glob("*.schema.json")} - {"topology"}
    assert set(result.stdout.split()) == models


def test_bpf_holds_c_only() -> None:
    assert {path.suffix for path in (ROOT / "bpf").rglob("*") if path.is_file()} == {".c", ".h"}


def test_the_bcc_of_pypi_is_no_dependency() -> None:
    extras = [name for names in PROJECT["optional-dependencies"].values() for name in names]
    assert not [name for name in [*PROJECT["dependencies"], *extras] if re.match(r"bcc\b", name)]


def test_the_bcc_that_is_imported_is_the_compiler() -> None:
    bcc = pytest.importorskip("bcc", reason="python3-bpfcc is not installed")
    assert hasattr(bcc, "BPF")


def test_every_dependency_says_why_it_is_there() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    requirements = [line for line in lines if re.search(r'"[A-Za-z0-9_-]+>=[0-9.]+,<', line) and not line.startswith("requires")]
    extras = sum(len(names) for names in PROJECT["optional-dependencies"].values())
    assert len(requirements) == len(PROJECT["dependencies"]) + extras
    assert [line for line in requirements if "#" not in line] == []


@pytest.mark.parametrize("name", sorted(PROJECT["scripts"]))
def test_a_console_script_points_at_something_callable(name: str) -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name=name)
    assert callable(entry.load())


def test_the_version_is_the_same_everywhere() -> None:
    said = subprocess.run([ROOT / "bin/pcn", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == PROJECT["version"] == metadata.version("pcn")
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_executable_and_plain_sh(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("script", ["setup", "test", "test-distributions", "test-kernels", "lint", "demo", "bench"])
def test_a_script_explains_itself(script: str) -> None:
    result = subprocess.run([ROOT / "scripts" / script, "--help"], capture_output=True, text=True, check=True)
    assert "scripts/" in result.stdout


def test_setup_refuses_an_option_that_it_does_not_know() -> None:
    assert subprocess.run([ROOT / "scripts/setup", "--nonsense"], capture_output=True, check=False).returncode == 64


@pytest.mark.serial
def test_a_second_setup_does_nothing_and_is_quick() -> None:
    if not list((ROOT / ".venv").glob(".setup-*")):
        pytest.skip("this checkout was not set up by scripts/setup")
    subprocess.run([ROOT / "scripts/setup", "--dev"], capture_output=True, check=True)
    start = time.monotonic()
    result = subprocess.run([ROOT / "scripts/setup", "--dev"], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 1
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_only_to_what_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_topology_of_the_readme_is_valid() -> None:
    result = pcn("validate", "-", text=block("README.md", "yaml"))
    assert result.returncode == 0, result.stderr


def test_the_readme_names_commands_that_exist() -> None:
    named = set(re.findall(r"`pcn ([a-z]+)", (ROOT / "README.md").read_text()))
    assert len(named) > 5
    assert named <= set(VERBS)


def test_the_readme_lists_all_exit_codes_and_no_others() -> None:
    answers = {0, 2, 3, UNWRITTEN}  # in sync, pending, drift, done but not told: not errors
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.PcnError)]
    wanted = answers | {error.exit_code for error in classes}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)} == wanted


@pytest.mark.kernel
def test_the_cube_of_the_contributing_page_drops_what_it_says(tmp_path: Path) -> None:
    for suffix, language in ((".yang", "yang"), (".c", "c")):
        (tmp_path / f"droptype{suffix}").write_text(block("CONTRIBUTING.md", language))
    subprocess.run([sys.executable, "-m", "schemas.generate", "--services", tmp_path], cwd=ROOT, check=True)
    with NetnsTopology() as world:
        h1, h2 = world.host("h1", "10.0.0.1/24"), world.host("h2", "10.0.0.2/24")
        for dropped, answers in ((0x86DD, 2), (0x0800, 0)):
            topology = TOPOLOGY.format(h1.port, h2.port, dropped)
            result = pcn("apply", "--services", tmp_path, "-", text=topology)
            assert result.returncode == 0, result.stderr
            assert ping(h1.netns, h2.ip) == answers
        assert pcn("apply", "--services", tmp_path, "--delete", "-", text=topology).returncode == 0
