"""Answers that cannot be written: the exit code says what was done, and stderr what was not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "topologies" / "simplebridge.yaml"
COMMANDS = [["--help"], ["--version"], ["show", "--help"], ["services"], ["explain", "spec.links.kind"], ["schema"],
            ["validate", str(EXAMPLE)], ["validate", "-o", "json", str(EXAMPLE)], ["completion", "bash"]]  # fmt: skip
UNWRITTEN = 74


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", str(BIN / "pcn"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@contextmanager
def reader_that_leaves_after(size: int) -> Iterator[int]:
    """The writing end of a pipe whose reader takes this many bytes and goes away."""
    reading, writing = os.pipe()
    child = subprocess.Popen(["head", "-c", str(size)], stdin=reading, stdout=subprocess.DEVNULL)
    os.close(reading)
    yield writing
    os.close(writing)
    child.wait()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("redirection", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_an_answer_that_cannot_be_written_is_said_on_stderr_with_an_exit_code_of_its_own(arguments, redirection, why) -> None:
    result = shell(redirection, *arguments)
    assert (result.returncode, result.stderr) == (UNWRITTEN, f"error: cannot write to standard output: {why}; all else is done\n")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_leaves_in_the_middle_is_no_failure_and_not_worth_a_word(arguments) -> None:
    with reader_that_leaves_after(1) as pipe:
        result = subprocess.run([BIN / "pcn", *arguments], stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&- >&-", "<&- 2>&- >&-"])
def test_an_error_that_cannot_be_said_keeps_its_exit_code(tmp_path: Path, redirection: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("nonsense")
    assert shell(redirection, "validate", str(bad)).returncode == 65
    assert shell(redirection, "no-such-verb").returncode == 64
    assert shell(redirection, "validate", "--no-such").returncode == 64


def test_an_error_in_json_that_cannot_be_written_is_said_on_stderr_instead(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("nonsense")
    result = shell(">/dev/full", "validate", "-o", "json", str(bad))
    assert result.returncode == 65
    assert str(bad) in result.stderr


def test_standard_input_that_is_closed_is_a_file_that_cannot_be_read() -> None:
    result = shell("<&-", "validate", "-")
    assert (result.returncode, result.stderr) == (64, "error: cannot read <stdin>: Bad file descriptor\n")


def test_letters_that_the_locale_does_not_have_are_written_as_escapes() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run([BIN / "pcn", "services"], env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
