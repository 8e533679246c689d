"""Hosts that follow a Git repository and an etcd: what is committed reaches those it is for, and nothing else does."""
from __future__ import annotations

import json
import logging
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.lib.commands import pcn
from tests.lib.fleet import Etcd, FleetHost, Repository, topology

pytestmark = pytest.mark.timeout(300)
EVERY = 1.0
log = logging.getLogger("fleet")
TURIN, BARI = "{labels: {site: turin}}", "{labels: {site: [bari]}}"


def until(condition: Callable[[], object], seconds: float = 20.0) -> float:
    """Wait; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    found = Repository(tmp_path / "git")
    yield found
    found.stop()


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    found = Etcd(tmp_path / "etcd")
    yield found
    found.stop()


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.exhaustive)])
def test_a_fleet_follows_git_and_etcd_through_what_happens_to_them(
    tmp_path: Path, own_root: str, repository: Repository, etcd: Etcd, count: int,
) -> None:
    repository.commit({"t.yaml": topology("turin", hosts=TURIN), "b.yaml": topology("bari", hosts=BARI)})
    with ExitStack() as stack:
        hosts = []
        for number in range(count):
            site = "bari" if number == 1 else "turin"
            words = ["--git", repository.url, "--every", str(EVERY), "--etcd", etcd.url, "--report"]
            host = FleetHost(f"h{number}", own_root, tmp_path / "hosts", f"site: {site}", *words)
            hosts.append(stack.enter_context(closing(host)))
        first, second = hosts[:2]
        until(lambda: all(host.has("bari" if host is second else "turin", "DROP") for host in hosts), 90)
        assert not first.has("bari", "DROP")
        assert not second.has("turin", "DROP")
        turin = [host for host in hosts if host is not second]

        repository.commit({"t.yaml": topology("turin", "FORWARD", hosts=TURIN), "b.yaml": topology("bari", hosts=BARI)})
        took = until(lambda: all(host.has("turin", "FORWARD") for host in turin))
        log.info("git, %d hosts: %.2f s with every %g s", count, took, EVERY)
        etcd.put("/pcn/topologies/all", topology("all"))
        until(lambda: all(host.has("all", "DROP") for host in hosts))
        etcd.put("/pcn/topologies/all", topology("all", "FORWARD"))
        took = until(lambda: all(host.has("all", "FORWARD") for host in hosts))
        log.info("etcd, %d hosts: %.2f s", count, took)
        until(lambda: repository.status("h0").get("state") == "InSync")

        # a bad commit changes nothing, and its error is in the status
        bad = repository.commit({"t.yaml": topology("turin", "FORWAR", hosts=TURIN), "b.yaml": topology("bari", hosts=BARI)})
        until(lambda: repository.status("h0").get("state") == "Invalid")
        said = repository.status("h0")
        assert said["revision"] == bad
        assert "t.yaml:6:" in said["problems"][0]
        assert first.has("turin", "FORWARD")
        until(lambda: json.loads(etcd.get("/pcn/status/h1") or "{}").get("state") == "InSync")
        found = pcn("fleet", "status", "--git", repository.url, code=1).stdout
        assert "h0                    Invalid" in found
        assert "t.yaml:6:" in found

        proposed = tmp_path / "proposed"
        proposed.mkdir()
        (proposed / "t.yaml").write_text(topology("turin", "DROP", hosts=TURIN))
        lines = pcn("fleet", "plan", str(proposed), "--git", repository.url, code=2).stdout.splitlines()
        assert lines[0].endswith("(Invalid)"), "what was refused there is not what it has"

        # two feeds that give one topology: both are named
        etcd.put("/pcn/topologies/bari", topology("bari", "FORWARD"))
        until(lambda: any("there are two documents" in problem for problem in second.agent.status()["problems"]))
        text = " ".join(second.agent.status()["problems"])
        assert ".etcd/current/bari.yaml" in text
        assert ".git/current/b.yaml" in text
        assert second.has("bari", "DROP")
        etcd.delete("/pcn/topologies/bari")

        # the daemon and etcd are away, and a host is: what was applied stays, and all of it converges
        repository.stop()
        etcd.stop()
        until(lambda: sum("is away" in line or "Connection refused" in line for line in first.agent.status()["problems"]) >= 2)
        assert first.has("turin", "FORWARD")
        second.agent.stop()
        etcd.start()
        repository.start()
        etcd.put("/pcn/topologies/all", topology("all", "DROP"))
        last = repository.commit({"t.yaml": topology("turin", "DROP", hosts=TURIN), "b.yaml": topology("bari", "FORWARD", hosts=BARI)}, force=True)
        until(lambda: first.has("all", "DROP") and first.has("turin", "DROP"), 40)
        second.start()
        until(lambda: second.has("bari", "FORWARD") and second.has("all", "DROP"), 40)
        until(lambda: first.agent.status()["healthy"])

        # what a change would cost, without reaching anybody
        for host in hosts:
            until(lambda name=host.name: [repository.status(name).get(what) for what in ("revision", "state")] == [last, "InSync"], 60)  # type: ignore[misc]
        (proposed / "t.yaml").write_text(topology("turin", "FORWARD", hosts=TURIN))
        (proposed / "b.yaml").write_text(topology("bari", "FORWARD", hosts=BARI))
        lines = pcn("fleet", "plan", str(proposed), "--git", repository.url, code=2).stdout.splitlines()
        assert lines[0].startswith("h0                    0 program loads, 1 map write, 0 link changes; disruption: none")
        assert lines[1].startswith("h1                    nothing changes")


def test_etcd_that_was_compacted_restarted_or_lost_a_lease_is_followed_all_the_same(tmp_path: Path, own_root: str, etcd: Etcd) -> None:
    etcd.put("/pcn/topologies/one", topology("one"))
    with closing(FleetHost("h0", own_root, tmp_path / "hosts", "", "--etcd", etcd.url, "--report", "--prune")) as host:
        until(lambda: host.has("one", "DROP"), 60)
        etcd.stop()
        etcd.start()
        for number in range(5):
            etcd.put("/pcn/other", str(number))
        etcd.compact()
        etcd.put("/pcn/topologies/one", topology("one", "FORWARD"))
        until(lambda: host.has("one", "FORWARD"))
        lease = etcd.ask("kv/range", {"key": "L3Bjbi9zdGF0dXMvaDA="})["kvs"][0]["lease"]
        etcd.ask("lease/revoke", {"ID": lease})
        etcd.put("/pcn/topologies/one", topology("one", "DROP"))
        until(lambda: host.has("one", "DROP"))
        until(lambda: etcd.get("/pcn/status/h0"), 30)
        etcd.delete("/pcn/topologies/one")  # all that there is
        until(lambda: any("takes away 1 of 1 topologies (one), more than half" in line for line in host.agent.status()["problems"]))
        assert host.has("one", "DROP")
        etcd.put("/pcn/prune", "all")
        until(lambda: not host.has("one", "DROP"), 30)


def test_a_repository_that_was_emptied_or_is_not_signed_takes_nothing_away(tmp_path: Path, own_root: str, repository: Repository) -> None:
    key, signers = tmp_path / "key", tmp_path / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers.write_text(f"t@t {' '.join((tmp_path / 'key.pub').read_text().split()[:2])}\n")
    both = {"one.yaml": topology("one"), "two.yaml": topology("two")}
    repository.commit(both, sign=str(key))
    hook = repository.bare / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    words = ["--git", repository.url, "--every", "0.3", "--verify", str(signers), "--report", "--prune"]
    with closing(FleetHost("h0", own_root, tmp_path / "hosts", "", *words)) as host:
        until(lambda: host.has("one", "DROP") and host.has("two", "DROP"), 60)
        unsigned = repository.commit({**both, "one.yaml": topology("one", "FORWARD")})
        until(lambda: any(f"commit {unsigned[:12]} is not signed by anybody in {signers}" in line for line in host.agent.status()["problems"]))
        assert host.has("one", "DROP")
        repository.commit({**both, "one.yaml": topology("one", "FORWARD")}, force=True, sign=str(key))  # history is rewritten
        until(lambda: host.has("one", "FORWARD"))
        repository.commit({}, "empty", sign=str(key))
        until(lambda: any("takes away 2 of 2 topologies (one, two), more than half, and does not say 'pcn-prune: all'" in line
                          for line in host.agent.status()["problems"]))
        assert host.has("one", "FORWARD")
        suspended = topology("one", "DROP", more=', annotations: {pcn/suspend: "true"}')
        repository.commit({**both, "one.yaml": suspended}, sign=str(key))
        until(lambda: host.agent.status()["healthy"])
        assert host.has("one", "FORWARD")
        repository.commit({"two.yaml": both["two.yaml"]}, "half of it", sign=str(key))
        until(lambda: not host.has("one", "FORWARD"))
        repository.commit({}, "the rest\n\npcn-prune: all", sign=str(key))
        until(lambda: not host.has("two", "DROP"), 30)
        assert not (tmp_path / "ran").exists()
    shutil.rmtree(repository.work)


def test_a_file_for_other_hosts_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(topology("far", hosts="{names: [far-away]}"))
    done = pcn("apply", str(file), code=0)
    assert "t.yaml is for far-away, and not for " in done.stderr
    assert pcn("show", code=0).stdout.strip() == ""
    assert pcn("validate", str(file), code=0)


def test_sync_asks_git_at_once_and_says_what_came_of_it(tmp_path: Path, own_root: str, repository: Repository) -> None:
    repository.commit({"one.yaml": topology("one")})
    with closing(FleetHost("h0", own_root, tmp_path / "hosts", "", "--git", repository.url, "--every", "600")) as host:
        until(lambda: host.has("one", "DROP"), 60)
        commit = repository.commit({"one.yaml": topology("one", "FORWARD")})
        said = pcn("agent", "sync", "--bpffs", host.root, code=0).stdout
        assert said == f"git {repository.url} is at {commit[:12]}\n"
        assert host.has("one", "FORWARD"), "it is in force when the command ends"
        repository.stop()
        said = pcn("agent", "sync", "--bpffs", host.root, code=1).stdout
        assert "Connection refused" in said
        assert host.has("one", "FORWARD")
    assert pcn("agent", "sync", "--bpffs", f"{own_root}-nobody", code=1).stderr.strip().endswith("nobody is running")


def test_a_status_stays_in_etcd_while_its_host_reports_and_goes_with_the_host(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.sources import etcd as module

    monkeypatch.setattr(module, "LEASE", 2)
    source = module.EtcdSource(etcd.url)
    deadline = time.monotonic() + 6  # three times what the lease lasts
    while time.monotonic() < deadline:
        source.report("h9", {"state": "InSync"})
        assert etcd.get("/pcn/status/h9"), "it went between two reports"
        time.sleep(0.5)
        assert etcd.get("/pcn/status/h9"), "it went between two reports"
    until(lambda: etcd.get("/pcn/status/h9") is None, 15)
    source.report("h9", {"state": "InSync"})  # a host that was away
    assert etcd.get("/pcn/status/h9")
    source.close()
