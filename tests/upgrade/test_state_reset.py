"""Newer code with another layout of a table: an agent asks before it resets what the datapath learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrade.host import Host
from tests.upgrade.release import Agent, Release, edited_release, substitute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TABLE = "cube/wall/table/connections"


@pytest.fixture
def host(new: Release, own_root: str, tmp_path: Path) -> Iterator[Host]:
    """A firewall with an open connection, and its agent."""
    with Host(new, own_root, tmp_path, ("firewall",)) as found:
        found.start()
        yield found


@pytest.fixture
def wider(tmp_path: Path, compiled_programs: Path) -> Release:
    """Newer code, in which a connection has a field more, and nothing says what a row of today becomes."""

    def edit(home: Path) -> None:
        field = "  u8 opener;   /* 0: the low end of the key began it, 1: the high one */\n"
        substitute(home, "bpf", field, f"{field}  u64 more;\n")
        named = "SPARE_NAMED = {(CONNECTION_KEY.size, CONNECTION.size): unchanged}"
        substitute(home, "cubes/lib/connections.py", named, "SPARE_NAMED = {}")

    return edited_release("a release with wider connections", tmp_path / "wider", edit, compiled_programs)


@pytest.fixture
def renamed(tmp_path: Path, compiled_programs: Path) -> Release:
    """Code in which bytes of a connection are what they were before they had a name."""

    def edit(home: Path) -> None:
        substitute(home, "bpf", "  u16 accepted;", "  u8 unused[2];")
        for row in ("known->", "packet->next."):
            substitute(home, "bpf", f"{row}accepted", f"{row}unused[0]")

    return edited_release("a release with bytes to spare", tmp_path / "renamed", edit, compiled_programs)


@pytest.fixture
def larger(tmp_path: Path, compiled_programs: Path) -> Release:
    """Newer code, in which the table of connections has twice as many rows."""

    def edit(home: Path) -> None:
        substitute(home, "schemas/json/firewall.schema.json", '"default": 65536', '"default": 131072')

    return edited_release("a release with more connections", tmp_path / "larger", edit, compiled_programs)


def restarted(host: Host, release: Release, *options: str) -> Agent:
    host.agents[-1].stop()
    return host.agent(release, *options)


def test_an_agent_of_newer_code_reports_a_state_reset_as_pending_and_the_connection_goes_on(host: Host, wider: Release) -> None:
    agent = restarted(host, wider)
    agent.until(lambda: TABLE in agent.status().get("pending", ()))
    looks = agent.looks()
    agent.until(lambda: agent.looks() > looks + 2)
    said = agent.status()
    assert said["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
    assert said["drift"] == {"now": [], "healed": 0, "last": []}
    assert not said["healthy"]
    assert any("state reset" in problem and "pcn-apply" in problem for problem in said["problems"])
    assert "state reset" in agent.text()
    assert "state reset" in host.apply(wider, "--check", code=2), "it is pending, and no drift"
    told = wider.run(host.root, "pcn", "drift", code=2).stdout
    assert "No drift" in told
    assert any(line.startswith("Pending: ") and TABLE in line and "state reset" in line for line in told.splitlines())
    assert host.losses(wider) == []


def test_connections_whose_spare_bytes_have_a_name_now_go_on_without_a_question(host: Host, renamed: Release) -> None:
    agent = restarted(host, renamed)
    agent.until_in_sync()
    assert agent.status()["pending"] == []
    assert "state reset" not in agent.text()
    assert host.losses(renamed) == []


def test_who_applies_by_hand_is_told_and_agrees(host: Host, wider: Release) -> None:
    agent = restarted(host, wider)
    agent.until(lambda: TABLE in agent.status().get("pending", ()))
    assert "state reset" in host.apply(wider, "--plan", code=None)
    assert "disruption: state reset" in host.apply(wider)
    agent.until_in_sync()
    assert agent.status()["pending"] == []


def test_an_agent_that_is_told_so_resets_state(host: Host, wider: Release) -> None:
    agent = restarted(host, wider, "--accept-state-reset")
    agent.until_in_sync()
    assert agent.status()["done"]["program_loads"] > 0
    assert agent.status()["last"]["disruption"] == "state reset"


def test_an_agent_of_newer_code_with_room_for_more_connections_takes_over_and_none_is_lost(host: Host, larger: Release) -> None:
    agent = restarted(host, larger)
    agent.until_in_sync()
    assert agent.status()["done"]["program_loads"] > 0
    assert host.losses(larger) == []


def test_while_a_state_reset_waits_edits_of_other_topologies_are_applied(
    new: Release, wider: Release, own_root: str, tmp_path: Path
) -> None:
    with Host(new, own_root, tmp_path, ("firewall", "two-hosts")) as host:
        host.start()
        agent = restarted(host, wider)
        agent.until(lambda: TABLE in agent.status().get("pending", ()))
        edited = host.edited("two-hosts", lambda data: data["spec"]["cubes"][0].update({"fdb": {"aging-time": 77}}))
        edited.replace(host.files / "two-hosts.yaml")
        agent.until(lambda: "77" in wider.run(own_root, "pcn", "show").stdout)
        agent.until(lambda: TABLE in agent.status().get("pending", ()))
        assert not agent.status()["healthy"]
        assert host.losses(wider) == []
