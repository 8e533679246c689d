"""Spanning trees together with bridges that others made, in one run: Linux's own (802.1D), and Open vSwitch's (rapid), where it is installed.

Each of the three bridges of Polycube's triangle in turn is somebody else's, and the states are those of its table all the same.
"""
from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lib.lab import Lab
from tests.services.bridge.kernel.test_stp import PRIORITIES, TRIANGLE
from tests.services.bridge.lab import address
from tests.services.bridge.stp_lab import running, states, stp_lab, until

pytestmark = [pytest.mark.kernel, pytest.mark.exhaustive, pytest.mark.timeout(300)]
NETDEVS = {"h1": "v1", "h2": "v2", "h3": "v3"}


def netdev(port: str) -> str:
    return NETDEVS.get(port, f"link{port}")


def with_another(name: str, *, rapid: bool) -> Lab:
    """The triangle, of which one bridge is not ours."""
    ours = {bridge: ports for bridge, ports in TRIANGLE.items() if bridge != name}
    lab = stp_lab(ours, PRIORITIES, links=3, hook="TC", rapid=rapid)
    host = f"h{name[2]}"
    lab.hosts[host] = address(host) + "/24"
    return lab


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


@contextmanager
def linux(name: str) -> Iterator[Callable[[], dict[str, str]]]:
    """A Linux bridge with its ports; gives what they do."""
    run("ip", "link", "add", name, "type", "bridge", "stp_state", "1", "priority", str(PRIORITIES[name]), "forward_delay", "400",
        "hello_time", "200", "max_age", "600")  # fmt: skip
    for port in TRIANGLE[name]:
        run("ip", "link", "set", netdev(port), "master", name)
        run("bridge", "link", "set", "dev", netdev(port), "cost", "4")
    run("ip", "link", "set", name, "up")

    def now() -> dict[str, str]:
        found = {link["ifname"]: link["state"] for link in json.loads(run("bridge", "-j", "link"))}
        return {f"{name}:{port}": found[netdev(port)] for port in TRIANGLE[name]}

    try:
        yield now
    finally:
        run("ip", "link", "del", name)


@contextmanager
def open_vswitch(name: str, home: Path) -> Iterator[Callable[[], dict[str, str]]]:
    """An Open vSwitch in user space, with the rapid protocol."""
    sock, database = f"unix:{home}/db.sock", home / "conf.db"
    run("ovsdb-tool", "create", str(database), "/usr/share/openvswitch/vswitch.ovsschema")
    common = [f"--log-file={home}/log", "--no-chdir"]
    environment = {"OVS_RUNDIR": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    server = subprocess.Popen(["ovsdb-server", str(database), f"--remote=p{sock}", f"--unixctl={home}/server.ctl", *common],
                              env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    until((home / "db.sock").exists, True, 10)
    switch = subprocess.Popen(["ovs-vswitchd", sock, f"--unixctl={home}/switch.ctl", *common], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def set_up(*words: str) -> str:
        return run("ovs-vsctl", f"--db={sock}", "--timeout=20", *words)

    try:
        set_up("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "rstp_enable=true",
               f"other_config:rstp-priority={PRIORITIES[name]}", "other_config:rstp-forward-delay=4",
               "other_config:rstp-max-age=6")  # fmt: skip
        for port in TRIANGLE[name]:
            set_up("add-port", name, netdev(port), "--", "set", "port", netdev(port), "other_config:rstp-path-cost=4",
                   f"other_config:rstp-port-admin-edge={'true' if port[0] == 'h' else 'false'}")  # fmt: skip

        def now() -> dict[str, str]:
            found = {}
            for port in TRIANGLE[name]:
                said = set_up(
                    "get", "port", netdev(port), "rstp_status")
                state = next((part.split("=")[1] for part in said.strip(" {}\n").split(", ") if part.startswith("rstp_port_state=")), "")
                found[f"{name}:{port}"] = state.strip('"').lower()
            return found

        yield now
    finally:
        subprocess.run(["ovs-vsctl", f"--db={sock}", "--timeout=5", "del-br", name], capture_output=True, check=False)
        for process in (switch, server):
            process.terminate()
            process.wait(10)


def wanted(ours: Lab, theirs: Callable[[], dict[str, str]]) -> Callable[[], set[str]]:
    def not_forwarding() -> set[str]:
        return {port for port, state in (states(ours) | theirs()).items() if state != "forwarding"}

    return not_forwarding


def all_reach_each_other(lab: Lab) -> bool:
    return all(lab.ok(a, address(b)) for a, b in itertools.permutations(("h1", "h2", "h3"), 2))


@pytest.mark.parametrize("rapid", [False, True], ids=["older", "rapid"])
@pytest.mark.parametrize("name", TRIANGLE)
def test_a_triangle_with_linuxs_bridge_in_it(name, rapid):
    """A rapid one finds out that its neighbour is not."""
    with with_another(name, rapid=rapid) as lab:
        lab.apply()
        with linux(name) as theirs, running(lab):
            until(wanted(lab, theirs), {"br3:22"}, 90)
            assert all_reach_each_other(lab)
            run("ip", "link", "set", "link31", "down")
            until(lambda: all_reach_each_other(lab), True, 90)
            run("ip", "link", "set", "link31", "up")
            until(wanted(lab, theirs), {"br3:22"}, 90)


@pytest.mark.skipif(shutil.which("ovs-vswitchd") is None, reason="openvswitch-switch is not installed")
@pytest.mark.parametrize("name", TRIANGLE)
def test_a_rapid_triangle_with_open_vswitch_in_it(name, tmp_path):
    with with_another(name, rapid=True) as lab:
        lab.apply()
        with open_vswitch(name, tmp_path) as theirs, running(lab) as served:
            until(wanted(lab, theirs), {"br3:22"}, 90)
            assert all_reach_each_other(lab)
            run("ip", "link", "set", "link31", "down")
            began = time.monotonic()
            served.look()
            while not lab.ok("h3", address("h1"), 1):
                assert time.monotonic() - began < 3, "it is not gone round"
