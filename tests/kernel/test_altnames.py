"""Netdevs written by another name (altname): what is joined there is in force, and what is shown and kept has the netdev's own name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.commands import BIN, Net, pcn

WALL = """\
    - {{name: {name}-w, service-name: firewall, chain: [{{name: INGRESS, default: {default}}}]}}
  attachments:
    - {{netdev: {at}, tcubes: [{name}-w]}}
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def pings(net: Net) -> bool:
    command = ["ip", "netns", "exec", net.hosts[0], "ping", "-c", "1", "-W", "1", "10.9.0.2"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    net = Net(tmp_path)
    pcn("apply", str(net.file), code=0)
    for number, link in enumerate(net.links, 1):
        ip("link", "property", "add", "dev", link, "altname", f"{net.prefix}-alt{number}")
    yield net
    pcn("delete", net.name, code=0)


def test_a_port_whose_peer_is_written_by_its_altname_is_connected(net: Net) -> None:
    other = f"{net.prefix}-alt2"
    net.write(peer=other)
    steps = json.loads(pcn("plan", "-o", "json", str(net.file), code=2).stdout)["steps"]
    assert [step["subject"] for step in steps] == [f"topology/{net.name}"]  # the document alone is another one
    said = pcn("apply", str(net.file), code=0)
    assert "wait" not in said.stdout + said.stderr
    assert pings(net)
    pcn("drift", code=0)
    pcn("plan", str(net.file), code=0)
    shown = pcn("show", net.name, code=0).stdout
    assert f"peer: {net.links[1]}" in shown
    assert other not in shown
    pcn("plan", "-", stdin=shown)
    ip("link", "property", "del", "dev", net.links[1], "altname", other)
    pcn("apply", str(net.file), code=0)
    assert not pings(net)  # a name that no netdev has: the port waits for it
    ip("link", "property", "add", "dev", net.links[1], "altname", other)
    pcn("apply", str(net.file), code=0)
    assert pings(net)


def test_an_attachment_and_a_capture_at_an_altname_are_at_its_netdev(net: Net, tmp_path: Path) -> None:
    other = f"{net.prefix}-alt1"
    net.write(more=WALL.format(name=net.prefix, at=other, default="DROP"))
    said = pcn("apply", str(net.file), code=0)  # the port there has the netdev's own name
    assert f"{other} is another name (altname) of {net.links[0]}" in said.stdout + said.stderr
    assert pings(net)
    net.file.write_text(net.file.read_text().replace(f"peer: {net.links[0]}", f"peer: {other}"))
    pcn("apply", str(net.file), code=0)
    assert not pings(net)
    net.file.write_text(net.file.read_text().replace("default: DROP", "default: ACCEPT"))
    pcn("apply", str(net.file), code=0)
    pcn("drift", code=0)
    assert f"netdev: {net.links[0]}" in pcn("show", net.name, code=0).stdout
    for written in (other, net.links[0]):
        file = tmp_path / f"{written}.pcapng"
        command = [str(BIN / "pcn"), "capture", written, "icmp", "-c", "1", "-w", str(file)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as capture:
            assert capture.stderr is not None
            assert f"capturing at {written}" in capture.stderr.readline()
            assert pings(net)
            assert capture.wait(20) == 0
        assert file.stat().st_size > 200
