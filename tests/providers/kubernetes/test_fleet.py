"""pcn k8s fleet: how the nodes of a cluster do, from what they and the cluster have said."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from providers.kubernetes.fleet import as_text, rows
from tests.providers.kubernetes.api_server import ApiServer


def node(name: str, ready: str = "True", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def topology(name: str, generation: int, hosts: Any = None, **nodes: tuple[int, str, str]) -> dict[str, Any]:
    said = {each: {"observedGeneration": at, "state": state, "problem": problem} for each, (at, state, problem) in nodes.items()}
    spec = {"hosts": hosts} if hosts is not None else {}
    return {"metadata": {"name": name, "generation": generation}, "spec": spec, "status": {"nodes": said}}


NODES = [node("n2", site="bari"), node("n1", site="turin"), node("n3", "Unknown")]
TOPOLOGIES = [
    topology("web", 2, n1=(2, "applied", ""), n2=(2, "refused", "kubernetes:web:6:3: wrong\nmore"), n3=(2, "applied", "")),
    topology("turin", 4, {"labels": {"site": "turin"}}, n1=(3, "applied", "")),
]


def test_a_node_is_as_the_worst_of_its_topologies_and_those_for_others_are_not_its_business():
    found = rows(NODES, TOPOLOGIES)
    assert [(row["host"], row["state"]) for row in found] == [("n1", "Pending"), ("n2", "Invalid"), ("n3", "Away")]
    assert as_text(found) == [
        "n1                    Pending    turin@3, web@2", "n2                    Invalid    web", "  web: kubernetes:web:6:3: wrong",
        "n3                    Away       web@2",
    ]  # fmt: skip


@pytest.mark.parametrize(("said", "state"), [(("applied", 2), "InSync"), (("applied", 1), "Pending"), (("failed", 2), "Failed"), (("waiting", 2), "Pending")])
def test_each_state_of_a_topology_has_its_word(said: tuple[str, int], state: str):
    assert rows([node("n1")], [topology("web", 2, n1=(said[1], said[0], ""))])[0]["state"] == state


def test_the_command_asks_the_cluster_and_its_exit_code_says_whether_all_is_well(tmp_path: Path):
    with ApiServer() as server:
        config = tmp_path / "config"
        named = {"clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}], "users": [{"name": "u", "user": {}}],
                 "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}  # fmt: skip
        config.write_text(yaml.safe_dump(named))

        def fleet(*words: str) -> subprocess.CompletedProcess[str]:
            command = [Path(sys.executable).parent / "pcn", "k8s", "fleet", "--kubeconfig", str(config), *words]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        server.put("nodes", node("n1", site="turin"))
        server.put("topologies", topology("web", 2, n1=(2, "applied", "")))
        done = fleet()
        assert (done.returncode, done.stdout) == (0, "n1                    InSync     web@2\n")
        server.put("topologies", topology("web", 3, n1=(3, "refused", "wrong")))
        done = fleet("-o", "json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["hosts"][0]["problems"] == ["web: wrong"]
        server.is_away = True
        done = fleet()
        assert done.returncode == 1
        assert done.stderr.startswith("pcn-k8s: ")
