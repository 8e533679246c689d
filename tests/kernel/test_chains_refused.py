"""What the verifier takes cube by cube but not as one program: the cubes go on by hops, and pcn says so."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib.frames import H1, H2, ethernet
from tests.lib.lab import Lab
from tests.lib.services import Tree, rx

# The verifier walks through each round of a loop and gives up after a million instructions: such a cube takes more than half of them.
ROUNDS, EACH = 1_000, 520
BACK = "return pcn_pkt_redirect(ctx, md, {});"
COSTLY = f'u64 spent = 0;\nfor (u32 round = 0; round < {ROUNDS}; round++)\n  asm volatile("{"%0 += 1;" * EACH}" : "+r"(spent));\n'
NOTE = "c1, c2 go by hops, for the verifier refused them as one program"


@pytest.mark.parametrize("hook", ["TC", pytest.param("XDP_DRV", marks=pytest.mark.exhaustive)])
def test_cubes_that_are_too_much_for_the_verifier_together_go_by_hops_until_they_are_not_and_pcn_says_so(tmp_path: Path, hook: str) -> None:
    """A packet that comes to c1 goes to c2, which sends it back."""
    services = Tree(tmp_path / "services")
    services.add("there", [rx(COSTLY + BACK.format("md->in_port ? 0 : 1"))])
    services.add("back", [rx(BACK.format("md->in_port"))])
    cubes = [
        {"name": "c1", "service-name": "there", "ports": [{"name": "a", "peer": "v1"}, {"name": "b", "peer": "c2:a"}]},
        {"name": "c2", "service-name": "back", "ports": [{"name": "a", "peer": "c1:b"}]},
    ]

    with Lab(json.dumps({"hosts": {"h1": "10.0.0.1/24"}, "cubes": cubes}), hook=hook) as lab:

        def applied() -> list[str]:
            lab.options.services = services.load()
            warnings = lab.apply().warnings
            assert lab.run("cubes/c1/in/0_a", ethernet(H1, H2)) == "redirect"
            seen = lab.plan()
            assert (seen.plan.steps, lab.drift()) == ((), [])
            assert (NOTE in seen.plan.notes) == bool(warnings)
            return [str(warning) for warning in warnings]

        assert applied() == []
        services.add("back", [rx(COSTLY + BACK.format("md->in_port"))])
        (said,) = applied()
        assert said.startswith(f"{NOTE}:\n")
        assert "BPF program is too large" in said
        services.add("back", [rx(BACK.format("md->in_port"))])
        assert applied() == []
