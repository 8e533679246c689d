"""What is in bpffs has a format, and code that does not know it keeps away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler import pins
from tests.faults.bench import Bench
from tests.faults.graphs import example, unique
from tests.lib.commands import Net, live, pcn

NEWER = str(pins.FORMAT + 1)


def say(root: str, text: str) -> None:
    path = Path(root, pins.FORMAT_PIN)
    path.unlink(missing_ok=True)
    path.symlink_to(text)


@pytest.mark.parametrize("format", [NEWER, "2.5", "one of mine", "-1"])
def test_a_root_of_a_format_that_is_not_known_is_refused_in_words_and_nothing_is_touched(net: Net, own_root: str, format: str) -> None:
    pcn("apply", str(net.file), code=0)
    shown, paths = live(net), set(Bench(own_root).paths())
    say(own_root, format)
    try:
        for arguments in (
            ["apply", str(net.write("DROP"))], ["apply", "--plan", str(net.file)], ["apply", "--delete", str(net.file)],
            ["delete", net.name], ["gc"], ["gc", "--plan"], ["drift"], ["show"], ["agent", "run", str(net.file)],
        ):  # fmt: skip
            result = pcn(*arguments, code=76)
            assert f"{own_root} was made by a newer pcn: its format is {format}" in result.stderr
            assert set(Bench(own_root).paths()) == paths
    finally:
        say(own_root, str(pins.FORMAT))
    assert live(net) == shown


def test_the_format_is_said_by_the_first_step_of_an_apply_and_is_not_there_when_that_fails(own_root: str) -> None:
    bench, data = Bench(own_root), unique(example("simplebridge"))
    steps = bench.plan(data).plan.steps
    assert [step.operation.path for step in steps[:2]] == [pins.KEEP_OUT, pins.FORMAT_PIN]

    def fail(number: int, _: object) -> None:
        if number == 20:
            raise OSError(28, "no space")

    with pytest.raises(Exception, match="no space"):
        bench.apply(data, before=fail)
    assert list(bench.paths()) == []
    bench.apply(data)
    assert os.readlink(f"{own_root}/{pins.FORMAT_PIN}") == str(pins.FORMAT)
    bench.delete(data)
    assert list(bench.paths()) == []


def test_where_nothing_is_to_be_done_the_format_stays_what_it_was(own_root: str) -> None:
    bench, data = Bench(own_root), unique(example("simplebridge"))
    bench.apply(data)
    for path in (pins.FORMAT_PIN, pins.KEEP_OUT):
        os.unlink(f"{own_root}/{path}")
    bench.apply(data)
    assert not os.path.lexists(f"{own_root}/{pins.FORMAT_PIN}")
    data["spec"]["cubes"][0]["loglevel"] = "TRACE"
    bench.apply(data)
    assert os.readlink(f"{own_root}/{pins.FORMAT_PIN}") == str(pins.FORMAT)
    assert os.path.lexists(f"{own_root}/{pins.KEEP_OUT}")
    bench.delete(data)
