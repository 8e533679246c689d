"""What is read back says all that was applied: for every service, `show` applied again is nothing to do, whatever of the netdevs
is there."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.check import check
from reconciler.document import Document
from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, plan_for
from reconciler.errors import CompileError, DocumentError, PcnError
from reconciler.kernel import netns
from reconciler.present.show import show
from reconciler.service.registry import Services
from tests.unit.data.generated import like

SERVICES = Services()
THERE, ABSENT = ["there0", "there1", "there2"], ["absent0", "absent1", "absent2"]
TRANSPARENT = [name for name in SERVICES.names() if SERVICES.get(name).kind == "transparent"]


def topology(spec: dict[str, Any]) -> Document:
    data = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "read-back"}, "spec": spec}
    return parse(json.dumps(data), "read-back.json")[0]


def shown(root: str) -> list[Document]:
    return [parse(json.dumps(each), "shown.json")[0] for each in show(Options(root=root))]


@st.composite
def specs(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A cube of a service with any configuration, its netdevs there or not, and transparent cubes on its ports and beside it."""
    service = SERVICES.get(name)
    hook = draw(st.sampled_from(["TC", "XDP_SKB"]))
    netdevs = draw(st.permutations([*THERE, *ABSENT]))
    schema = {**service.schema, "properties": {leaf: part for leaf, part in service.schema["properties"].items()
                                               if leaf not in ("ports", "type", "name", "service-name")}}  # fmt: skip
    schema["required"] = [leaf for leaf in schema.get("required", ()) if leaf in schema["properties"]]
    cube = {**draw(like(schema, odd=False)), "name": "cube", "service-name": name, "type": hook}
    spec: dict[str, Any] = {"cubes": [cube]}
    others = [{"name": f"t{n}", "service-name": draw(st.sampled_from(TRANSPARENT)), "type": hook} for n in range(3)]
    for other in others:
        if other["service-name"] == "firewall":
            other.update(draw(st.sampled_from([{}, {"conntrack": "OFF", "accept-established": "OFF"}])))
    if service.kind == "standard":
        cube["ports"] = [{"name": port} for port in ("p", "q", "a")]
        for port in cube["ports"]:
            if draw(st.booleans()):
                port["peer"] = netdevs.pop()
        cube["ports"][0]["tcubes"] = draw(st.permutations(["t0", "t1"]))
        spec["cubes"] += others[:2]
    else:
        spec["attachments"] = [{"netdev": netdevs.pop(), "tcubes": draw(st.permutations(["cube", "t0", "t1"]))}]
        spec["cubes"] += others[:2]
    if draw(st.booleans()):
        spec["cubes"].append(others[2])
        spec.setdefault("attachments", []).append({"netdev": netdevs.pop(), "tcubes": ["t2"]})
    return spec


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(SERVICES.names()))
def test_whatever_is_applied_is_shown_such_that_applying_it_again_is_nothing_to_do(name: str, own_root: str) -> None:
    with netns.throwaway():
        for netdev in THERE:
            subprocess.run(["ip", "link", "add", netdev, "type", "veth", "peer", "name", f"{netdev}p"], check=True)

        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
        @given(specs(name))
        def holds(spec: dict[str, Any]) -> None:
            document = topology(spec)
            try:
                check([document], SERVICES)
                apply([document], Options(root=own_root))
            except (CompileError, DocumentError):
                return  # as generated, it fits its schema, but not what else is asked of it: a filter and C are any text
            for _ in range(2):
                again = shown(own_root)
                assert [step.address for step in plan_for(again, Options(root=own_root)).plan.steps] == []
                assert again[0].data["spec"].get("attachments", []) == sorted(
                    spec.get("attachments", []), key=lambda each: each["netdev"]
                )
                apply(again, Options(root=own_root))

        try:
            holds()
        finally:
            try:
                apply([topology({})], Options(root=own_root), delete=True)
            except PcnError:
                apply([], Options(root=own_root, drop=frozenset({"read-back"})), delete=True)


@pytest.mark.parametrize("hook", ["TC", "XDP_SKB"])
def test_what_protects_a_netdev_that_is_away_protects_it_when_it_comes_after_show_and_apply(own_root: str, hook: str) -> None:
    """The way of a host that is saved with `show` while a netdev is away, and set up again from that."""
    spec = {
        "cubes": [
            {"name": "br", "service-name": "simplebridge", "type": hook, "ports": [{"name": "p", "peer": "absent0", "tcubes": ["f"]}]},
            {"name": "f", "service-name": "firewall", "type": hook},
            {"name": "g", "service-name": "transparenthelloworld", "type": hook},
            {"name": "h", "service-name": "ddosmitigator", "type": hook},
        ],
        "attachments": [{"netdev": "absent1", "tcubes": ["h", "g"]}],
    }
    options = Options(root=own_root)
    with netns.throwaway():
        apply([topology(spec)], options)
        saved = shown(own_root)
        apply([topology({})], options, delete=True)
        apply(saved, options)
        (document,) = show(options)
        assert document["spec"]["attachments"] == spec["attachments"]
        assert next(cube for cube in document["spec"]["cubes"] if cube["name"] == "br")["ports"] == spec["cubes"][0]["ports"]
        for netdev in ("absent0", "absent1"):
            subprocess.run(["ip", "link", "add", netdev, "type", "veth", "peer", "name", f"{netdev}p"], check=True)
        apply(saved, options)
        (document,) = show(options)
        assert document["spec"]["attachments"] == spec["attachments"]
        assert not plan_for(saved, options).plan.steps
        for netdev in ("absent0", "absent1"):
            subprocess.run(["ip", "link", "delete", netdev], check=True)
        apply(saved, options)
        assert show(options)[0]["spec"]["attachments"] == spec["attachments"]
        apply([topology({})], options, delete=True)


@pytest.mark.parametrize("hook", ["TC", "XDP_SKB"])
@pytest.mark.parametrize("away", [("delete", "there0"), ("set", "there0", "netns", "elsewhere")])
def test_a_netdev_that_went_away_with_its_cubes_is_still_shown_with_them(own_root: str, hook: str, away: tuple[str, ...]) -> None:
    """Before anybody has applied anything again: `show` saves what protected it, also beside pairs that nobody named."""
    spec = {
        "cubes": [
            {"name": "br", "service-name": "simplebridge", "type": hook, "ports": [{"name": "p", "peer": "there1", "tcubes": ["f"]}]},
            {"name": "f", "service-name": "firewall", "type": hook},
            {"name": "g", "service-name": "firewall", "type": hook},
            {"name": "h", "service-name": "ddosmitigator", "type": hook},
        ],
        "attachments": [{"netdev": "there0", "tcubes": ["h", "g"]}],
    }
    options = Options(root=own_root)
    with netns.throwaway():
        for netdev in ("there0", "there1"):
            subprocess.run(["ip", "link", "add", netdev, "type", "veth", "peer", "name", f"{netdev}p"], check=True)
        apply([topology(spec)], options)
        before = show(options)
        wait = ["unshare", "--net", "sh", "-c", "echo; read _"]
        with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
            assert elsewhere.stdout is not None
            assert elsewhere.stdout.readline()
            subprocess.run(["ip", "link", *(str(elsewhere.pid) if word == "elsewhere" else word for word in away)], check=True)
            assert show(options) == before
            subprocess.run(["ip", "link", "delete", "there1"], check=True)
            assert show(options) == before
            apply(shown(own_root), options)
            assert show(options) == before
        apply([topology({})], options, delete=True)
