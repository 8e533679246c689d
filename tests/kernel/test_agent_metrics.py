"""The metrics: true numbers, names by Prometheus's conventions, and read by a real Prometheus."""
from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from reconciler.agent import declared_metrics, metrics, stats
from reconciler.agent.declared_metrics import declared_by
from reconciler.kernel import linkwrite
from reconciler.service.registry import Services
from tests.lib import packets
from tests.lib.agent_process import OWNED, Bench
from tests.lib.lab import Lab
from tests.lib.prometheus import Prometheus

ADDRESS = "127.0.0.1:9477"  # of the lab's own network namespace
UNITS = ("seconds", "bytes", "total", "info", "objects", "changes", "ports", "files", "packets", "entries", "healthy", "fds", "cubes")
SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$', re.MULTILINE)


@pytest.fixture
def bench(tmp_path):
    with Lab(OWNED) as lab:
        linkwrite.set_link("lo", up=True)
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        yield bench


def scrape(path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{ADDRESS}{path}", timeout=5) as answer:
        assert answer.status == 200
        return answer.read().decode()


def value(text: str, name: str, **labels: str) -> float:
    found = [float(number) for sample, said, number in SAMPLE.findall(text)
             if sample == name and dict(re.findall(r'(\w+)="([^"]*)"', said)) == labels]  # fmt: skip
    assert len(found) == 1, f"{name} {labels}: {found}"
    return found[0]


def test_the_numbers_are_those_of_the_kernel_and_of_the_agent(bench):
    with bench.agent("--metrics", ADDRESS) as agent:
        before = value(scrape(), "pcn_port_packets_total", cube="br1", port="p1", direction="rx")
        assert packets.ping(bench.lab.space("h1"), "10.0.0.2", 5) == 5
        linkwrite.set_link("v2", up=False)
        agent.until(lambda said: said["drift"]["healed"] > 0)
        text = scrape()
        assert 5 <= value(text, "pcn_port_packets_total", cube="br1", port="p1", direction="rx") - before <= 8
        assert value(text, "pcn_reconcile_total", result="healed") == 1
        assert value(text, "pcn_reconcile_duration_seconds_count") == 1
        assert value(text, "pcn_drift_objects") == 0
        assert value(text, "pcn_pending_changes") == 0
        assert value(text, "pcn_healthy") == 1
        assert value(text, "pcn_cube_drops_total", cube="br1", reason="policy") == bench.lab.drops("br1").get("POLICY", 0)
        # What was learned behind v2 went with its carrier; whether its host has spoken since is its own affair.
        assert value(text, "pcn_cube_table_entries", cube="br1", table="fwdtable") in (1, 2)
        assert abs(value(text, "pcn_last_success_timestamp_seconds") - time.time()) < 2


def test_names_keep_to_the_conventions(bench):
    """What promtool check metrics looks for, and it itself where it is installed."""
    with bench.agent("--metrics", ADDRESS):
        text = scrape()
    declared = {metric.name for found in declared_by(Services(), ["simplebridge"]).values() for metric in found}  # Polycube's names
    text = "".join(line for line in text.splitlines(keepends=True) if not declared & set(re.split(r"[ {]", line)))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name for name in kinds if re.fullmatch(r"pcn_[a-z0-9_]+|process_[a-z_]+", name) is None} == set()
    assert {name for name, kind in kinds.items() if (kind == "counter") != name.endswith("_total")} == set()
    assert {name for name in kinds if not name.endswith(UNITS)} == set()
    assert set(kinds) == set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_what_is_left_out_is_a_metric(bench):
    services = bench.lab.options.services
    said = {"fwdtable": declared_metrics.MOST_ROWS + 1}
    for rows, count in (({}, 0), (said, 1)):
        cubes = [replace(cube, entries=rows) for cube in stats.read(bench.lab.root, services)]
        assert declared_metrics.left_out(services, cubes) == count
        assert bool(declared_metrics.shown(bench.lab.root, services, cubes)) == (not count)
    with bench.agent("--metrics", ADDRESS):
        assert value(scrape(), "pcn_left_out_cubes") == 0


def test_a_real_prometheus_scrapes_it(bench, tmp_path):
    with bench.agent("--metrics", ADDRESS), Prometheus(tmp_path, ADDRESS) as prometheus:
        assert packets.ping(bench.lab.space("h1"), "10.0.0.2", 3) == 3
        assert prometheus.ask("up{job='pcn'}") == 1
        assert prometheus.ask("pcn_healthy") == 1
        assert prometheus.ask("sum(pcn_port_packets_total{cube='br1',direction='rx'})") >= 6


def test_somebody_who_says_nothing_or_nonsense_does_not_hold_it_up(bench):
    with bench.agent("--metrics", ADDRESS) as agent:
        silent = [socket.create_connection(("127.0.0.1", 9477)) for _ in range(5)]
        nonsense = socket.create_connection(("127.0.0.1", 9477))
        nonsense.sendall(b"x" * 20000)
        assert "pcn_healthy 1.0" in scrape()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            scrape("/other")
        assert agent.status()["healthy"]
        for sock in (*silent, nonsense):
            sock.close()


@pytest.mark.parametrize("address", ["0.0.0.0:9477", "9477", "example.org:80", "127.0.0.1:99999"])
def test_metrics_are_served_to_this_host_only(bench, address):
    agent = bench.agent("--metrics", address)
    assert agent.process.wait(10) == 64
    assert "loopback" in agent.text()


def test_who_asks_without_end_has_the_page_made_for_a_small_share_of_the_time():
    budget, now, made = metrics.Budget(0.2, 0.05), 1000.0, 0
    for _ in range(100_000):  # for ten seconds, and each page takes 4 ms
        now += 0.0001
        if budget.allows(now):
            budget.spend(0.004)
            made += 1
    assert made == pytest.approx((0.2 + 10 * 0.05) / 0.004, abs=2)
    now += 60
    assert budget.allows(now)
