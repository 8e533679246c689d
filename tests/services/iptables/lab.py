"""A host with its own firewall: the lab itself, a router between h1 and h2, with an `iptables` cube at all its netdevs.

    with HostLab() as lab:
        lab.chains(INPUT={"default": "DROP", "rule": [...]}, FORWARD=..., web=...)
        assert lab.reaches("h1", "10.0.1.254")
"""
from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import service_command
from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in

HOSTS = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}], here: {addresses: [10.0.1.254/24]}}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}], here: {addresses: [10.0.2.254/24]}}
"""
TEXT = HOSTS + """
cubes: [{name: fw, service-name: iptables}]
attachments: [{netdevs: all, tcubes: [fw]}, {netdev: lo, tcubes: [fw]}]
"""


class HostLab(Lab):
    """`settings` are leaves of the cube."""

    def __init__(self, text: str = TEXT, **settings: Any) -> None:
        super().__init__(text)
        self.cube("fw").update(settings)

    def __enter__(self) -> HostLab:
        super().__enter__()
        self.apply()
        run_in(None, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0"])
        run_in(None, ["ip", "link", "set", "lo", "up"])
        return self

    def chains(self, **said: Any) -> Any:
        """Set all chains: a list of rules, or the chain's leaves. Rules are numbered as they stand."""
        self.cube("fw")["chain"] = [{"name": name, **_leaves(value)} for name, value in said.items()]
        return self.apply()

    def stats(self, chain: str) -> dict[str, int]:
        """Packets by rule."""
        found = next(each for each in self.live_cube("fw", state=True)["chain"] if each["name"] == chain)
        return {each["id"]: int(each["pkts"]) for each in found["stats"]}


def _leaves(value: Any) -> dict[str, Any]:
    leaves = {"rule": value} if isinstance(value, list) else dict(value)
    leaves["rule"] = [{"id": number, **rule} for number, rule in enumerate(leaves.get("rule", ()))]
    return leaves


class ScriptLab(Lab):
    """The same host with nothing at its netdevs, and the commands that change that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, hosts: str = HOSTS) -> None:
        super().__init__(hosts)
        self._patch, self._directory = monkeypatch, directory

    def __enter__(self) -> ScriptLab:
        super().__enter__()
        self.apply()
        run_in(None, ["ip", "link", "set", "lo", "up"])
        run_in(None, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0"])
        self._patch.setenv("PCN_BPFFS", self.root)
        self._patch.setenv("PCN_COMMANDS", str(self._directory))
        return self

    def __exit__(self, *errors: object) -> None:
        self.run("", "pcn-iptables-clean")
        super().__exit__(*errors)

    def run(self, words: str, name: str = "pcn-iptables") -> int:
        """A command in this process; its exit code."""
        return service_command.main(shlex.split(words), name)

    def script(self, lines: str) -> None:
        """Lines without the name of the command, of which each must end well."""
        for line in filter(None, map(str.strip, lines.splitlines())):
            assert self.run(line) == 0, line

    def said(self, capsys: pytest.CaptureFixture[str], words: str) -> list[str]:
        capsys.readouterr()
        assert self.run(words) == 0
        return capsys.readouterr().out.splitlines()
