"""A service's own actions: what its code answers is done to the tables of state, under the lock and as one transaction."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.main import main as pcn
from reconciler.service.registry import Services
from schemas.generate.__main__ import main
from tests.lib.lab import Lab

YANG = """module door { yang-version 1.1; namespace "http://example.org/door"; prefix "t";
  import polycube-base { prefix "base"; } import polycube-pcn { prefix "pcn"; }
  import polycube-standard-base { prefix "std"; } import ietf-inet-types { prefix "inet"; }
  base:service-name "door"; pcn:ingress "door.c";
  uses std:standard-base-yang-module;
  leaf limit { type uint32; default 2; pcn:const "LIMIT"; }
  list banned { key "src"; pcn:table "banned"; leaf src { type inet:ipv4-address; pcn:key ""; } }
  list seen {
    config false; key "src"; pcn:table "seen";
    leaf src { type inet:ipv4-address; pcn:key ""; }
    leaf packets { type uint64; pcn:value ""; }
  }
  rpc count { input { leaf src { type inet:ipv4-address; mandatory true; } leaf packets { type uint64; default 0; } }
                 output { leaf before { type uint64; } leaf known { type uint32; } leaf limit { type uint32; } } }
  rpc forget { input { leaf-list src { type inet:ipv4-address; } } output { leaf forgotten { type uint32; } } }
  rpc spoil { input { leaf what { type string; mandatory true; } } }
}
"""
C = """
BPF_TABLE("hash", u32, u8, banned, 64);
BPF_TABLE("hash", u32, u64, seen, 64);
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip = (void *)(eth + 1);
  if ((void *)(ip + 1) > end || eth->h_proto != htons(0x0800))
    return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
  u32 src = ip->saddr;
  u64 one = 1, *count = seen.lookup(&src);
  if (count)
    __sync_fetch_and_add(count, 1);
  else
    seen.update(&src, &one);
  if (banned.lookup(&src) || PCN_CONST(LIMIT) == 0)
    return RX_DROP;
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
}
"""
HALF = """
import struct
from ipaddress import IPv4Address
from reconciler.service.sdk import ActionCall, ActionDone

def actions(call: ActionCall) -> ActionDone:
    if call.name == "count":
        key = IPv4Address(call.input["src"]).packed
        before = next((entry["packets"] for entry in call.state.get("seen", ()) if entry["src"] == call.input["src"]), 0)
        said = {"before": before, "known": len(call.env.live["seen"]), "limit": call.config["limit"]}
        return ActionDone(said, {"seen": {key: struct.pack("<Q", call.input["packets"])}})
    if call.name == "spoil" and call.input["what"] == "all":
        raise RuntimeError("spoilt")
    if call.name == "forget":
        rows = {IPv4Address(src).packed: None for src in call.input["src"]}
        return ActionDone({"forgotten": len(rows.keys() & call.env.live["seen"].keys())}, {"seen": rows})
    table, key, value = {"config": ("banned", bytes(4), b"\\1"), "short": ("seen", bytes(3), bytes(8)),
                         "unknown": ("nothing", bytes(4), bytes(8))}[call.input["what"]]
    return ActionDone({}, {"seen": {bytes(4): bytes(8)}, table: {key: value}})
"""
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes: [{name: d, service-name: door, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}]
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "door.yang").write_text(YANG)
    (tmp_path / "door.c").write_text(C)
    (tmp_path / "door.py").write_text(HALF)
    assert main(["--services", str(tmp_path)]) == 0
    with Lab(SCENARIO) as lab:
        lab.options.services = Services([tmp_path])
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        yield lab


def act(lab: Lab, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    services = str(lab.options.services.directories[0])
    code = pcn(["action", "d", *words, "-o", "json", "--bpffs", lab.root, "--services", services])
    out, err = capsys.readouterr()
    return code, out + err


def packets(lab: Lab) -> dict[str, int]:
    return {entry["src"]: entry["packets"] for entry in lab.live_cube("d", state=True).get("seen", [])}


def test_an_action_is_given_input_configuration_and_state_and_sets_rows_of_state(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    before = packets(lab)
    code, said = act(lab, capsys, "count", "src=10.0.0.1", "packets=77")
    assert code == 0, said
    assert json.loads(said)["output"] == {"before": before["10.0.0.1"], "known": len(before), "limit": 2}
    assert packets(lab) == before | {"10.0.0.1": 77}
    assert not lab.drift()


def test_defaults_of_the_input_are_filled_in(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(lab, capsys, "count", "src=10.0.0.9")[0] == 0
    assert packets(lab)["10.0.0.9"] == 0


def test_rows_are_deleted_and_what_is_not_there_is_no_error(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = act(lab, capsys, "forget", 'src=["10.0.0.1", "10.9.9.9"]')
    assert code == 0, said
    assert json.loads(said)["output"] == {"forgotten": 1}
    assert packets(lab).keys() == {"10.0.0.2"}


def test_actions_are_listed_with_what_they_take_and_their_output_is_as_in_a_file(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    services = str(lab.options.services.directories[0])
    assert pcn(["action", "d", "--bpffs", lab.root, "--services", services]) == 0
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["count src=… [packets=…]", "forget [src=…]", "spoil what=…"]
    assert pcn(["explain", "door.forget", "--services", services]) == 64
    assert "pcn action CUBE forget" in capsys.readouterr().err


def test_a_cube_whose_service_is_not_here_is_not_said_to_be_missing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert pcn(["action", "d", "count", "src=10.0.0.1", "--bpffs", lab.root]) == 64
    assert "service 'door' is not here (--services DIR)" in capsys.readouterr().err


def test_a_mistake_in_the_services_code_is_said_to_be_its_and_where_it_is(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = act(lab, capsys, "spoil", "what=all")
    assert code == 1
    assert "spoil of d: the service's code failed: RuntimeError: spoilt (door.py, line 13)" in said
    (tmp_path / "door.py").write_text("df actions(call):\n")
    assert pcn(["show", "--bpffs", lab.root, "--services", str(tmp_path)]) == 1
    assert "service door: its Python half cannot be loaded: SyntaxError: invalid syntax (door.py, line 1)" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    (("count",), 'input of count: required key \\"src\\" is missing'),
    (("count", "src=10.0.0.300"), "input of count: src: "),
    (("count", "src=10"), 'src: \\"10\\" is not valid'),
    (("count", "src=10.0.0.1", "packet=1"), 'unknown key \\"packet\\"; did you mean \\"packets\\"?'),
    (("count", "src"), "write LEAF=VALUE"),
    (("spoil", "what=config"), "which is configuration"),
    (("spoil", "what=short"), "does not fit its key and value"),
    (("spoil", "what=unknown"), "none of its tables"),
    (("cuont", "src=10.0.0.1"), "did you mean"),
])  # fmt: skip
def test_what_is_refused_changes_nothing(
    lab: Lab, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    before = packets(lab)
    code, out = act(lab, capsys, *words)
    assert code == 64
    assert said in out
    assert packets(lab) == before
