"""Many programs: a second thread loads some ahead of their steps, and nobody can tell by what comes of it."""
from __future__ import annotations

import os
import threading

import pytest

from benchmarks import topologies
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, drift
from reconciler.errors import KernelError, VerifierError
from reconciler.live import prefetch
from reconciler.live.execute import programs
from reconciler.plan.steps import Step

COUNT = 24
DOCUMENT = parse(topologies.ring(COUNT), "ring")


@pytest.fixture
def loaders(monkeypatch):
    """Which thread loaded each program, by name."""
    found: dict[str, str] = {}

    def load(compiled, tables, constants, name, *, really=prefetch.load_cube):
        found[name] = threading.current_thread().name
        return really(compiled, tables, constants, name)

    monkeypatch.setattr(prefetch, "load_cube", load)
    monkeypatch.setattr(programs, "load_cube", load)
    return found


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_thread_loads_some_and_the_kernel_holds_what_is_wanted(own_root, loaders):
    options, before = Options(root=own_root), open_fds()
    apply(DOCUMENT, options)
    assert len(loaders) == COUNT
    assert ("loads ahead" in loaders.values()) == (len(os.sched_getaffinity(0)) > 1)
    assert not drift(options)
    assert not apply(DOCUMENT, options).plan.steps
    assert open_fds() - before <= 2, "no more than the root, which what is kept between two calls holds open"
    assert not [thread for thread in threading.enumerate() if thread.name == "loads ahead"]
    apply(DOCUMENT, options, delete=True)


@pytest.mark.parametrize("number", [0, COUNT // 2, COUNT - 1])
def test_a_step_among_them_that_fails_undoes_all_and_leaves_no_program(own_root, loaders, number):
    seen, before = [], open_fds()

    def fail(_: int, step: Step) -> None:
        if step.operation.kind == "load_program":
            seen.append(step)
            if len(seen) == number + 1:
                raise KernelError("a fault", 5)

    with pytest.raises(KernelError, match="a fault"):
        apply(DOCUMENT, Options(root=own_root, before=fail))
    assert not os.path.lexists(own_root)
    assert open_fds() - before <= 2  # and the fixture looks for programs and maps


def test_what_the_verifier_refuses_is_said_at_its_step(own_root, monkeypatch):
    def load(compiled, tables, constants, name, *, really=prefetch.load_cube):
        if name == f"c{COUNT - 3}_ingress_0":
            raise VerifierError(f"load program {name}: the verifier refused it", 13, "here is why")
        return really(compiled, tables, constants, name)

    monkeypatch.setattr(prefetch, "load_cube", load)
    monkeypatch.setattr(programs, "load_cube", load)
    with pytest.raises(VerifierError, match="here is why") as error:
        apply(DOCUMENT, Options(root=own_root))
    assert f"cube/c{COUNT - 3}/program" in "".join(error.value.__notes__)
    assert not os.path.lexists(own_root)
