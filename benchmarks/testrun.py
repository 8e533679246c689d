"""Programs alone, without a wire: BPF_PROG_TEST_RUN with many repeats."""

from __future__ import annotations

from benchmarks import machine
from benchmarks.compare import Turn
from reconciler.kernel import programs


def stub(cube: str, port: str, number: int = 0) -> str:
    """The pin of the program by which packets enter a cube at its port with that number."""
    return f"cubes/{cube}/in/{number}_{port}"


def alone(program: int, frame: bytes, repeat: int, null: int | None = None) -> Turn:
    """A turn: nanoseconds a run. With `null`, an empty program of the same kind, what that takes in the same turn is taken off.

    The kernel puts nothing back between runs: a program that changes the packet sees its own changes.
    """

    def turn() -> float:
        return _cost(program, frame, repeat) - (_cost(null, frame, repeat) if null is not None else 0)

    return turn


def _cost(program: int, frame: bytes, repeat: int) -> float:
    """By the CPU's time and not by the clock that the kernel takes, which others' turns on the CPU are in."""
    began = machine.spent()
    programs.test_run(program, frame, repeat=repeat)
    return (machine.spent() - began) / repeat
