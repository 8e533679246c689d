"""The tutorial, typed as it stands: each command ends as the page says."""
from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]


def script() -> str:
    """The page's commands as one script that stops where one of them ends otherwise than the page says."""
    blocks = re.findall(r"```sh\n(.*?)```", (HOME / "docs" / "tutorial.md").read_text("utf-8"), re.DOTALL)
    lines = []
    for line in "".join(blocks).replace("/tmp/lab", "$LAB").splitlines():
        command, _, code = line.partition("# exits ")
        lines.append(f'code=0; {command.rstrip()} || code=$?; [ "$code" = {code.partition(":")[0]} ]' if code else line)
    return "set -e\n" + "\n".join(lines)


def test_the_tutorial_can_be_typed(tmp_path: Path) -> None:
    text = script().replace("<<'END'", "<<END")  # $LAB is not known to Python
    said = subprocess.run(
        ["bash", "-c", text], cwd=HOME, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "LAB": str(tmp_path / "lab")}
    )
    assert said.returncode == 0, f"{said.stdout[-3000:]}\n{said.stderr[-2000:]}"
    assert said.stdout.count(" 0% packet loss") == 4
    assert "Drift: " in said.stdout
    assert "healthy: agent" in said.stdout
    assert not (tmp_path / "lab").exists()
