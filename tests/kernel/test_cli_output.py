"""A kernel that was changed although nobody could be told: the exit code says that it was."""

from __future__ import annotations

import subprocess

import pytest

from tests.lib.commands import BIN, Net, live, pcn

UNWRITTEN = 74


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", str(BIN / arguments[0]), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("form", [[], ["-o", "json"], ["-q", "-o", "yaml"]])
def test_an_apply_whose_report_cannot_be_written_is_applied_and_exits_74(net: Net, redirection: str, form: list[str]) -> None:
    result = shell(redirection, "pcn-apply", *form, str(net.file))
    assert result.returncode == UNWRITTEN
    assert result.stderr.startswith("error: cannot write to standard output: ")
    assert f"name: {net.name}" in live(net)
    assert pcn("apply", "--check", str(net.file)).returncode == 0


def test_an_apply_of_which_nothing_can_be_said_at_all_is_applied(net: Net) -> None:
    assert shell("<&- >&- 2>&-", "pcn-apply", str(net.file)).returncode == UNWRITTEN
    net.write("DROP")
    assert shell("2>/dev/full", "pcn-apply", str(net.file)).returncode == 0
    net.write("FORWARD")
    assert shell("-q >/dev/full 2>/dev/full", "pcn-apply", str(net.file)).returncode == 0, "there was nothing to say"
    assert pcn("apply", "--check", str(net.file)).returncode == 0


def test_a_reader_that_leaves_in_the_middle_of_a_plan_or_an_apply_changes_no_exit_code(net: Net) -> None:
    command = ["sh", "-c", '"$@"; echo $? >&2', "sh", str(BIN / "pcn"), "apply", "-v"]
    for arguments, code in ((["--plan"], 2), ([], 0)):
        with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
            reader.wait()
            result = subprocess.run([*command, *arguments, str(net.file)], stdout=reader.stdin, stderr=subprocess.PIPE, text=True, check=False)
        assert result.stderr == f"{code}\n"


def test_what_only_reads_says_that_its_answer_was_lost_and_keeps_an_exit_code_that_is_an_answer(net: Net) -> None:
    assert shell(">/dev/full", "pcn", "plan", str(net.file)).returncode == 2
    pcn("apply", str(net.file), code=0)
    for arguments in (["show"], ["show", "-o", "json"], ["drift"], ["drift", "-o", "json"], ["graph"], ["stats"], ["plan", str(net.file)]):
        result = shell(">/dev/full", "pcn", *arguments)
        assert (result.returncode, result.stderr.count("\n")) == (UNWRITTEN, 1), arguments


def test_following_ends_when_nobody_reads_any_more(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    command = ["sh", "-c", f'"{BIN / "pcn"}" stats --watch -o json | head -n 1']
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).stdout.startswith(b"{")
