"""Whose a topology is: an apply of another version than the agent's file has does not last, and both of them say why."""
from __future__ import annotations

import json
import os

import pytest

from reconciler.cli.main import main
from reconciler.cli.whose import others_files
from tests.lib.agent_process import OWNED, Bench
from tests.lib.lab import Lab


@pytest.fixture
def bench(tmp_path):
    with Lab(OWNED) as lab:
        found = Bench(lab, tmp_path)
        found.save()
        lab.apply()
        yield found


def test_an_apply_of_another_version_is_told_whose_file_it_is_and_so_is_the_agents_log(bench, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    with bench.agent() as agent:
        agent.poll()
        bench.lab.cube("br1")["fdb"]["aging-time"] = 500
        other.write_text(json.dumps(bench.lab.document().data))
        assert main(["apply", "--bpffs", bench.lab.root, str(other)]) == 0
        said = capsys.readouterr().err
        assert f"follows {bench.file}, and puts back what that says; change that file" in said
        assert f"(process {agent.process.pid})" in said
        agent.until(lambda said: said["healthy"] and said["reconciles"]["applied"] > 0)
        assert "somebody applied another version of lab; what its file says is in force again" in agent.text()
        assert bench.lab.live_cube("br1")["fdb"]["aging-time"] == 120
        bench.save()
        assert main(["apply", "--bpffs", bench.lab.root, str(bench.file)]) == 0
        assert capsys.readouterr().err == "", "the agent's own file is nobody else's"
        agent.until(lambda said: said["healthy"])
        assert agent.text().count("somebody applied") == 1


def test_a_topology_whose_file_is_gone_is_marked(bench, capsys):
    with bench.agent() as agent:
        agent.poll()
        assert agent.status()["in_no_file"] == []
        os.unlink(bench.file)
        agent.until(lambda said: said["in_no_file"] == ["lab"])
        assert main(["agent", "status", "--bpffs", bench.lab.root]) == 0
        assert "topology lab is in no file here; it stays (pcn delete lab removes it)" in capsys.readouterr().out


def test_a_router_is_said_to_want_an_agent_where_there_is_none(tmp_path, capsys):
    with Lab("cubes: [{name: r1, service-name: router, ports: [{name: a, ip: 10.0.0.1/24}]}]") as lab:
        file = tmp_path / "r.yaml"
        file.write_text(json.dumps(lab.document().data))
        assert main(["apply", "--bpffs", lab.root, str(file)]) == 0
        assert "r1 (router): no agent is running" in capsys.readouterr().err
        assert main(["apply", "--bpffs", lab.root, str(file)]) == 0
        assert capsys.readouterr().err == "", "it is said once"


def test_files_that_are_given_themselves_or_by_their_directory_are_not_somebody_elses():
    watched = [{"path": "/etc/pcn/a.yaml", "topologies": ["a", "b"]}, {"path": "/etc/pcn/c.yaml", "topologies": ["c"]}]
    assert others_files(watched, {"a", "c"}, ["/tmp/x.yaml"]) == [("/etc/pcn/a.yaml", "a"), ("/etc/pcn/c.yaml", "c")]
    assert others_files(watched, {"a", "c"}, ["/etc/pcn/a.yaml"]) == [("/etc/pcn/c.yaml", "c")]
    assert others_files(watched, {"a", "b", "c"}, ["/etc/pcn"]) == []
