"""Completion scripts: bash's is run, the others are read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.cli.completion import verbs_of_parsers
from reconciler.cli.completion_scripts import bash, fish, zsh
from reconciler.cli.verbs import VERBS

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "pcn.bash"
    path.write_text(bash(list(verbs_of_parsers())))
    return path


def completed(script: Path, *words: str, cwd: Path | None = None) -> list[str]:
    """What bash offers after these words, the last of which is being written."""
    listed = " ".join(f"'{word}'" for word in words)
    code = f'source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _pcn; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd=cwd).stdout.split()


def test_bash_completes_verbs_options_and_choices(script: Path) -> None:
    assert completed(script, "pcn", "val") == ["validate"]
    assert completed(script, "pcn", "apply", "--lo") == ["--lock-timeout"]
    assert completed(script, "pcn", "graph", "-o", "") == ["text", "dot", "mermaid", "svg"]
    assert completed(script, "pcn-apply", "--pl") == ["--plan"]
    assert completed(script, "pcn", "completion", "z") == ["zsh"]
    assert completed(script, "pcn", "apply", "--try", "") == []


def test_bash_completes_files_and_directories(script: Path, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").touch()
    (tmp_path / "nets").mkdir()
    assert sorted(completed(script, "pcn", "validate", "ne", cwd=tmp_path)) == ["net.yaml", "nets"]
    assert completed(script, "pcn", "apply", "--services", "ne", cwd=tmp_path) == ["nets"]


@pytest.mark.parametrize("shell", [zsh, fish])
def test_the_other_shells_know_every_verb_and_option(shell) -> None:
    verbs = list(verbs_of_parsers())
    text = shell(verbs)
    assert [verb.name for verb in verbs] == list(VERBS)
    for verb in verbs:
        assert verb.name in text
        assert all(name.lstrip("-") in text for option in verb.options for name in option.names)
