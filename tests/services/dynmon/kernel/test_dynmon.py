"""The user's programs in the kernel: they run, are exported, replaced and refused."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from reconciler.errors import ApplyFailed, CompileError, DocumentError, VerifierError
from reconciler.kernel import linkwrite
from tests.lib.agent_process import Bench
from tests.lib.lab import HOOKS, Counts, Lab, own_counts
from tests.lib.prometheus import Prometheus
from tests.lib.services import rx
from tests.upgrade.traffic import Traffic, udp

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: sw, service-name: simplebridge, ports: [{name: p1, peer: v1, tcubes: [dm]}, {name: p2, peer: v2}]}
  - {name: dm, service-name: dynmon}
"""
# By EtherType, in a table that any number of CPUs may write to; by protocol, with a struct as key; and the longest frame.
COUNTERS = rx(
    """
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip = data + sizeof(*eth);
  u32 zero = 0, *longest = LONGEST.lookup(&zero);
  u64 one = 1, *count = ALL.lookup(&zero);
  if (count)
    *count += 1;
  if (longest && *longest < md->packet_len)
    *longest = md->packet_len;
  if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
    return RX_OK;
  struct flow flow = {.proto = ip->protocol, .dst = ip->daddr};
  count = FLOWS.lookup_or_try_init(&flow, &zero_count);
  if (count)
    __sync_fetch_and_add(count, 1);
  return RX_OK;
""".replace("&zero_count", "&(u64){0}"),
    """
struct flow {
  u32 dst;
  uint8_t proto;
};
BPF_PERCPU_ARRAY(ALL, uint64_t, 1);
BPF_TABLE("hash", struct flow, u64, FLOWS, 1024);
BPF_ARRAY(LONGEST, u32, 2);
""",
)
METADATA = {"help": "Packets.", "type": "counter", "labels": [{"name": "where", "value": "here"}]}


def metric(name: str, table: str, **options: bool) -> dict[str, Any]:
    return {"name": name, "map-name": table, "open-metrics-metadata": METADATA, "extraction-options": options}


