"""dynmon and synflood over Polycube's own API, as its scripts use them: a cube at a netdev, its code or nothing, and what it counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite
from tests.lib.api_process import ApiProcess
from tests.lib.lab import Lab
from tests.lib.packets import ping

pytestmark = pytest.mark.kernel
HOSTS = "hosts: {h1: {addresses: [10.0.0.1/24], here: {addresses: [10.0.0.2/24]}}}"
PINGS = 5
COUNTER = """
BPF_ARRAY(PKT_COUNTER, uint64_t, 1);
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  unsigned int key = 0;
  uint64_t *packets = PKT_COUNTER.lookup(&key);
  if (packets)
    __sync_fetch_and_add(packets, 1);
  return RX_OK;
}
"""
METRIC = {
    "name": "packets_total", "map-name": "PKT_COUNTER", "extraction-options": {"empty-on-read": False, "swap-on-read": False},
    "open-metrics-metadata": {"help": "This metric represents the number of packets that has traveled trough this probe.", "type": "counter", "labels": []},
}  # fmt: skip
INJECTED = {"ingress-path": {"name": "Packets counter probe", "code": COUNTER, "metric-configs": [METRIC]}}


@pytest.fixture
def host() -> Iterator[Lab]:
    with Lab(HOSTS) as lab:
        lab.apply()
        linkwrite.set_link("lo", up=True)
        yield lab


@pytest.fixture
def api(host: Lab, tmp_path: Path) -> Iterator[ApiProcess]:
    with ApiProcess(host.root, tmp_path) as process:
        yield process
    assert host.pcn("delete", "rest") == 0


def pinged(host: Lab) -> None:
    assert ping(host.space("h1"), "10.0.0.2", PINGS)


def test_a_probe_is_injected_and_counts_every_packet(host: Lab, api: ApiProcess) -> None:
    assert api("POST", "/dynmon/dm/", "{}").status == 201
    assert api("POST", "/attach/", json.dumps({"cube": "dm", "port": "v1"})).status == 200
    pinged(host)
    assert api("PUT", "/dynmon/dm/dataplane-config/", json.dumps(INJECTED)).status in (200, 201, 204)
    pinged(host)
    (metric,) = api.get("/dynmon/dm/metrics/ingress-metrics/")
    assert metric["name"] == "packets_total"
    assert PINGS <= json.loads(metric["value"])[0] < 3 * PINGS
    assert f"packets_total{{}} {json.loads(metric['value'])[0]}" in api.get("/dynmon/dm/open-metrics/")
    assert api("DELETE", "/dynmon/dm/dataplane-config/").status in (200, 204)
    pinged(host)
    assert api.get("/dynmon/dm/metrics/").get("ingress-metrics", []) == []
    assert api("POST", "/detach/", json.dumps({"cube": "dm", "port": "v1"})).status == 200
    assert api("DELETE", "/dynmon/dm/").status == 204
    pinged(host)


def test_synflood_says_how_the_host_s_tcp_does_and_lets_packets_pass(host: Lab, api: ApiProcess) -> None:
    assert api("POST", "/synflood/sf/", "{}").status == 201
    assert api("POST", "/attach/", json.dumps({"cube": "sf", "port": "v1"})).status == 200
    pinged(host)
    stats = api.get("/synflood/sf/stats/")
    assert stats.keys() >= {"tcpattemptfails", "tcpoutrsts", "deliverratio", "responseratio", "lastupdate"}
    assert int(stats["tcpattemptfails"]) >= 0
    assert api("POST", "/detach/", json.dumps({"cube": "sf", "port": "v1"})).status == 200
    assert api("DELETE", "/synflood/sf/").status == 204
    pinged(host)
