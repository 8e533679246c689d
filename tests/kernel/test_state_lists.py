"""A list of state that has a table: the programs fill it, it is shown, and it is never configuration."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import DocumentError, KernelError
from reconciler.plan.steps import Rank, Step
from reconciler.service.registry import Services
from schemas.generate.__main__ import main
from tests.lib.lab import HOOKS, Lab

YANG = """module meter { yang-version 1.1; namespace "http://example.org/meter"; prefix "m";
  import polycube-base { prefix "base"; } import polycube-pcn { prefix "pcn"; } import pcn-yang-types { prefix "yang"; }
  import polycube-standard-base { prefix "std"; }
  base:service-name "meter"; pcn:ingress "meter.c";
  uses std:standard-base-yang-module;
  list rule {
    key "id"; pcn:table "rules";
    leaf id { type uint32; pcn:key "rule"; }
    leaf rate { type uint32; default 1; pcn:value "rate"; }
    leaf packets { type uint64; config false; pcn:value "packets"; }
    list burst {
      config false; key "number"; pcn:table "bursts";
      leaf number { type uint32; pcn:key "number"; }
      leaf packets { type uint64; pcn:value ""; }
    }
  }
  container totals { config false; pcn:table "totals"; leaf all { type uint64; pcn:value ""; } }
  list station {
    config false; key "id mac"; pcn:table "stations"; OWNED
    leaf id { type uint32; pcn:key "rule"; }
    leaf mac { type yang:mac-address; pcn:key "mac"; }
    leaf port { type string; pcn:ref "port"; pcn:value "port"; }
    container seen { leaf packets { type uint64; pcn:value "packets"; } }
  }
}
"""
C = """
struct rule_key { u32 rule; };
struct rule { u32 rate; u32 unused; u64 packets; };
struct key { u32 rule; u8 mac[6]; u8 unused[2]; };
struct station { u64 packets; u32 port; u32 unused; };
struct burst_key { u32 rule; u32 number; };
BPF_TABLE("hash", struct rule_key, struct rule, rules, 64);
BPF_TABLE("hash", struct key, struct station, stations, 1024);
BPF_TABLE("hash", struct burst_key, u64, bursts, 64);
BPF_TABLE("array", u32, u64, totals, 1);
static __always_inline void count(u32 id, struct key *from, u32 port) {
  struct rule_key which = {.rule = id};
  struct rule *rule = rules.lookup(&which);
  struct burst_key first = {.rule = id};
  struct station fresh = {.packets = 1, .port = port};
  u64 one = 1;
  if (!rule)
    return;
  __sync_fetch_and_add(&rule->packets, 1);
  from->rule = id;
  struct station *known = stations.lookup(from);
  if (known)
    __sync_fetch_and_add(&known->packets, 1);
  else
    stations.update(from, &fresh);
  bursts.update(&first, &one);
}
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct key from = {};
  u32 zero = 0;
  u64 *all = totals.lookup(&zero);
  if (all)
    __sync_fetch_and_add(all, 1);
  if (pcn_load_bytes(ctx, 6, from.mac, 6) < 0)
    return RX_DROP;
  count(1, &from, md->in_port);
  count(2, &from, md->in_port);
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
}
"""
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - name: c
    service-name: meter
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]
    rule: [{id: 1, rate: 5}, {id: 2, rate: 7}]
"""
FRAME = bytes.fromhex("02000000000202000000000188b5") + bytes(50)
Make = Callable[..., Lab]


def metered(directory: Path, yang: str = YANG.replace("OWNED", "")) -> Services:
    """The service from its model and its C, as somebody would write it."""
    directory.mkdir(exist_ok=True)
    (directory / "meter.yang").write_text(yang)
    (directory / "meter.c").write_text(C)
    assert main(["--services", str(directory)]) == 0
    return Services([directory])


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(hook: str = "TC", **named: Any) -> Lab:
            lab = stack.enter_context(Lab(SCENARIO, hook=hook))
            lab.options.services = metered(tmp_path / "services", **named)
            lab.apply()
            return lab

        yield make


def stations(lab: Lab) -> set[tuple[int, str, str, int]]:
    found = lab.live_cube("c", state=True).get("station", ())
    return {(each["id"], each["mac"], each["port"], each["seen"]["packets"]) for each in found if each["mac"].startswith("02:00:00:00:00")}


def send(lab: Lab, packets: int = 3) -> None:
    with lab.sniff("h2") as there:
        lab.send("h1", *[FRAME] * packets)
        assert len(there.all(0.3, lambda each: each[12:14] == b"\x88\xb5")) == packets


