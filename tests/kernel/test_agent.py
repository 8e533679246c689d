"""The agent with real packets: it adopts, it connects, it survives, and it leaves the datapath alone when it dies."""
from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from reconciler.agent import singleton
from reconciler.cli.main import main
from reconciler.document.load import parse
from reconciler.engine.apply import apply
from reconciler.kernel import linkwrite, netlink
from reconciler.model import LinkEnd
from tests.lib import packets
from tests.lib.agent_process import OWNED, ROOT, AgentProcess, Bench
from tests.lib.lab import Lab
from tests.lib.netns_topology import settle

FOREIGN = """
cubes:
  - {name: hw0, service-name: helloworld, action: FORWARD, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
SECOND = 1.0


@pytest.fixture
def bench(tmp_path):
    with Lab(OWNED) as lab:
        yield Bench(lab, tmp_path)


@pytest.fixture
def applied(bench):
    """As `bench`, and the file is applied."""
    bench.save()
    bench.lab.apply()
    return bench


@pytest.fixture
def wires(tmp_path):
    """Two namespaces, but no wire from either of them yet; the cube's ports wait."""
    with Lab(FOREIGN) as lab:
        bench = Bench(lab, tmp_path)
        for host in ("h1", "h2"):
            lab.world.namespace(host)
        bench.save()
        yield bench


def wire(bench: Bench, host: str, mac: str | None = None) -> float:
    """Make a host's veth; the moment at which it was there."""
    lab, space, number = bench.lab, bench.lab.space(host), host[1:]
    lab.world.wire(f"v{number}", "eth0", space, mac=mac)
    netlink.configure(LinkEnd("eth0", space, (f"10.0.0.{number}/24",)))
    netlink.configure(LinkEnd(f"v{number}"))
    settle((f"v{number}", None), ("eth0", space))
    return time.monotonic()


def seconds_to_cross(bench: Bench, since: float) -> float:
    """How long it takes until frames from h1 reach h2: plain frames, since a lost ARP request is repeated after a second."""
    frame = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + b"does it cross?".ljust(46, b".")
    with packets.sniff(bench.lab.space("h2"), "eth0") as seen:
        while time.monotonic() < since + 5:
            packets.send_frames(bench.lab.space("h1"), "eth0", [frame])
            if seen.next(0.01, lambda got: got[12:14] == b"\x88\xb5"):
                return time.monotonic() - since
    return float("inf")


def test_a_watched_file_is_in_the_kernel_as_soon_as_the_agent_is_ready(bench):
    bench.save()
    with bench.agent() as agent:
        agent.until(lambda said: said["healthy"] and said["topologies"] == ["lab"])
        assert bench.lab.ok("h1", "10.0.0.2")
        assert not bench.lab.plan().plan.steps


def test_an_edit_is_applied_and_a_broken_one_changes_nothing_and_is_said_once(applied):
    with applied.agent() as agent:
        applied.lab.cube("br1")["fdb"]["aging-time"] = 77
        applied.save()
        agent.until(lambda said: said["done"]["map_writes"] == 1)
        assert applied.lab.live_cube("br1")["fdb"]["aging-time"] == 77
        good = applied.file.read_text()
        applied.file.write_text(good.replace("aging-time", "ageing-time"))
        agent.until(lambda said: not said["healthy"] and said["files"][0]["state"] == "broken")
        agent.poll()
        agent.poll()
        assert agent.text().count("ageing-time") == agent.status()["problems"][0].count("ageing-time")
        assert applied.lab.live_cube("br1")["fdb"]["aging-time"] == 77
        assert agent.process.poll() is None
        applied.file.write_text(good)
        agent.until(lambda said: said["healthy"])


