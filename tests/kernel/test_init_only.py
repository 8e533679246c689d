"""A change of an init-only leaf replaces the cube, or the list entry, that it belongs to; explain and the plan say the same of it."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler.plan.steps import Disruption, Rank
from reconciler.present.explain import explain
from reconciler.service.registry import Services
from schemas.generate.__main__ import main
from tests.lib.lab import Lab

YANG = """module toy { yang-version 1.1; namespace "http://example.org/toy"; prefix "t";
  import polycube-base { prefix "base"; } import polycube-pcn { prefix "pcn"; }
  import polycube-standard-base { prefix "std"; }
  base:service-name "toy"; pcn:ingress "toy.c";
  uses std:standard-base-yang-module;
  container hashing { leaf seed { type uint32; default 1; pcn:const "SEED"; base:init-only-config; } }
  list rule {
    key "id"; pcn:table "rules";
    leaf id { type uint32; pcn:key ""; }
    leaf burst { type uint32; pcn:value "burst"; base:init-only-config; }
    leaf rate { type uint32; pcn:value "rate"; }
    leaf packets { type uint64; config false; pcn:value "packets"; }
  }
}
"""
C = """
struct rule { u32 burst; u32 rate; u64 packets; };
BPF_TABLE("hash", u32, struct rule, rules, 64);
static __always_inline void count(u32 id) {
  struct rule *rule = rules.lookup(&id);
  if (rule)
    __sync_fetch_and_add(&rule->packets, 1);
}
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  count(PCN_CONST(SEED) ? 1 : 3);
  count(2);
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
}
"""
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - name: c
    service-name: toy
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]
    rule: [{id: 1, burst: 5, rate: 1}, {id: 2, burst: 7, rate: 1}]
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "toy.yang").write_text(YANG)
    (tmp_path / "toy.c").write_text(C)
    assert main(["--services", str(tmp_path)]) == 0
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(SCENARIO))
        lab.options.services = Services([tmp_path])
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        yield lab


def counted(lab: Lab) -> dict[int, bool]:
    """Which rules have counted anything."""
    return {rule["id"]: rule["packets"] > 0 for rule in lab.live_cube("c", state=True)["rule"]}


def test_the_entry_is_replaced_and_the_others_are_not(lab: Lab) -> None:
    assert counted(lab) == {1: True, 2: True}
    lab.cube("c")["rule"][0]["burst"] = 6
    before = [(step.action, step.disruption) for step in lab.plan().plan.steps if step.rank == Rank.ROWS]
    assert before == [("replace", Disruption.STATE_RESET)]
    lab.cube("c")["ports"] = [{"name": "p1"}, {"name": "p2"}]  # no packet comes afterwards, which would be counted
    lab.apply()
    assert counted(lab) == {1: False, 2: True}
    lab.cube("c")["rule"][1]["rate"] = 9  # this one is not init-only
    plan = lab.apply().plan
    assert ([step.action for step in plan.steps if step.rank == Rank.ROWS], plan.disruption) == (["write"], Disruption.NONE)
    assert (counted(lab), lab.drift()) == ({1: False, 2: True}, [])
    assert explain("toy.rule.burst", lab.options.services)["cost"] == [
        "The entry is replaced: one map write; what it learned and counted is lost."]


def test_the_cube_is_replaced_and_goes_on_forwarding(lab: Lab) -> None:
    lab.cube("c")["hashing"] = {"seed": 2}
    plan = lab.apply().plan
    [step] = [step for step in plan.steps if step.action == "replace" and step.rank == Rank.RENAME_ASIDE]
    assert (step.disruption, plan.disruption) == (Disruption.STATE_RESET, Disruption.STATE_RESET)
    assert step.reason == 'toy (TC) {"hashing/seed": 1} becomes toy (TC) {"hashing/seed": 2}'
    assert lab.ok("h1", "10.0.0.2")
    assert (lab.drift(), lab.plan().plan.steps, lab.live_cube("c")["hashing"]) == ([], (), {"seed": 2})
    assert explain("toy.hashing.seed", lab.options.services)["cost"] == [
        "The cube is made anew, and works in the old form until it is ready; what it learned and counted is lost."]
