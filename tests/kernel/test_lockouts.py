"""A host that somebody is logged in to, and what an apply does to that connection: said before, taken back by --try, or kept."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.document.emitter import dump_yaml
from reconciler.kernel import netlink, netns
from reconciler.model import LinkEnd, Route
from tests.lib.commands import BIN, pcn
from tests.lib.netns_topology import NetnsTopology, settle

HERE, PORT = "192.0.2.1", 2222
_SO_RCVBUFFORCE = 33
LOGIN = {"id": 1, "l4proto": "TCP", "dport": PORT, "action": "ACCEPT"}
ESTABLISHED = {"id": 1, "conntrack": "ESTABLISHED", "action": "ACCEPT"}


@dataclass
class Login:
    """A connection to this host by a netdev of its own; `file` is a topology that nobody has applied yet."""

    netdev: str
    client: socket.socket
    served: socket.socket
    file: Path
    name: str
    inside: tuple[str, ...]

    def works(self, seconds: float = 1.0) -> bool:
        """Whether what the client types is seen here and comes back; what was sent meanwhile comes first."""
        self._drain()
        self.client.send(word := f"{time.monotonic_ns()};".encode())
        return _comes(self.served, word, seconds) and self.served.send(word) > 0 and _comes(self.client, word, seconds)

    def _drain(self) -> None:
        for end in (self.client, self.served):
            end.settimeout(0.01)
            try:
                while end.recv(4096):
                    pass
            except TimeoutError:
                continue

    def write(self, **spec: Any) -> str:
        whole = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": self.name}, "spec": spec}
        self.file.write_text(dump_yaml(whole))
        return str(self.file)

    def firewall(self, *rules: dict[str, Any], **leaves: Any) -> str:
        chain = {"name": "INGRESS", "default": "DROP", "rule": list(rules)}
        cube = {"name": f"{self.name}-fw", "service-name": "firewall", **leaves, "chain": [chain]}
        return self.write(cubes=[cube], attachments=[{"netdev": self.netdev, "tcubes": [cube["name"]]}])

    def bridge(self) -> str:
        return self.write(cubes=[{"name": f"{self.name}-br", "service-name": "simplebridge", "ports": [{"name": "p1", "peer": self.netdev}]}])


def _comes(end: socket.socket, word: bytes, seconds: float) -> bool:
    end.settimeout(seconds)
    seen = b""
    try:
        while word not in seen:
            seen += end.recv(4096)
    except TimeoutError:
        return False
    return True


@pytest.fixture
def login(tmp_path: Path, own_root: str) -> Iterator[Login]:
    assert own_root
    with NetnsTopology() as world:
        host = world.host("c", "192.0.2.2/24")
        netlink.configure(LinkEnd(host.port, addresses=(f"{HERE}/24",)))
        settle((host.port, None), (host.device, host.netns))
        with socket.create_server((HERE, PORT)) as server:
            with netns.inside(host.netns):
                client = socket.create_connection((HERE, PORT), 5)
            served, _ = server.accept()
            with client, served:
                found = Login(host.port, client, served, tmp_path / "t.yaml", world.prefix, ("ip", "netns", "exec", host.netns))
                assert found.works()
                yield found
                pcn("delete", found.write())


def warnings_of(login: Login) -> tuple[str, list[str]]:
    """The disruption that a plan says, and of what it warns; the text says the same."""
    found = json.loads(pcn("plan", "-o", "json", str(login.file), code=2).stdout)
    text = pcn("plan", str(login.file), code=2)
    warned = [each["message"] for each in found["warnings"]]
    assert text.stderr.count("may lock you out") == len([word for word in warned if "may lock you out" in word])
    assert all(message in text.stderr for message in warned)
    return found["summary"]["disruption"], warned


def is_saved_by_a_trial(login: Login) -> bool:
    """Cut while it is tried, and there again when nobody has confirmed it."""
    command = [str(BIN / "pcn"), "apply", "--try", "2", str(login.file)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trial:
        assert trial.stderr is not None
        assert "may lock you out" in trial.stderr.readline()
        assert "On trial" in trial.stderr.readline()
        assert not login.works(0.7)
        assert trial.wait(30) == 1
    return login.works(5)


def test_a_bridge_takes_the_netdev_by_which_one_is_logged_in(login: Login) -> None:
    login.bridge()
    said = f"this may lock you out: cube {login.name}-br takes netdev {login.netdev}, which has {HERE}/24"
    assert warnings_of(login) == ("connections cut", [said])
    assert "--try 60" in pcn("plan", str(login.file), code=2).stderr
    assert f"connections cut: the host's own by {login.netdev}, which has {HERE}/24" in pcn("plan", str(login.file), code=2).stdout
    assert is_saved_by_a_trial(login)
    applied = pcn("apply", str(login.file), code=0)
    assert applied.stderr.startswith("warning")
    assert said in applied.stderr
    assert not login.works()
    gone = pcn("delete", login.name, code=0)
    assert "lock you out" not in gone.stderr
    assert login.works(5)


def test_who_comes_by_ssh_is_told_that_it_is_his_connection(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"192.0.2.2 50000 {HERE} 22")
    login.bridge()
    assert warnings_of(login)[1][0].endswith(f"(your SSH from 192.0.2.2 comes to {HERE})")
    assert "lock you out" in document_of_apply(login)["warnings"][0]["message"]


def document_of_apply(login: Login) -> dict[str, Any]:
    result = pcn("apply", "-o", "json", str(login.file), code=0)
    assert "may lock you out" in result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_what_is_part_of_a_bridge_or_has_the_default_route_is_the_hosts_too(login: Login) -> None:
    login.bridge()
    netdev = login.netdev
    subprocess.run(["ip", "addr", "flush", "dev", netdev], check=True)
    assert warnings_of(login) == ("none", [])
    try:
        netlink.configure(LinkEnd(netdev, addresses=(), routes=(Route("default"),)))
        assert warnings_of(login)[1][0].endswith("has the default route")
        subprocess.run(["ip", "route", "del", "default"], check=True)
        subprocess.run(["ip", "link", "add", "lo-br", "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", netdev, "master", "lo-br"], check=True)
        assert warnings_of(login)[1][0].endswith("is part of lo-br")
    finally:
        subprocess.run(["ip", "link", "del", "lo-br"], check=False, capture_output=True)


def test_a_firewall_without_pick_up_cuts_what_is_older_and_a_trial_saves_it(login: Login) -> None:
    login.firewall(LOGIN | {"conntrack": "NEW"}, **{"pick-up": "OFF"})
    disruption, warned = warnings_of(login)
    assert (disruption, len(warned)) == ("connections cut", 1)
    assert f"comes to netdev {login.netdev}, which has {HERE}/24, and cuts TCP that is older than it, INVALID" in warned[0]
    assert is_saved_by_a_trial(login)


def test_a_firewall_that_picks_up_keeps_what_a_rule_accepts(login: Login) -> None:
    login.firewall(LOGIN)
    assert warnings_of(login) == ("none", [])
    pcn("apply", str(login.file), code=0)
    assert login.works()


def test_a_firewall_that_accepts_no_login_says_so_although_it_accepts_what_is_established(login: Login) -> None:
    login.firewall(ESTABLISHED)
    assert "no rule accepts its packets without their SYN" in warnings_of(login)[1][0]
    assert is_saved_by_a_trial(login)


def test_a_firewall_that_is_there_and_begins_to_track_says_so_too(login: Login) -> None:
    login.firewall({"id": 1, "action": "ACCEPT"}, conntrack="OFF")
    pcn("apply", str(login.file), code=0)
    assert login.works()
    login.firewall(ESTABLISHED)
    disruption, warned = warnings_of(login)
    assert (disruption, len(warned)) == ("connections cut", 1)
    assert f"-fw at netdev {login.netdev}, which has {HERE}/24, changes and cuts TCP that is older" in warned[0]
    assert is_saved_by_a_trial(login)


def test_an_address_of_the_hosts_own_links_goes(login: Login) -> None:
    end = {"name": f"{login.name}d", "kind": "bridge", "addresses": ["198.51.100.1/24"]}
    login.write(links=[end])
    assert warnings_of(login) == ("none", [])
    pcn("apply", str(login.file), code=0)
    login.write(links=[end | {"addresses": ["198.51.100.1/16"]}])
    assert warnings_of(login) == ("none", [])
    login.write(links=[end | {"addresses": ["198.51.100.2/24"]}])
    assert warnings_of(login) == ("connections cut", [f"this may lock you out: netdev {end['name']} loses 198.51.100.1/24"])
    found = json.loads(pcn("delete", "--plan", login.name, "-o", "json", code=2).stdout)
    assert [each["hint"] for each in found["warnings"]] == [""]  # there is no trial of it
    assert found["summary"]["disruption"] == "connections cut"


@pytest.mark.parametrize("hook", ["TC", "XDP_SKB", "XDP_DRV"])
def test_a_firewall_that_goes_loses_no_packet_and_says_so(login: Login, hook: str) -> None:
    """Native XDP takes the driver's ring along (of veth), and what is in it: there it says that packets may be lost."""
    login.firewall({"id": 1, "action": "ACCEPT"}, type=hook)
    pcn("apply", str(login.file), code=0)
    login.write(cubes=json.loads(pcn("show", "-o", "json", code=0).stdout)[0]["spec"]["cubes"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        server.bind((HERE, PORT))
        with subprocess.Popen([*login.inside, sys.executable, "-c", _SENDER], stdout=subprocess.PIPE, text=True) as sender:
            time.sleep(0.5)
            done = json.loads(pcn("apply", "-o", "json", str(login.file), code=0).stdout)
            assert sender.stdout is not None
            lost = int(sender.stdout.read()) - _count(server)
    said = {step["disruption"] for step in done["steps"] if step["operation"] == "detach_hook"}
    assert said == ({"none", "packets lost"} if hook == "XDP_DRV" else {"none"})
    assert lost == 0 or hook == "XDP_DRV"


_SENDER = f"""
import socket, time
s, sent, end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, time.monotonic() + 4
while time.monotonic() < end:
    s.sendto(b"x", ("{HERE}", {PORT}))
    sent += 1
    time.sleep(0.0002)
print(sent)
"""


def _count(server: socket.socket) -> int:
    server.settimeout(0.2)
    got = 0
    with suppress(TimeoutError):
        while server.recv(16):
            got += 1
    return got
