"""Every example as it is typed: apply, apply again, check, edit, show | apply --check, delete; with the exit codes of the manual."""
from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from reconciler.cli.main import main
from tests.faults.graphs import EXAMPLES, TOPOLOGIES, example
from tests.kernel.test_examples import EDITS, another_loglevel

NOTHING = {"program_loads": 0, "map_writes": 0, "link_changes": 0}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_commands_of_the_readme_do_what_they_say(own_root: str, name: str, tmp_path: Path, capsys, monkeypatch) -> None:
    def pcn(*words: str, stdin: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code = main(list(words))
        return code, capsys.readouterr().out

    file, edited = str(TOPOLOGIES / f"{name}.yaml"), tmp_path / "edited.json"
    data = example(name)
    EDITS.get(name, another_loglevel)(data)
    edited.write_text(json.dumps(data))
    try:
        assert pcn("apply", "--check", file)[0] == 2
        assert not Path(own_root).exists(), "--check has made something"
        assert pcn("apply", file)[0] == 0
        code, said = pcn("apply", "-o", "json", file)
        assert (code, {what: json.loads(said)["summary"][what] for what in NOTHING}) == (0, NOTHING)
        assert pcn("apply", "--check", file)[0] == 0
        assert pcn("drift")[0] == 0
        assert pcn("apply", "--check", str(edited))[0] == 2
        code, shown = pcn("show", "-o", "yaml")
        assert code == 0
        assert pcn("apply", "--check", "-", stdin=shown)[0] == 0
        assert pcn("delete", file)[0] == 0
        left = [path for path, _, _ in os.walk(own_root)]
        assert [path for path in left if "/cubes/" in path or "/links/" in path] == []
        assert not Path(own_root).exists()
    finally:
        pcn("delete", file)
