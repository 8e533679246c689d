"""Polycube's own test of its metrics (tests/test_prometheus_metrics.sh): the nine lines, at the agent's endpoint and at the API's."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.kernel import linkwrite
from tests.lib.agent_process import AgentProcess
from tests.lib.lab import Lab

pytestmark = pytest.mark.kernel
EXPECTED = """\
ddos_stats_pkts_packets{cubeName="d1"} 0.000000
ddos_stats_pkts_packets{cubeName="d1"} 0.000000
ddos_blacklist_src_addresses{cubeName="d1"} 4.000000
ddos_blacklist_dst_addresses{cubeName="d1"} 0.000000
router_ip_ports{cubeName="r1"} 2.000000
router_secondaryip_ports{cubeName="r1"} 3.000000
router_ports{cubeName="r1"} 2.000000
router_route_routes{cubeName="r1"} 2.000000
router_arp_table_entries{cubeName="r1"} 0.000000
""".splitlines()
SCENARIO = """
hosts: {}
cubes:
  - {name: d1, service-name: ddosmitigator, blacklist-src: [{ip: 10.0.0.1}, {ip: 10.1.1.2}, {ip: 10.1.1.3}, {ip: 10.1.1.4}]}
  - name: r1
    service-name: router
    ports:
      - {name: p1, ip: 10.1.1.1/24, secondaryip: [{ip: 10.1.1.10/24}, {ip: 10.1.1.11/24}, {ip: 10.1.1.12/24}]}
      - {name: p2, ip: 10.1.2.1/24}
"""
ADDRESS = "127.0.0.1:9478"  # of the lab's own network namespace

URL = f"http://{ADDRESS}/metrics"


def test_the_nine_lines_of_polycube_s_own_test_and_the_same_by_prometheus_conventions(tmp_path: Path) -> None:
    with Lab(SCENARIO) as lab:
        linkwrite.set_link("lo", up=True)
        lab.apply()
        with AgentProcess(lab.root, tmp_path / "log", "--metrics", ADDRESS), urllib.request.urlopen(URL, timeout=10) as answer:
            text = answer.read().decode()
    lines = text.splitlines()
    assert [line for line in EXPECTED if line not in lines] == []
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {sample.labels["cube"]: sample.value for sample in families["pcn_router_ports"].samples} == {"r1": 2}
    assert families["pcn_ddos_stats_pkts_packets"].samples[0].name == "pcn_ddos_stats_pkts_packets_total"
    assert families["router_ports"].type == "gauge"
    assert families["router_ports"].documentation == "Number of ports on the router"


def test_a_gauge_follows_the_configuration() -> None:
    from reconciler.agent.declared_metrics import as_polycube, samples, shown
    from reconciler.agent.stats import read

    with Lab(SCENARIO) as lab:
        lab.apply()
        lab.cube("d1")["blacklist-src"].pop()
        lab.apply()
        services = lab.options.services
        text = as_polycube(samples(services, shown(lab.root, services, read(lab.root, services))))
    assert 'ddos_blacklist_src_addresses{cubeName="d1"} 3.000000' in text.splitlines()