def test_what_is_applied_already_is_adopted_with_no_loads_and_no_writes(applied):
    with applied.agent() as agent:
        said = agent.status()
        assert said["healthy"]
        assert said["topologies"] == ["lab"]
        assert said["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
        assert agent.stop() == 0
    assert applied.lab.ok("h1", "10.0.0.2")


def test_killed_under_traffic_no_packet_is_lost_and_the_next_agent_adopts_all(applied):
    with applied.agent() as agent, applied.stream() as stream:
        time.sleep(0.2)
        agent.kill()
        time.sleep(0.3)
        with applied.agent() as again:
            assert again.status()["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
            assert again.status()["healthy"]
            time.sleep(0.2)
        stream.close()
        assert stream.lost() == 0
        assert len(stream.arrived) > 300


def test_a_port_is_connected_within_a_second_of_its_netdev_appearing(wires):
    wire(wires, "h1")
    with wires.agent() as agent:
        assert agent.status()["waiting"] == [{"port": "hw0:p2", "netdev": "v2"}]
        assert seconds_to_cross(wires, wire(wires, "h2")) < SECOND
        agent.until(lambda said: said["waiting"] == [])


@pytest.mark.parametrize("mode", [(), ("--no-heal",)])
def test_a_veth_that_is_deleted_and_made_again_is_connected_within_a_second(wires, mode):
    wire(wires, "h1")
    wire(wires, "h2")
    with wires.agent(*mode) as agent:
        agent.until(lambda said: said["healthy"])
        for _ in range(3):
            linkwrite.delete_link("v1")
            assert seconds_to_cross(wires, wire(wires, "h1")) < SECOND


def test_a_file_that_goes_away_leaves_its_topology_unless_it_prunes(applied):
    with applied.agent() as agent:
        applied.file.unlink()
        agent.until(lambda said: not said["files"])
        assert "lab is in no file any more" in agent.text()
        assert applied.lab.ok("h1", "10.0.0.2")
    applied.save()
    with applied.agent("--prune") as agent:
        applied.file.unlink()
        agent.until(lambda said: not said["topologies"])
        assert applied.lab.live() == {}


def test_a_topology_of_no_file_is_left_alone_but_healed(bench):
    bench.lab.apply()
    other = parse(json.dumps({"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "other"},
                              "spec": {"cubes": [{"name": "hw9", "service-name": "helloworld"}]}}), "other.yaml")
    bench.file.write_text(other[0].text)
    with bench.agent("--prune") as agent:
        agent.until(lambda said: said["topologies"] == ["lab", "other"])
        linkwrite.delete_link("v1")
        agent.until(lambda said: said["drift"]["healed"] > 0)
        settle(("v1", None), ("eth0", bench.lab.space("h1")))
        assert bench.lab.ok("h1", "10.0.0.2")
    apply(other, bench.lab.options, delete=True)


def test_an_observing_agent_reports_and_writes_nothing(applied):
    with applied.agent("--observe") as agent:
        applied.lab.cube("br1")["fdb"]["aging-time"] = 99
        applied.save()
        linkwrite.delete_link("v1")
        agent.until(lambda said: bool(said["pending"] and said["drift"]["now"]))
        said = agent.status()
        assert not said["healthy"]
        assert said["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
        assert applied.lab.live_cube("br1")["fdb"]["aging-time"] == 120


def test_a_root_has_one_agent(applied):
    with applied.agent():
        second = applied.agent()
        assert second.process.wait(10) == 75
        assert "an agent looks after" in second.text()


def test_it_ends_on_sigterm_and_takes_its_socket_along(applied):
    with applied.agent() as agent:
        pass
    assert agent.process.returncode == 0
    assert singleton.ask(applied.lab.root) is None
    assert applied.lab.ok("h1", "10.0.0.2")


def test_where_healing_is_off_drift_is_reported_once_and_left(applied):
    with applied.agent("--no-heal") as agent:
        linkwrite.set_link("v1", up=False)
        agent.until(lambda said: said["drift"]["now"] == ["link/:v1"])
        agent.poll()
        assert not agent.status()["healthy"]
        assert agent.text().count("drift: link/:v1") == 1
        applied.lab.cube("br1")["fdb"]["aging-time"] = 77
        applied.save()  # a file is applied all the same, and all of it
        agent.until(lambda said: said["healthy"])
        assert not applied.lab.drift()


def test_an_apply_on_trial_is_not_taken_back_by_the_agent(applied, tmp_path):
    applied.lab.cube("br1")["fdb"]["aging-time"] = 500
    trial = tmp_path / "trial.yaml"
    trial.write_text(json.dumps(applied.lab.document().data))
    with applied.agent() as agent:
        command = [sys.executable, "-c", "import sys; from reconciler.cli.main import main; sys.exit(main())",
                   "apply", "--try", "1.5", "--bpffs", applied.lab.root, str(trial)]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        agent.until(lambda said: bool(said["pending"] or said["looks"]) and applied.lab.live_cube("br1")["fdb"]["aging-time"] == 500)
        time.sleep(0.8)
        assert applied.lab.live_cube("br1")["fdb"]["aging-time"] == 500
        process.wait(10)
        agent.until(lambda said: said["healthy"] and applied.lab.live_cube("br1")["fdb"]["aging-time"] == 120)


def test_systemd_is_told_of_readiness_and_gets_signs_of_life(applied, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with AgentProcess(applied.lab.root, applied.log, str(applied.directory), env=env):
            words = [systemd.recv(200).decode() for _ in range(5)]
    assert "READY=1" in words
    assert "STATUS=in sync: 1 topology, 1 files watched" in words
    assert words.count("WATCHDOG=1") >= 2


def test_an_idle_agent_has_none_of_the_heavy_libraries(applied):
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    with AgentProcess(applied.lab.root, applied.log, str(applied.directory), env=env) as agent:
        agent.poll()
        imported = {line.rsplit("|", 1)[-1].strip() for line in agent.text().splitlines() if line.startswith("import time:")}
        assert "reconciler.agent.main" in imported
        assert imported.isdisjoint({"bcc", "networkx", "pyroute2", "jsonschema", "prometheus_client"})
        assert agent.memory() < 40_000


def test_the_status_is_for_people_and_for_programs_and_its_exit_code_says_how_it_is(applied, capsys, monkeypatch):
    monkeypatch.setenv("PCN_BPFFS", applied.lab.root)
    assert main(["agent", "status"]) == 1
    assert "no agent of" in capsys.readouterr().err
    with applied.agent() as agent:
        agent.process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(singleton.ask, "__defaults__", (0.1,))
        assert main(["agent", "status"]) == 1
        assert "too busy to answer" in capsys.readouterr().err
        agent.process.send_signal(signal.SIGCONT)
        monkeypatch.undo()
        monkeypatch.setenv("PCN_BPFFS", applied.lab.root)
        assert main(["agent", "status"]) == 0
        assert f"healthy: agent {agent.process.pid} of {applied.lab.root}" in capsys.readouterr().out
        applied.file.write_text("spec: [")
        agent.until(lambda said: not said["healthy"])
        assert main(["agent", "status", "-o", "json"]) == 1
        said = json.loads(capsys.readouterr().out)
        assert said["files"][0]["state"] == "broken"
        assert said["topologies"] == ["lab"]