@pytest.fixture(params=["TC"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(SCENARIO, hook=request.param) as found:
        yield found


def configure(lab: Lab, code: str, *metrics: dict[str, Any], egress: str = "") -> None:
    paths = {"ingress-path": {"name": "a probe", "code": code, "metric-configs": list(metrics)}}
    lab.cube("dm")["dataplane-config"] = paths | ({"egress-path": {"code": egress} if egress else {}})


def values(lab: Lab) -> dict[str, Any]:
    found = lab.live_cube("dm", state=True).get("metrics", {})
    return {each["name"]: json.loads(each["value"]) for each in found.get("ingress-metrics", ())}


def read(lab: Lab, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert lab.pcn("action", "dm", "read-metrics", "-o", "json") == 0
    output = json.loads(capsys.readouterr().out)["output"]
    return {each["name"]: json.loads(each["value"]) for each in output.get("ingress-metrics", ())}


@pytest.mark.parametrize("lab", HOOKS, indirect=True)
def test_what_the_program_counts_is_shown_and_is_no_drift(lab: Lab) -> None:
    configure(lab, COUNTERS, metric("packets_total", "ALL"), metric("flows", "FLOWS"), metric("longest", "LONGEST"), egress=COUNTERS)
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    found = values(lab)
    assert found["packets_total"][0] > 0
    assert {row["key"]["proto"] for row in found["flows"]} == {1}
    assert len(found["longest"]) == 2
    assert found["longest"][0] >= 74
    text = lab.live_cube("dm", state=True)["open-metrics"]
    assert f'packets_total{{where="here"}} {values(lab)["packets_total"][0]}\n' in text
    assert '# TYPE packets_total counter\n' in text
    assert 'proto="1",where="here"}' in text
    assert 'longest{index="1",where="here"} 0\n' in text
    assert not lab.drift()
    assert lab.plan().plan.steps == ()
    assert lab.live_cube("dm")["dataplane-config"]["ingress-path"]["code"] == COUNTERS


def test_the_metrics_of_the_text_are_what_prometheus_reads(lab: Lab) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    said = {**METADATA, "help": 'a \\ and\na "b"', "labels": [{"name": "proto", "value": 'q"\\\n'}]}
    configure(lab, COUNTERS, {**metric("packets_total", "ALL"), "open-metrics-metadata": said},
              {**metric("flows", "FLOWS"), "open-metrics-metadata": {**said, "type": "Gauge"}})  # fmt: skip
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    families = list(text_string_to_metric_families(lab.live_cube("dm", state=True)["open-metrics"]))
    assert [(family.name, family.type, family.documentation) for family in families] == [
        ("packets", "counter", said["help"]), ("flows", "gauge", said["help"])]  # fmt: skip
    assert {sample.labels["proto"] for family in families for sample in family.samples} == {'q"\\\n'}
    assert {sample.labels.get("proto_") for sample in families[1].samples} == {"1"}


def test_the_agent_exports_them_with_the_cube_s_name(lab: Lab) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from reconciler.agent import stats
    from reconciler.agent.declared_metrics import exposed, shown

    untotalled = {**metric("longest", "LONGEST"), "open-metrics-metadata": {**METADATA, "type": "Gauge"}}
    configure(lab, COUNTERS, metric("packets_total", "ALL"), metric("flows", "FLOWS"), untotalled)
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    services = lab.options.services

    class Page:
        def collect(self) -> Iterator[Any]:
            yield from exposed(services, shown(lab.root, services, stats.read(lab.root, services)))

    registry = CollectorRegistry()
    registry.register(Page())
    text = generate_latest(registry).decode()
    assert f'packets_total{{cube="dm",where="here"}} {values(lab)["packets_total"][0]}.0\n' in text
    assert re.search(r'^flows_total\{cube="dm",dst="\d+",proto="1",where="here"\} \d+\.0$', text, re.MULTILINE)
    assert 'longest{cube="dm",index="1",where="here"} 0.0' in text


def test_samples_that_are_too_many_are_counted(lab: Lab) -> None:
    configure(lab, COUNTERS.replace("(LONGEST, u32, 2)", "(LONGEST, u32, 10003)"), metric("packets_total", "ALL"), metric("longest", "LONGEST"))
    lab.apply()
    text = lab.live_cube("dm", state=True)["open-metrics"]
    assert text.count("\nlongest{") == 10_000
    assert [line for line in text.splitlines() if line.startswith("dynmon_left")] == ['dynmon_left_out_samples{metric="longest",table="LONGEST"} 3']


def test_a_real_prometheus_reads_them(lab: Lab, tmp_path: Path) -> None:
    linkwrite.set_link("lo", up=True)
    configure(lab, COUNTERS, metric("packets_total", "ALL"), metric("flows", "FLOWS"))
    bench = Bench(lab, tmp_path)
    bench.save()
    lab.apply()
    with bench.agent("--metrics", "127.0.0.1:9477"), Prometheus(tmp_path, "127.0.0.1:9477") as prometheus:
        assert lab.ok("h1", "10.0.0.2", 3)
        assert (prometheus.ask("packets_total{cube='dm',where='here'} >= 3") or 0) >= 3
        assert (prometheus.ask("sum(flows_total{cube='dm',proto='1'}) >= 3") or 0) >= 3
        assert prometheus.ask("pcn_left_out_cubes") == 0


def test_other_code_takes_the_place_of_what_runs_without_loss_and_keeps_its_tables(lab: Lab) -> None:
    configure(lab, COUNTERS, metric("packets_total", "ALL"))
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    seen, before = values(lab)["packets_total"][0], lab.loaded("sw")
    flows = Traffic([udp(lab.space("h1"), lab.space("h2"), "10.0.0.2")])
    try:
        flows.start()
        configure(lab, COUNTERS.replace("*count += 1", "*count += 1000"), metric("packets_total", "ALL"))
        result = lab.apply()
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()
    assert str(result.plan.disruption) == "none"
    assert own_counts(result) == Counts(program_loads=1)
    assert lab.loaded("sw") == before
    assert values(lab)["packets_total"][0] >= seen + 1000


def test_a_read_empties_what_says_so_and_a_look_does_not(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"empty-on-read": True}
    configure(lab, COUNTERS, metric("all", "ALL", **options), metric("flows", "FLOWS", **options), metric("longest", "LONGEST"))
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    looked = values(lab)
    assert values(lab) == looked
    assert read(lab, capsys) == looked
    assert values(lab) == {"all": [0], "flows": [], "longest": looked["longest"]}


@pytest.mark.parametrize("lab", ["TC", "XDP_SKB"], indirect=True)
def test_a_swapped_table_loses_no_count_while_packets_pass(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    swapped = {"swap-on-read": True}
    configure(lab, COUNTERS, metric("flows", "FLOWS", **swapped), metric("all", "ALL", **swapped), metric("longest", "LONGEST"))
    lab.apply()
    assert not lab.drift()
    total, reads = 0, 0
    done = threading.Event()
    frame = bytes(Ether(dst="02:00:00:00:00:09") / IP(src="10.0.0.1", dst="10.0.0.2") / UDP())
    packets = 2000

    def send() -> None:
        for _ in range(packets // 50):
            lab.send("h1", *[frame] * 50)
            time.sleep(0.02)
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    while not done.is_set() or reads % 2 or reads < 4:
        total += sum(row["value"] for row in read(lab, capsys)["flows"] if row["key"]["proto"] == 17)
        reads += 1
    sender.join()
    total += sum(row["value"] for row in read(lab, capsys)["flows"] if row["key"]["proto"] == 17)
    assert total == packets
    assert values(lab)["flows"] == []
    assert not lab.drift()
    assert lab.plan().plan.steps == ()


@pytest.mark.parametrize(("code", "line", "words"), [
    ("return nonsense;", 13, "use of undeclared identifier"), ("return *(u8 *)(long)ctx->data;", 13, "invalid access to packet"),
    ("for (;;)\n  md->reason++;", 13, "infinite loop"),
])  # fmt: skip
def test_code_that_cannot_run_is_refused_with_its_line_in_the_document(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, line: int, words: str
) -> None:
    configure(lab, COUNTERS)
    lab.apply()
    before = lab.loaded("dm")
    file = tmp_path / "t.yaml"
    body = rx(code).strip().replace("\n", "\n            ")
    file.write_text(f"""apiVersion: polycube.network/v1
kind: Topology
metadata: {{name: lab}}
spec:
  # one
  # two
  cubes:
    - name: dm
      service-name: dynmon
      dataplane-config:
        ingress-path:
          code: |
            {body}
""".replace("        ingress-path:\n          code", "        ingress-path: # three\n          code"))
    capsys.readouterr()
    assert lab.pcn("apply", str(file)) == 1
    said = capsys.readouterr().err
    assert f"{file}:{line + 1}:1: " in said
    assert words in said
    assert lab.loaded("dm") == before


@pytest.mark.parametrize(("metrics", "words"), [
    ([metric("x", "NONE")], "the code has no table NONE"), ([metric("x", "dynmon_turn")], "not the user's"),
    ([metric("x", "ALL", **{"swap-on-read": True}), metric("y", "ALL")], "has another swap-on-read"),
    ([metric("x y", "ALL")], "a metric's name has letters"), ([metric("x", "Q")], "cannot be looked at"),
    ([metric("x", "SHARED")], "is shared"),
])  # fmt: skip
def test_metrics_that_cannot_be_are_errors_of_the_document(lab: Lab, metrics: list[Any], words: str) -> None:
    tables = 'BPF_QUEUE(Q, u64, 4);\nBPF_TABLE_SHARED("array", u32, u64, SHARED, 1, "dynmon_test");\n'
    more = "  u64 seen = 1;\n  u32 none = 0;\n  Q.push(&seen, 0);\n  SHARED.lookup(&none);\n"
    configure(lab, tables + COUNTERS.replace("  void *data", more + "  void *data", 1), *metrics)
    with pytest.raises(DocumentError, match=words):
        lab.apply()


def test_a_queue_may_be_there(lab: Lab) -> None:
    configure(lab, "BPF_QUEUE(Q, u64, 4);\n" + rx("u64 seen = 1;\nQ.push(&seen, 0);\nreturn RX_OK;"))
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    assert lab.live(state=True)
    assert lab.plan().plan.steps == ()


@pytest.mark.parametrize("code", ['#include "/etc/shadow"\n', "#include </etc/shadow>\n", '#include "../router/router.h"\n'])
def test_files_of_others_are_out_of_reach(lab: Lab, code: str) -> None:
    configure(lab, code + COUNTERS)
    with pytest.raises((CompileError, ApplyFailed, VerifierError)) as caught:
        lab.apply()
    assert "root:" not in str(caught.value)
