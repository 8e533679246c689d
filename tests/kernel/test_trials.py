"""Topologies that are kept only if something is reached once they are in force: by an agent, with a probe."""
from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.kernel import netns
from tests.kernel.test_fleets import until
from tests.lib.commands import pcn
from tests.lib.fleet import FleetHost, free_port, topology

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    netns.raise_loopback()
    found = tmp_path / "files"
    found.mkdir()
    return found


def tried(name: str, action: str, port: int, seconds: str = "1s") -> str:
    return topology(name, action, more=f', annotations: {{pcn/try: {seconds}, pcn/probe: "127.0.0.1:{port}"}}')


def test_what_cuts_the_probe_off_goes_back_to_what_was_there_and_what_does_not_is_kept(tmp_path: Path, own_root: str, directory: Path) -> None:
    port, file = free_port(), directory / "one.yaml"
    file.write_text(topology("one"))
    with closing(FleetHost("h0", own_root, tmp_path / "hosts", "", str(directory))) as host:
        until(lambda: host.has("one", "DROP"), 60)
        file.write_text(tried("one", "FORWARD", port))
        (directory / "two.yaml").write_text(topology("two"))
        until(lambda: host.has("one", "FORWARD"))
        said = f"topology one is as it was before: with it, 127.0.0.1:{port} was not reached within 1 s"
        until(lambda: host.has("one", "DROP") and host.agent.status()["problems"] == [said])
        assert host.has("two", "DROP"), "what came with it is not concerned"
        looks = host.agent.status()["looks"]
        host.agent.until(lambda found: found["looks"] > looks + 2)
        assert host.has("one", "DROP"), "it is not tried again and again"
        (directory / "fresh.yaml").write_text(tried("fresh", "FORWARD", port))  # where there was none before
        until(lambda: host.has("fresh", "FORWARD"))
        until(lambda: not host.has("fresh", "FORWARD"))
        until(lambda: any("topology fresh is not there, as before" in line for line in host.agent.status()["problems"]))
        with socket.create_server(("127.0.0.1", port)):
            file.write_text(tried("one", "FORWARD", port, "30s"))
            (directory / "fresh.yaml").unlink()
            until(lambda: host.has("one", "FORWARD") and host.agent.status()["healthy"] and not host.agent.status()["trials"])
        file.write_text(tried("one", "DROP", port, "60s"))
        until(lambda: host.has("one", "DROP") and host.agent.status()["trials"] == ["one"])
        file.write_text(topology("one", "DROP"))  # who takes the trial back takes what is tried
        until(lambda: host.agent.status()["trials"] == [] and host.agent.status()["healthy"])
        assert host.has("one", "DROP")


@pytest.mark.parametrize(("annotations", "sentence"), [
    ("{pcn/try: 30s}", "pcn/try goes with pcn/probe"), ('{pcn/probe: "10.0.0.1:80"}', "pcn/probe goes with pcn/try"),
    ('{pcn/try: soon, pcn/probe: "10.0.0.1:80"}', "expected a time of at most 600 seconds"),
    ('{pcn/try: 30s, pcn/probe: "gate:80"}', "expected an address and a TCP port"),
    ('{pcn/try: 30s, pcn/probe: "10.0.0.1:99999"}', "expected an address and a TCP port"),
])  # fmt: skip
def test_what_is_wrong_in_it_is_said_with_its_place(tmp_path: Path, annotations: str, sentence: str) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(topology("t", more=f", annotations: {annotations}"))
    said = pcn("validate", str(file), code=65).stderr
    assert sentence in said
    assert f"{file}:3:" in said
