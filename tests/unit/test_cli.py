"""The command as a stranger meets it: real processes, and no kernel."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.main import main
from reconciler.cli.verbs import VERBS
from tests.lib.commands import on_a_terminal

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "topologies" / "simplebridge.yaml"
HELP_BUDGET = 0.060  # seconds
NOBODY = 65534

BAD = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: t}
spec:
  cubes:
    - {name: br1, service-name: simplebridge, fdb: {agin-time: 5}}
"""


def pcn(*arguments: str, stdin: str = "", **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / "pcn"), *arguments], input=stdin, capture_output=True, text=True, check=False, **options)


def as_nobody() -> dict[str, object]:
    """Options by which a process has no privilege, whoever runs the tests."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = pcn(verb, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: pcn {verb}")


def test_pcn_apply_is_pcn_apply() -> None:
    result = subprocess.run([str(BIN / "pcn-apply"), "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("usage: pcn-apply ")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["aply"], ["--no-such"], ["apply"], ["apply", "--no-such"], ["apply", "-o", "xml", "x"], ["validate"], ["apply", "--plan", "--check", "x"],
        ["apply", "--try", "9", "--wait", "9", "x"], ["apply", "--try", "never", "x"], ["apply", "--services", "/nonexistent", "x"],
        ["explain", "no.such.thing"], ["schema", "nosuch"], ["compile"], ["graph", "/no/such/file.yaml"],
    ],
)  # fmt: skip
def test_a_usage_error_exits_64_and_says_so_on_stderr_only(arguments: list[str]) -> None:
    result = pcn(*arguments)
    assert (result.returncode, result.stdout) == (64, "")
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_a_misspelt_verb_is_recognised() -> None:
    assert 'did you mean "validate"?' in pcn("valdate").stderr


def test_an_invalid_document_exits_65_with_the_place_and_a_caret(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    result = pcn("validate", str(file))
    assert (result.returncode, result.stdout) == (65, "")
    assert f"{file}:6:53: /spec/cubes/br1/fdb/agin-time: unknown key" in result.stderr
    assert "^^^^^^^^^" in result.stderr
    assert 'did you mean "aging-time"?' in result.stderr


def test_an_invalid_document_is_as_much_as_that_in_json(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    result = pcn("validate", "-o", "json", str(file))
    assert (result.returncode, result.stderr) == (65, "")
    (problem,) = json.loads(result.stdout)["errors"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(file), 6, 53)
    assert problem["severity"] == "error"


def test_a_valid_document_from_standard_input_exits_0_without_root() -> None:
    result = pcn("validate", "-", stdin=EXAMPLE.read_text(), **as_nobody())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "two-hosts: valid, 1 cube, 2 ports, 2 links\n"


def test_two_files_with_one_name_are_refused_and_merged_if_that_is_wanted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cube = f"{{name: {name}, service-name: simplebridge}}"
        (tmp_path / f"{name}.yaml").write_text(
            f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: t}}\nspec: {{cubes: [{cube}]}}\n"
        )
    assert pcn("validate", str(tmp_path)).returncode == 65
    assert pcn("validate", "--merge", str(tmp_path)).stdout.startswith("t: valid, 2 cubes")


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply", str(EXAMPLE)], ["plan", str(EXAMPLE)], ["drift"], ["show"], ["graph"], ["delete", "x"], ["action", "x", "y"], ["reload", "x", "0", "y.c"], ["gc"],
        ["apply", "--confirm"],
    ],
)  # fmt: skip
def test_what_needs_root_says_so_in_one_sentence_and_exits_77(arguments: list[str]) -> None:
    result = pcn(*arguments, **as_nobody())
    assert (result.returncode, result.stdout) == (77, "")
    assert result.stderr.startswith("error: pcn needs root to ")
    assert result.stderr.count("\n") == 1


def test_errors_of_apply_are_in_the_json_document_and_nowhere_else() -> None:
    result = pcn("apply", "-o", "json", str(EXAMPLE), **as_nobody())
    assert (result.returncode, result.stderr) == (77, "")
    document = json.loads(result.stdout)
    assert (document["steps"], document["summary"]["map_writes"]) == ([], 0)
    assert "needs root" in document["errors"][0]["message"]


def test_doctor_works_without_root_and_says_what_it_cannot_know() -> None:
    result = pcn("doctor", **as_nobody())
    assert result.returncode == 0
    assert "unknown" in result.stdout
    assert "not root" in result.stdout


@pytest.mark.parametrize(("root", "code"), [("/tmp/not-bpf", 69), ("/sys/fs/bpf/pcn", 0)])
def test_doctor_exits_69_if_something_is_missing_without_which_nothing_works(root: str, code: int) -> None:
    result = pcn("doctor", "-o", "json", "--bpffs", root, **as_nobody())
    assert result.returncode == code
    statuses = {check["name"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    assert statuses["live graph"] == ("missing" if code else "ok")


def test_help_imports_nothing_that_it_does_not_need() -> None:
    command = [sys.executable, "-c", "import sys; from reconciler.cli.main import main; main(['--help']); print(*sys.modules)"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split())
    assert loaded.isdisjoint(
        {"argparse", "dataclasses", "json", "re", "yaml", "ctypes", "pathlib", "subprocess", "reconciler.errors"}
    )
    assert {name for name in loaded if name.startswith("reconciler")} <= {
        "reconciler", "reconciler.cli", "reconciler.cli.main", "reconciler.cli.verbs",
    }  # fmt: skip


def test_validate_imports_neither_the_kernel_nor_the_slow_validator() -> None:
    code = f"import sys; from reconciler.cli.main import main; main(['validate', {str(EXAMPLE)!r}]); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [
        name
        for name in loaded
        if name.startswith(("reconciler.kernel", "reconciler.compiler", "jsonschema", "networkx", "pyroute2"))
    ]


@pytest.mark.serial
def test_help_starts_within_its_budget() -> None:
    assert statistics.median(cpu_seconds("--help") for _ in range(9)) < HELP_BUDGET


@pytest.mark.serial
def test_validate_is_done_within_its_budget() -> None:
    assert statistics.median(cpu_seconds("validate", str(EXAMPLE)) for _ in range(5)) < 0.250


def cpu_seconds(*arguments: str) -> float:
    """What a process costs; unlike the time on the wall, the same when the machine is busy."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(BIN / "pcn"), *arguments], env=usual, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", [["--help"], ["schema"], ["explain", "simplebridge"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run([str(BIN / "pcn"), *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


def test_colour_is_for_terminals_and_for_those_who_did_not_say_no() -> None:
    arguments = ("explain", "simplebridge.fdb.aging-time")
    assert "\x1b[1m" in on_a_terminal(*arguments)
    assert "\x1b" not in on_a_terminal(*arguments, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(*arguments, TERM="dumb")
    assert "\x1b" not in on_a_terminal(*arguments, "--no-colour")
    assert "\x1b" not in pcn(*arguments).stdout


def test_what_a_file_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text('apiVersion: "\\e[31mred"\nkind: Topology\nmetadata: {name: t}\nspec: {}\n')
    assert "\x1b" not in pcn("validate", str(file)).stderr


def test_a_mistake_of_our_own_is_one_line_exit_1_and_a_traceback_only_with_v(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import reconciler.cli.services

    monkeypatch.setattr(reconciler.cli.services, "run", lambda run: 1 // 0)
    assert main(["services"]) == 1
    assert (
        capsys.readouterr().err
        == "error: unexpected ZeroDivisionError: integer division or modulo by zero (a mistake in pcn; -v shows where)\n"
    )
    assert main(["services", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import reconciler.cli.services

    def interrupted(run: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(reconciler.cli.services, "run", interrupted)
    assert main(["services"]) == 1
    assert capsys.readouterr().err == "error: stopped by Ctrl-C; nothing was changed\n"


def test_ctrl_c_before_a_verb_runs_and_while_a_class_is_made_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import reconciler.cli.dispatch
    import reconciler.cli.services

    def at_a_class(run: object) -> int:
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    def at_once(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(reconciler.cli.services, "run", at_a_class)
    assert main(["services"]) == 1
    monkeypatch.setattr(reconciler.cli.dispatch, "dispatch", at_once)
    assert main(["services"]) == 1
    assert capsys.readouterr().err == "error: stopped by Ctrl-C; nothing was changed\n" * 2


@pytest.mark.parametrize(
    ("word", "verb"),
    [("diff", "pcn plan"), ("list", "pcn show"), ("get", "pcn show"), ("destroy", "pcn delete"), ("check", "pcn validate"),
     ("status", "pcn agent status"), ("watch", "pcn agent run"), ("logs", "pcn log"), ("aply", "apply")],
)  # fmt: skip
def test_what_other_programs_call_it_points_to_the_verb(word: str, verb: str) -> None:
    result = pcn(word)
    assert result.returncode == 64
    assert verb in result.stderr


@pytest.mark.parametrize(
    ("option", "words"), [("--dry-run", "--plan"), ("--dry-run=client", "--plan"), ("--json", "-o json"), ("-f", "the file alone")]
)
def test_an_option_of_other_programs_points_to_the_one_that_does_it(option: str, words: str) -> None:
    result = pcn("apply", option, str(EXAMPLE))
    assert result.returncode == 64
    assert words in result.stderr


@pytest.mark.parametrize(("verb", "words"), [("validate", "for --dry-run, say 'pcn plan FILE'"), ("show", "'pcn plan FILE'")])
def test_no_option_is_pointed_to_that_the_verb_lacks(verb: str, words: str) -> None:
    result = pcn(verb, "--dry-run", str(EXAMPLE))
    assert result.returncode == 64
    assert words in result.stderr
    assert "--plan" not in result.stderr


def test_help_and_version_are_verbs_too() -> None:
    assert pcn("help").stdout == pcn("--help").stdout
    assert pcn("help", "apply").stdout == pcn("apply", "--help").stdout
    assert pcn("version").stdout == pcn("--version").stdout


def test_the_word_run_after_pcn_agent_is_the_verb_unless_a_file_has_this_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from reconciler.cli import agent, main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pcn-agent", "run", "net.yaml"])
    asked: list[list[str]] = []
    monkeypatch.setattr(main, "main", asked.append)
    agent.main()
    (tmp_path / "run").touch()
    agent.main()
    assert asked == [["agent", "run", "net.yaml"], ["agent", "run", "run", "net.yaml"]]


def test_an_agent_that_is_given_a_mistyped_directory_says_so_and_does_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "topologies").mkdir()
    command = [str(BIN / "pcn-agent"), str(tmp_path / "topologie")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert result.returncode in (64, 77)  # 77: this process may not change the kernel, which is said first
    assert result.returncode == 77 or 'did you mean "topologies"' in result.stderr
    assert "'pcn agent run" in pcn("agent", str(tmp_path)).stderr
