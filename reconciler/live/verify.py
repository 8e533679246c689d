"""Compiled programs shown to this kernel's verifier, each alone, and dropped: what an apply would meet.

Every constant is as demanding as it can be: what a configuration can switch on is on, and there is room for the most ports. So
what is taken here has every branch that any cube of the service can have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reconciler import pins
from reconciler.errors import VerifierError
from reconciler.graph.cube_part import pack_constants
from reconciler.graph.tables import merged, types_of, used_tables
from reconciler.kernel import maps, programs
from reconciler.link.chain import link
from reconciler.live.link_inputs import member
from reconciler.live.load import TYPES, frozen, load_cube


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verifier's result for a program: the number of instructions that it processed; or its refusal."""

    program: Any
    instructions: int = 0
    refusal: str = ""


def verify(compiled: Sequence[Any]) -> Iterator[Verdict]:
    """A verdict on each of the programs, which are all of one service and compiler. Leaves nothing behind.

    Raises KernelError if one could not be tried.
    """
    for flavour in TYPES:  # a table of programs holds those of one type only
        programs_of = [each for each in compiled if each.flavour == flavour]
        with _tables(programs_of) as descriptors:
            for each in programs_of:
                yield _verdict(each, descriptors)


def demanding(compiled: Any) -> bytes:
    """Constants with which no branch of a program can be omitted: everything is on, logged, and of the largest size."""
    hops = compiled.tables.get("pcn_hops")
    ports = 128 if hops is None or hops.max_entries <= 2 * pins.AFTER_EGRESS else 384
    return pack_constants(compiled, dict.fromkeys(compiled.constants, 1) | {"LOGLEVEL": 0, "PORTS": ports})


def _verdict(compiled: Any, descriptors: Mapping[str, int]) -> Verdict:
    constants, name = demanding(compiled), compiled.source.removesuffix(".c")
    const = frozen(constants, "const") if constants else -1
    try:
        alone = link([member(compiled, {**descriptors, "": const})], compiled.flavour, descriptors.get("pcn_arrival", -1))
        return Verdict(compiled, programs.verify(alone.code, TYPES[compiled.flavour], name))
    except VerifierError:
        try:
            load_cube(compiled, descriptors, constants, name).close()  # for the words that an apply would have for it
        except VerifierError as error:
            return Verdict(compiled, refusal=str(error))
        raise
    finally:
        if const >= 0:
            os.close(const)


@contextmanager
def _tables(compiled: Sequence[Any]) -> Iterator[dict[str, int]]:
    """The tables of a service's programs, empty, by name. One that only another service declares is as its user has it."""
    used = {name for each in compiled for name in used_tables(each)}
    descriptors: dict[str, int] = {}
    try:
        for name, table in merged(compiled).items():
            if name in used:
                shape = maps.MapSpec(table.type, table.key_size, table.value_size, table.max_entries, table.flags)
                if table.extern:
                    shape = maps.MapSpec(maps.HASH, table.key_size, table.value_size, 1)
                descriptors[name] = maps.create(shape, name, types_of(table))
        yield descriptors
    finally:
        for fd in descriptors.values():
            os.close(fd)
