"""Includes of C: a directory of bpf/ includes itself, pcn.h, framework/ and lib/."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "scripts" / "check-includes"


def said(bpf: Path) -> tuple[int, str]:
    done = subprocess.run([CHECK, bpf], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def tree(bpf: Path, **includes: str) -> Path:
    """Files of one include each: `a_b` is a/b.c. Beside them lib/shared.h, framework/part.h and router/other.h."""
    for name, include in ({"lib_shared": "", "framework_part": "", "router_other": ""} | includes).items():
        file = bpf / name.replace("_", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".h" if name not in includes else ".c").write_text(f'/* . */\n{include}\n')
    return bpf


@pytest.mark.parametrize("include", ['#include "own.h"', '#include "pcn.h"', '#include "framework/part.h"', '#include "lib/shared.h"', "#include <linux/ip.h>"])
def test_what_a_service_may_include(tmp_path: Path, include: str) -> None:
    bpf = tree(tmp_path, bridge_main=include)
    (bpf / "bridge" / "own.h").touch()
    assert said(bpf) == (0, "")


@pytest.mark.parametrize("include", ["router/other.h", "../router/other.h", "other.h", "lib/missing.h"])
def test_what_a_service_may_not_include_is_said_with_file_and_line(tmp_path: Path, include: str) -> None:
    code, text = said(tree(tmp_path, bridge_main=f'#include "{include}"'))
    assert code == 1
    assert text.startswith(f"{tmp_path}/bridge/main.c:2: ")
    assert include in text


def test_the_framework_does_without_the_library(tmp_path: Path) -> None:
    assert said(tree(tmp_path / "a", framework_main='#include "lib/shared.h"'))[0] == 1
    assert said(tree(tmp_path / "b", lib_main='#include "framework/part.h"'))[0] == 0
