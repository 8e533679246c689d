"""What compilers and verifiers of all kinds must be able to do with the C: see verifier.yaml."""
from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.check import check
from reconciler.compiler import available, compile_units, stack_of
from reconciler.document.load import load
from reconciler.engine.builder import Builder, units_of
from reconciler.live.verify import verify
from reconciler.service.registry import Services

FIGURES: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "verifier.yaml").read_text("utf-8"))
KERNEL = ".".join(platform.release().split(".")[:2])
pytestmark = pytest.mark.kernel


WITH_SHADOW = Path(__file__).parents[2] / "examples" / "how-to" / "linux-tools.yaml"
OWN_SOURCES = {"router with a shadow": ("router", WITH_SHADOW)}
"""Programs whose C is not the service's, but of cubes that are configured so."""


def programs_of(service: str) -> list[Any]:
    if service not in OWN_SOURCES:
        return compile_units(units_of(Services())[service])
    name, file = OWN_SOURCES[service]
    builder = Builder(Services())
    topologies, _ = check(load([str(file)]), Services())
    built = builder.ensure({key for key in builder.keys_of(topologies) if key.service == name})
    return [program for each in built.values() for program in each.objects.values()]


def test_every_service_has_figures() -> None:
    assert set(FIGURES["stack"]) == set(FIGURES["instructions"]) == {*units_of(Services()), *OWN_SOURCES}


@pytest.mark.parametrize("service", FIGURES["stack"])
def test_a_service_uses_no_more_stack(service: str) -> None:
    most = max((stack_of(program.insns), program.source) for program in programs_of(service))
    allowed = FIGURES["stack"][service].get(available(), max(FIGURES["stack"][service].values()))
    assert most[0] <= allowed, f"{most[1]} uses {most[0]} bytes, and {allowed} were the most; if it is meant, change verifier.yaml"


@pytest.mark.parametrize("service", FIGURES["instructions"])
def test_the_verifier_takes_every_program_of_a_service_and_has_no_more_to_do(service: str) -> None:
    verdicts = list(verify(programs_of(service)))
    assert [verdict.refusal for verdict in verdicts if verdict.refusal] == []
    most = max((verdict.instructions, verdict.program.source) for verdict in verdicts)
    allowed = FIGURES["instructions"][service].get(KERNEL, max(FIGURES["instructions"][service].values()))
    assert most[0] <= allowed, f"the verifier walks through {most[0]} instructions of {most[1]}, and {allowed} were the most; see verifier.yaml"