@pytest.mark.parametrize("hook", HOOKS)
def test_rows_that_the_programs_write_are_shown_and_no_apply_or_drift_minds_them(made: Make, hook: str) -> None:
    lab = made(hook)
    send(lab)
    learned = {(1, "02:00:00:00:00:01", "p1", 3), (2, "02:00:00:00:00:01", "p1", 3)}
    assert stations(lab) == learned
    shown = lab.live_cube("c", state=True)
    assert [[burst["number"] for burst in rule["burst"]] for rule in shown["rule"]] == [[0], [0]]
    assert shown["totals"]["all"] >= 3
    assert (lab.drift(), lab.plan().plan.steps, lab.apply().plan.steps) == ([], (), ())
    assert {"station", "totals"} & set(lab.live_cube("c")) == set()
    assert stations(lab) == learned
    lab.cube("c")["rule"][0]["rate"] = 6  # an edit of what is configuration leaves them too
    assert len(lab.apply().plan.steps) == 2
    assert stations(lab) == learned


def test_a_row_of_state_makes_no_entry_of_the_list_in_which_it_stands(made: Make) -> None:
    lab = made()
    send(lab)
    lab.cube("c")["rule"] = [{"id": 1, "rate": 5}]
    lab.apply()
    assert [rule["id"] for rule in lab.live_cube("c", state=True)["rule"]] == [1]


OWNED = YANG.replace("OWNED", 'pcn:owned-by "rule";')


def test_rows_that_a_configured_row_owns_go_with_it_and_no_others(made: Make) -> None:
    lab = made(yang=OWNED)
    send(lab)
    both = {(1, "02:00:00:00:00:01", "p1", 3), (2, "02:00:00:00:00:01", "p1", 3)}
    assert stations(lab) == both
    lab.cube("c")["rule"][0]["rate"] = 6
    lab.apply()
    assert stations(lab) == both  # it is another rate of the same rule
    del lab.cube("c")["rule"][1]
    plan = lab.apply().plan
    assert [(step.action, step.reason) for step in plan.steps if step.operation.kind == "purge_rows"] == [
        ("forget", "owned by rows of rules that go")]
    assert stations(lab) == {(1, "02:00:00:00:00:01", "p1", 3)}
    assert (lab.drift(), lab.plan().plan.steps) == ([], ())


def test_an_apply_that_fails_leaves_the_rows_that_would_have_gone(made: Make) -> None:
    lab = made(yang=OWNED)
    send(lab)
    kept = stations(lab)
    del lab.cube("c")["rule"][1]
    real = lab.options.before

    def fail(number: int, step: Step) -> None:
        if step.rank == Rank.DOCUMENT:
            raise KernelError("set the document", 12, "out of memory")

    lab.options.before = fail
    with pytest.raises(KernelError):
        lab.apply()
    lab.options.before = real
    assert stations(lab) == kept
    assert [rule["id"] for rule in lab.live_cube("c")["rule"]] == [1, 2]


def test_fields_that_do_not_fit_their_owners_are_refused(made: Make, tmp_path: Path) -> None:
    lab = made(yang=OWNED)
    wrong = tmp_path / "wrong"
    services, right = metered(wrong, OWNED), lab.options.services
    (wrong / "meter.c").write_text(C.replace("u32 rule; u8 mac[6]; u8 unused[2];", "u16 rule; u8 mac[6]; u32 unused;"))
    lab.options.services = services
    with pytest.raises(DocumentError, match="rows of 'stations' name their owner in 2 bytes"):
        lab.plan()
    lab.options.services = right


@pytest.mark.parametrize(("old", "new", "said"), [
    ('pcn:value "packets"; }\n    list', 'pcn:value "bytes"; }\n    list', "leaf 'packets', table 'rules': the model names field 'bytes'"),
    ('container seen { leaf packets { type uint64; pcn:value "packets"', 'container seen { leaf packets { type uint64; pcn:value "bytes"',
     "leaf 'seen/packets', table 'stations': the model names field 'bytes', the C struct has packets, port, unused"),
    ('pcn:key "mac"', 'pcn:key "address"', "leaf 'mac', table 'stations': the model names field 'address', the C struct has rule, mac"),
])
def test_a_leaf_of_state_whose_field_the_c_lacks_is_refused_where_the_cube_is_written(
    made: Make, tmp_path: Path, old: str, new: str, said: str
) -> None:
    lab = made()
    assert old in YANG
    right, lab.options.services = lab.options.services, metered(tmp_path / "wrong", YANG.replace("OWNED", "").replace(old, new))
    with pytest.raises(DocumentError) as refused:
        lab.plan()
    lab.options.services = right
    (problem,) = refused.value.problems
    assert said in problem.message
    assert problem.where is not None


def test_rows_of_state_that_name_a_port_go_with_it(made: Make) -> None:
    lab = made()
    send(lab)
    lab.send("h2", FRAME[6:12] + bytes.fromhex("020000000003") + FRAME[12:])
    assert {port for _, _, port, _ in stations(lab)} == {"p1", "p2"}
    lab.cube("c")["ports"][0]["peer"] = "elsewhere"
    lab.apply()
    assert {port for _, _, port, _ in stations(lab)} == {"p2"}
