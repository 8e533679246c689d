"""pcn stats: what it says is what was sent."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from reconciler.agent import stats
from reconciler.capture.count import counting
from reconciler.cli.main import main
from reconciler.service.registry import Services
from tests.lib import packets
from tests.lib.agent_process import OWNED, ROOT
from tests.lib.commands import wait_until
from tests.lib.lab import Lab


@pytest.fixture
def lab(monkeypatch):
    with Lab(OWNED) as lab:
        monkeypatch.setenv("PCN_BPFFS", lab.root)
        lab.apply()
        yield lab


def port(cubes, name: str):
    return next(port for port in cubes[0].ports if port.name == name)


def test_ports_count_what_their_netdevs_carry_and_cubes_what_they_drop(lab):
    assert lab.ok("h1", "10.0.0.2")
    before = stats.read(lab.root, Services())
    lab.send("h1", *[b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(86)] * 10)
    time.sleep(0.05)
    after = stats.read(lab.root, Services())
    assert port(after, "p1").counters.rx_packets - port(before, "p1").counters.rx_packets == 10
    assert port(after, "p1").counters.rx_bytes - port(before, "p1").counters.rx_bytes == 1000
    assert port(after, "p2").counters.tx_packets - port(before, "p2").counters.tx_packets == 10
    assert after[0].entries["fwdtable"] == before[0].entries["fwdtable"] + 1
    rates = stats.rates(before, after, 2.0)
    assert rates[0]["ports"][0]["rates"]["rx_packets"] == 5.0


def test_drops_are_named_by_their_reason(lab):
    del lab.port("br1", "p2")["peer"]
    lab.apply()
    packets.ping(lab.space("h1"), "10.0.0.2", 1, timeout=0.1)
    assert lab.drops("br1")
    assert {reason.upper(): count for reason, count in stats.read(lab.root, Services())[0].drops.items()} == lab.drops("br1")


def test_the_command_prints_tables_and_json(lab, capsys):
    assert main(["stats"]) == 0
    text = capsys.readouterr().out
    assert "br1  simplebridge (TC)" in text
    assert "rx packets" in text
    assert main(["stats", "br1", "-o", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [p["peer"] for p in said["cubes"][0]["ports"]] == ["v1", "v2"]
    assert main(["stats", "br7"]) == 64


def test_watching_prints_rates_every_second_until_it_is_interrupted(lab):
    process = subprocess.Popen([sys.executable, "-c", "import sys; from reconciler.cli.main import main; sys.exit(main())",
                                "stats", "-w", "-o", "json"], cwd=ROOT, env=os.environ | {"PCN_BPFFS": lab.root},
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    try:
        process.stdout.readline()  # the second that counts begins
        assert packets.ping(lab.space("h1"), "10.0.0.2", 4, interval=0.15) == 4
        line = json.loads(process.stdout.readline())
        assert 3 <= line["cubes"][0]["ports"][0]["rates"]["rx_packets"] <= 10
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_netdev_made_anew_does_not_count_backwards():
    before = [stats.CubeStats("a", "s", "TC", "t", ports=(stats.PortStats("p", "v", stats.NetdevCounters(rx_packets=50)),))]
    after = [stats.CubeStats("a", "s", "TC", "t", ports=(stats.PortStats("p", "v", stats.NetdevCounters(rx_packets=4)),))]
    assert stats.rates(before, after, 1.0)[0]["ports"][0]["rates"]["rx_packets"] == 4.0


BETWEEN = {
    "hosts": {"h1": "10.0.0.1/24", "h2": "10.0.0.2/24"},
    "cubes": [
        {"name": "br1", "service-name": "simplebridge", "ports": [{"name": "p1", "peer": "v1"}, {"name": "on", "peer": "br2:on"}]},
        {"name": "br2", "service-name": "simplebridge", "ports": [{"name": "on", "peer": "br1:on"}, {"name": "p2", "peer": "v2"}]},
    ],
}


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_ports_between_cubes_are_counted_while_somebody_asks(hook):
    with Lab(json.dumps(BETWEEN), hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        options = lab.options
        ports = stats.between(stats.read(lab.root, Services()))
        assert ports == ["br1:on", "br2:on"]
        with counting(options, ports) as counted:
            before = counted()
            lab.send("h1", *[b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(86)] * 10)
            wait_until(lambda: counted()["br1:on"].tx_packets - before["br1:on"].tx_packets == 10)
            after = counted()
            assert after["br2:on"].rx_packets - before["br2:on"].rx_packets == 10
            assert after["br2:on"].rx_bytes - before["br2:on"].rx_bytes == 1000
            assert after["br1:on"].rx_packets == before["br1:on"].rx_packets
            shown = stats.with_counted(stats.read(lab.root, Services()), after)
            assert [cube.name for cube in shown] == ["br1", "br2"]
            ports_of_br1 = {port["name"]: port for port in stats.plain(shown)[0]["ports"]}
            assert ports_of_br1["on"]["tx_packets"] == after["br1:on"].tx_packets
        assert [cube.name for cube in stats.read(lab.root, Services())] == ["br1", "br2"]
        assert not lab.drift()
        assert lab.plan().plan.steps == ()


def test_the_command_counts_between_cubes_and_leaves_nothing():
    with Lab(json.dumps(BETWEEN)) as lab:
        lab.apply()
        process = subprocess.Popen([sys.executable, "-c", "import sys; from reconciler.cli.main import main; sys.exit(main())",
                                    "stats", "--between", "-o", "json"], cwd=ROOT, env=os.environ | {"PCN_BPFFS": lab.root},
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert process.stdout is not None
        try:
            process.stdout.readline()  # the second that counts begins
            assert packets.ping(lab.space("h1"), "10.0.0.2", 4, interval=0.15) == 4
            said = json.loads(process.stdout.readline())["cubes"]
            assert [cube["name"] for cube in said] == ["br1", "br2"]
            on = next(port for port in said[0]["ports"] if port["name"] == "on")
            assert 3 <= on["rates"]["tx_packets"] <= 10
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        wait_until(lambda: len(os.listdir(f"{lab.root}/cubes")) == 2)
        assert lab.plan().plan.steps == ()
