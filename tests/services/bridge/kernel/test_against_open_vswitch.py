"""The bridge's VLANs against Open vSwitch in user space: the same random frames in, the same frames out of the same ports.

Not among them is what the two treat differently by intention: tags of 802.1ad (a VLAN's to Open vSwitch), ports with all VLANs and no native one
(Open vSwitch has a VLAN 0 there), the bit of a tag that says a frame may be dropped (it loses that), frames whose source is a group, and groups
of one wire, which both drop unless they are told otherwise.
"""
from __future__ import annotations

import json
import logging
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lib.lab import HOOKS, Lab, port_of
from tests.lib.traffic import ETHERTYPE
from tests.services.bridge.kernel.test_against_linux import on_one_cpu
from tests.services.bridge.kernel.test_stp_neighbours import run
from tests.services.bridge.kernel.test_vlans import STATIONS, arrived, number_of
from tests.services.bridge.model import tagged
from tests.services.bridge.stp_lab import until

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(shutil.which("ovs-vswitchd") is None, reason="openvswitch-switch is not installed")]

log = logging.getLogger(__name__)

Ports = dict[str, tuple[dict[str, Any], list[str]]]
PORTS: Ports = {  # as here, and as there
    "h1": ({"access": {"vlanid": 10}}, ["tag=10"]),
    "h2": ({"access": {"vlanid": 20}}, ["tag=20"]),
    "h3": ({"mode": "trunk", "trunk": {"allowed": [{"vlanid": 10}, {"vlanid": 20}], "native-vlan-enabled": False}},
           ["vlan_mode=trunk", "trunks=10,20"]),
    "h4": ({"mode": "trunk", "trunk": {"allowed": [{"vlanid": 10}, {"vlanid": 20}, {"vlanid": 30}], "native-vlan": 20}},
           ["vlan_mode=native-untagged", "tag=20", "trunks=10,20,30"]),
    "h5": ({"mode": "trunk", "trunk": {"allow-all": True, "native-vlan": 10}}, ["vlan_mode=native-untagged", "tag=10"]),
}  # fmt: skip
GROUPS = [b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("0180c2000010")]
TAGS = [None, None, None, 0, 0x6000, 10, 10, 0x600A, 20, 0x8014, 30, 4094]
FEW, PART, PARTS = 500, 10_000, 10
BATCH = 20
WAITS = {host: 0.002 if number else 0.05 for number, host in enumerate(PORTS)}  # seconds: after the first one it has arrived everywhere


def scenario(*cubes: object) -> str:
    return json.dumps({"hosts": {host: f"10.0.0.{host[1:]}/24" for host in PORTS}, "cubes": list(cubes)})


class OpenVSwitch:
    """A switch over the hosts' wires of a lab."""

    def __init__(self, home: Path) -> None:
        self._home, self._sock = home, f"unix:{home}/db.sock"

    @contextmanager
    def running(self) -> Iterator[OpenVSwitch]:
        home, environment = self._home, {"OVS_RUNDIR": str(self._home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        run("ovsdb-tool", "create", str(home / "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
        common = [f"--log-file={home}/log", "--no-chdir"]
        commands = [["ovsdb-server", str(home / "conf.db"), f"--remote=p{self._sock}", f"--unixctl={home}/server.ctl", *common],
                    ["ovs-vswitchd", self._sock, f"--unixctl={home}/switch.ctl", *common]]  # fmt: skip
        with ExitStack() as stack:
            for command in commands:
                process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                stack.callback(process.terminate)
                until((home / "db.sock").exists, True, 20)
            self._set("add-br", "ovs0", "--", "set", "bridge", "ovs0", "datapath_type=netdev")
            stack.callback(self._set, "del-br", "ovs0")
            for host, (_, said) in PORTS.items():
                self._set("add-port", "ovs0", port_of(host), *said)
            yield self

    def _set(self, *words: str) -> None:
        run("ovs-vsctl", f"--db={self._sock}", "--timeout=30", *words)

    def forget_flows(self) -> None:
        """What was learned stays: but what it decided for flows that are gone on would be kept up to half a second."""
        run("ovs-appctl", "-t", os.fspath(self._home / "switch.ctl"), "revalidator/purge")


def frames_of(chance: random.Random, first: int) -> list[bytes]:
    """A batch in which no frame is of another one's flow: each is decided anew."""
    found: dict[tuple[bytes, bytes, int | None], bytes] = {}
    while len(found) < BATCH:
        target, tag = chance.choice(STATIONS if chance.random() < 0.75 else GROUPS), chance.choice(TAGS)
        source = chance.choice(STATIONS)
        frame = target + source + struct.pack("!HI", ETHERTYPE, first + len(found)) + bytes(chance.choice((46, 46, 1400)))
        vlan = None if tag is None else tag & 0xFFF
        found.setdefault((target, source, vlan or None), frame if tag is None else tagged(frame, tag))
    return list(found.values())


def differences(hook: str, frames: int, seed: int, home: Path) -> tuple[list[str], int]:
    """Where the two did not do the same, and how many copies arrived."""
    chance, found, copies = random.Random(seed), [], 0
    ports = [{"name": host, "peer": port_of(host), **said} for host, (said, _) in PORTS.items()]
    with Lab(scenario({"name": "br1", "service-name": "bridge", "ports": ports}), hook=hook) as pcn, ExitStack() as stack:
        pcn.apply()
        theirs = stack.enter_context(Lab(scenario()))
        theirs.apply()
        switch = stack.enter_context(OpenVSwitch(home).running())
        seen = {lab: {host: stack.enter_context(lab.sniff(host)) for host in PORTS} for lab in (pcn, theirs)}
        for first in range(0, frames, BATCH):
            sender, sent = chance.choice(list(PORTS)), frames_of(chance, first)
            with on_one_cpu():
                pcn.send(sender, *sent)
                ours = {host: seen[pcn][host].all(wait, lambda each: number_of(each) is not None) for host, wait in WAITS.items()}
            switch.forget_flows()
            theirs.send(sender, *sent)
            for host, wanted in ours.items():
                came = arrived(seen[theirs][host], len(wanted))
                copies += len(came)
                if sorted(came) != sorted(wanted):
                    more = [[each[:18].hex() for each in there if each not in here] for there, here in ((wanted, came), (came, wanted))]
                    found.append(f"frames from {first} of {sender}: at {host} arrived besides {more[0]}, with Open vSwitch {more[1]}")
            if found:
                break
    return found, copies


@pytest.mark.parametrize("hook", HOOKS[:1])
def test_random_frames_arrive_where_and_as_they_do_with_open_vswitch(hook: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    found, copies = differences(hook, FEW, seed, tmp_path)
    assert found == [], f"seed {seed}"
    assert copies > FEW // 2, f"seed {seed}: too few frames arrived"


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hundred_thousand_random_frames_do(hook: str, part: int, tmp_path: Path) -> None:
    """In parts, each from a seed of its own."""
    seed = random.SystemRandom().randrange(1 << 32)
    found, copies = differences(hook, PART, seed, tmp_path)
    log.info("part %d, seed %d: %d frames, %d copies", part, seed, PART, copies)
    assert found == [], f"seed {seed}"
    assert copies > PART // 2
