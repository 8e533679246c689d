"""Links and loads cubes' objects, and explains refusals of the verifier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reconciler.errors import VerifierError
from reconciler.kernel import bpf, maps, programs
from reconciler.link.chain import Member, link
from reconciler.live.link_inputs import described, member

TYPES = {"TC": bpf.SCHED_CLS, "XDP": bpf.XDP}


def load(members: Sequence[Member], objects: Sequence[Any], flavour: str, name: str, *, arrival: int = -1, mark: int = -1) -> int:
    """Load one program of `members`, which were built from `objects`; returns its descriptor. `arrival` and `mark` are for the
    linker.

    Raises VerifierError that names the line of C, or another KernelError.
    """
    linked = link(members, flavour, arrival, mark)
    try:
        return programs.load(linked.code, TYPES[flavour], name)
    except VerifierError as error:
        from reconciler.compiler import verifier_report

        whole = described(objects, linked.starts)
        report = verifier_report(error.detail, whole)
        raise VerifierError(f"load program {name} ({whole.source}): the verifier refused it", error.errno, report) from None


class Loaded(NamedTuple):
    """Descriptors of a program and of the map of its constants; -1: it has none."""

    program: int
    constants: int

    def close(self) -> None:
        for fd in self:
            if fd >= 0:
                os.close(fd)


def load_cube(compiled: Any, descriptors: Mapping[str, int], constants: bytes, name: str) -> Loaded:
    """Load a cube's own program and make the map of its constants; `descriptors` of its tables by name. Raises as `load`."""
    const = frozen(constants, "const") if constants else -1
    try:
        members, arrival = [member(compiled, {**descriptors, "": const})], descriptors.get("pcn_arrival", -1)
        return Loaded(load(members, [compiled], compiled.flavour, name, arrival=arrival), const)
    except BaseException:
        if const >= 0:
            os.close(const)
        raise


def frozen(raw: bytes, name: str) -> int:
    """A map of one value that never changes: the verifier reads it while it checks a program. Returns its descriptor."""
    fd = maps.create(maps.MapSpec(maps.ARRAY, 4, len(raw), 1, maps.BPF_F_RDONLY_PROG), name)
    maps.update(fd, bytes(4), raw)
    maps.freeze(fd)
    return fd
