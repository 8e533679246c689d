"""The unit under a real systemd: at boot, after a reboot, and when the agent hangs. Skipped where there is no systemd to boot."""
from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.lib import residue
from tests.lib.agent_process import ROOT
from tests.lib.systemd_container import Container, missing

pytestmark = pytest.mark.slow
UNIT = "pcn-agent.service"
WORLD = {
    "apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "world"},
    "spec": {
        "namespaces": ["h1", "h2"],
        "links": [{"name": f"v{n}", "kind": "veth", "peer": {"name": "eth0", "netns": f"h{n}", "addresses": [f"10.0.0.{n}/24"]}}
                  for n in (1, 2)],
        "cubes": [{"name": "br1", "service-name": "simplebridge", "ports": [{"name": "p1", "peer": "v1"}, {"name": "p2", "peer": "v2"}]}],
    },
}  # fmt: skip
FAST = "[Service]\nWatchdogSec=2\n"  # the unit's 30 are for machines that are busy; here it shall not take so long
NETWORK = """
[Unit]
DefaultDependencies=no
Wants=network-pre.target
After=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
"""  # stands for what brings up a network, which begins like this


@pytest.fixture
def machine(compiled_programs):
    if lacking := missing():
        pytest.skip(f"a systemd to boot needs {lacking}")
    store = Path("/run") / f"machine-{residue.prefix(0)}"  # a tmpfs: an overlay's upper directory cannot be on an overlay
    with Container(store, {compiled_programs: "/var/cache/pcn", ROOT: str(ROOT)}) as machine:
        enabled = "etc/systemd/system/multi-user.target.wants"
        for name, text in {UNIT: (ROOT / "packaging/systemd" / UNIT).read_text(), "network.service": NETWORK}.items():
            machine.write(f"etc/systemd/system/{name}", text)
            machine.link(f"{enabled}/{name}", f"../{name}")
        machine.write(f"etc/systemd/system/{UNIT}.d/fast.conf", FAST)
        machine.write("etc/pcn/world.json", json.dumps(WORLD))
        for name in ("pcn", "pcn-agent"):
            machine.link(f"usr/bin/{name}", str(ROOT / "bin" / name))
        yield machine


def said(machine: Container, *names: str) -> dict[str, str]:
    """Properties of the unit."""
    lines = machine.run("systemctl", "show", UNIT, *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def when(machine: Container, unit: str) -> int:
    """Microseconds of the machine's clock at which a unit became active."""
    return int(machine.run("systemctl", "show", unit, "--property=ActiveEnterTimestampMonotonic", "--value"))


def log_of(machine: Container, unit: str) -> str:
    """Of this boot."""
    return machine.run("journalctl", "--unit", unit, "--boot", "--no-pager", "--output=cat")


def crosses(machine: Container) -> bool:
    return "1 received" in machine.run("ip", "netns", "exec", "h1", "ping", "-c1", "-W2", "10.0.0.2", check=False)


def wait_until(condition, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_at_boot_the_agent_is_ready_before_the_network_comes_up_and_after_a_reboot_all_is_there_again(machine):
    for _ in range(2):
        assert machine.boot() == "running"
        assert said(machine, "ActiveState", "NRestarts", "StatusText") == {
            "ActiveState": "active", "NRestarts": "0", "StatusText": "in sync: 1 topology, 1 files watched"}  # fmt: skip
        assert 0 < when(machine, UNIT) <= when(machine, "network-pre.target") <= when(machine, "network.service")
        assert "ready: in sync" in log_of(machine, UNIT)
        assert crosses(machine)
        machine.power_off()


def test_a_hanging_agent_is_replaced_and_neither_that_nor_a_stop_is_noticed_by_a_packet(machine):
    machine.boot()
    assert crosses(machine)
    machine.run("systemd-run", "--unit=pinging", "ip", "netns", "exec", "h1", "ping", "-q", "-i", "0.02", "10.0.0.2")
    machine.run("systemctl", "kill", "--signal=SIGSTOP", UNIT)
    wait_until(lambda: said(machine, "NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"})
    assert json.loads(machine.run("pcn", "agent", "status", "-o", "json"))["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
    machine.run("systemctl", "reload", UNIT)
    wait_until(lambda: "SIGHUP" in log_of(machine, UNIT))
    machine.run("systemctl", "stop", UNIT)
    time.sleep(0.5)
    machine.run("systemctl", "kill", "--signal=SIGINT", "pinging")
    wait_until(lambda: "packet loss" in log_of(machine, "pinging"))
    assert " 0% packet loss" in log_of(machine, "pinging")


def test_the_unit_has_the_capabilities_it_names_and_compiles_and_makes_namespaces_with_them(machine):
    machine.boot()
    status = machine.run("sh", "-c", "cat /proc/$(systemctl show pcn-agent --property=MainPID --value)/status")
    held = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    assert held == sum(1 << number for number in (39, 12, 38, 21, 13, 8, 18, 2))
    assert "Seccomp:\t2" in status
    machine.run("systemctl", "set-environment", "PCN_CACHE=/run/none-yet")  # so that it compiles
    machine.run("pcn", "delete", "world")
    machine.run("systemctl", "restart", UNIT)
    wait_until(lambda: crosses(machine), 60)
    assert "ready: in sync" in log_of(machine, UNIT)
