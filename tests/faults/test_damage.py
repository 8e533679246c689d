"""Damage from outside: drift names what was damaged, the next apply heals it, traffic flows again, and what was learned or
counted is kept wherever it was not itself what was damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import pins
from reconciler.engine.apply import drift
from tests.faults import damages, damages_network
from tests.faults.damaged import (
    BARRED,
    Rig,
    lose,
    number,
    rig,
    write,
)
from tests.faults.damages import Damage, a_hook_is_detached, a_row_is_changed
from tests.faults.damages_network import an_address_is_removed
from tests.faults.damages_xdp import ON_ROUTED, ON_XDP

pytestmark = pytest.mark.timeout(300)  # some of these heal every pin that there is

ON_TC = [*damages.ALL, *damages_network.ALL]


def heals(r: Rig, named: str, *, loses: bool = False) -> list[str]:
    """What is wrong with how this damage is told and healed."""
    drifted = [change.address for change in r.drift()]
    parts = named.replace("*", "\0").split("\0")
    told = any(address.startswith(parts[0]) and address.endswith(parts[-1]) for address in drifted)
    wrong = [] if drifted and told else [f"drift names {drifted} instead of {named}"]
    r.heal()
    wrong += [f"lost {what}" for what in ([] if loses else r.lost())]
    seen = r.bench.plan(r.data)
    wrong += [f"{step.action} {step.address} is still to be done" for step in seen.plan.steps]
    wrong += [f"{change.address} still drifts" for change in (*seen.session.drift, *drift(r.bench.options(kept=r.kept)))]
    wrong += [f"{pair} do not talk" for pair in r.silent()]
    return wrong


@pytest.mark.parametrize("damage", ON_TC, ids=lambda damage: damage.__name__)
def test_damage_to_a_tc_graph_is_named_and_healed(own_root: str, damage: Damage) -> None:
    with rig(own_root, "TC") as r:
        assert heals(r, damage(r)) == []


@pytest.mark.parametrize("damage", ON_XDP, ids=lambda damage: damage.__name__)
def test_damage_to_an_xdp_graph_is_named_and_healed(own_root: str, damage: Damage) -> None:
    with rig(own_root, "XDP") as r:
        assert heals(r, damage(r)) == []


@pytest.mark.parametrize("damage", ON_ROUTED, ids=lambda damage: damage.__name__)
def test_damage_to_a_cube_of_several_programs_is_named_and_healed(own_root: str, damage: Damage) -> None:
    with rig(own_root, "routed") as r:
        assert heals(r, damage(r)) == []


@pytest.mark.parametrize("family", ["TC", "XDP", "routed"])
def test_every_pin_can_be_lost(own_root: str, family: str) -> None:
    """One after the other, each is missed and put back; and nothing that was learned or counted goes with it."""
    wrong = []
    with rig(own_root, family) as r:
        before = {_plain(path) for path in r.bench.paths()}
        for path in sorted(_pins(r)):
            lose(_now(r, path))
            wrong += [f"{path}: {each}" for each in heals(r, _owner(r, path))]
            after = {_plain(path) for path in r.bench.paths()}
            wrong += [f"{path}: now there is no {missing}" for missing in before - after]
            wrong += [f"{path}: now there is also {more}" for more in after - before]
    assert not wrong, "\n".join(wrong[:30])


def _pins(r: Rig) -> list[str]:
    """All but the compiled objects (a cache, which the next apply fills) and what says the format and keeps older code away."""
    apart = ("built/", pins.FORMAT_PIN, pins.KEEP_OUT)
    found = (path.removeprefix(f"{r.root}/") for path in r.bench.paths() if os.path.islink(path) or not os.path.isdir(path))
    return [path for path in found if not path.startswith(apart)]


def _now(r: Rig, path: str) -> str:
    """The path, in the generation that is in force by now."""
    parts = path.split("/")
    if len(parts) > 2 and parts[2][0] == "g" and parts[2][1:].isdigit():
        parts[2] = os.readlink(f"{r.root}/cubes/{parts[1]}/current")
    return f"{r.root}/{'/'.join(parts)}"


def _plain(path: str) -> str:
    """Without the generation's number."""
    return "/".join("g*" if part[0:1] == "g" and part[1:].isdigit() else part for part in path.split("/"))


def _owner(r: Rig, path: str) -> str:
    """What drift is to name when a pin is gone: what it belongs to."""
    top, name, *rest = path.split("/")
    if top == "cubes":
        return f"stub/{path}" if rest[-2:-1] in (["in"], ["out"], ["slow"]) else f"cube/{name}*"
    if top == "links":
        return f"hook/{name}/{rest[0]}"
    return {"namespaces": f"namespace/{name}", "topologies": "*", "shared": f"shared/{name}"}[top]


@pytest.mark.parametrize("damage", [a_row_is_changed, a_hook_is_detached, an_address_is_removed], ids=lambda damage: damage.__name__)
def test_the_command_says_so_by_its_exit_code_and_names_it(own_root: str, damage: Damage) -> None:
    with rig(own_root, "TC") as r:
        assert _command("drift", "--bpffs", own_root)[0] == 0
        address = damage(r)
        code, said = _command("drift", "--bpffs", own_root, "-o", "json")
        assert code == 3
        first, _, last = address.partition("*")
        named = [entry["address"] for entry in json.loads(said)["drift"]]
        assert any(found.startswith(first) and found.endswith(last) for found in named), named
        r.heal()
        assert _command("drift", "--bpffs", own_root)[0] == 0


def _command(*arguments: str) -> tuple[int, str]:
    argv = [str(Path(sys.executable).parent / "pcn"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


def test_frozen_constants_cannot_be_changed(own_root: str) -> None:
    with rig(own_root, "TC") as r, pytest.raises(PermissionError):
        write(r.path("cubes/guard/g1/ingress_0_const"), number(0), bytes(64))


def test_what_is_healed_stays_healed_while_another_topology_is_applied(own_root: str) -> None:
    """An apply of something else heals too: what a topology holds is all of it, or the apply says so."""
    with rig(own_root, "TC") as r:
        a_row_is_changed(r)
        other = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "other"},
                 "spec": {"cubes": [{"name": f"{r.tag}-more", "service-name": "transparenthelloworld"}]}}  # fmt: skip
        r.bench.apply(other)
        assert r.drift() == []
        assert r.lost() == []
        assert BARRED in str(r.data)
        r.bench.delete(other)
