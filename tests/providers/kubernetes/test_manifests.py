"""The manifests: what the provider watches is what it may read, and it may do nothing else."""
from __future__ import annotations

from pathlib import Path

import yaml

from providers.kubernetes.provider import KINDS, SLICES
from providers.kubernetes.topologies import PATH

MANIFESTS = Path(__file__).resolve().parents[3] / "packaging/kubernetes"


def documents() -> list[dict]:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((MANIFESTS / name).read_text())]


def test_the_role_reads_what_is_watched_and_writes_one_status():
    role = next(each for each in documents() if each["kind"] == "ClusterRole")
    reading = [rule for rule in role["rules"] if rule["verbs"] == ["get", "list", "watch"]]
    allowed = {(group, resource) for rule in reading for group in rule["apiGroups"] for resource in rule["resources"]}
    paths = (*KINDS.values(), *SLICES, PATH)
    assert allowed == {(path.split("/")[2] if path.startswith("/apis/") else "", path.rpartition("/")[2]) for path in paths}
    others = [(rule["resources"], rule["verbs"]) for rule in role["rules"] if rule not in reading]
    assert others == [(["topologies/status"], ["patch"])]


def test_the_daemon_set_asks_for_no_more_than_it_needs():
    pod = next(each for each in documents() if each["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    for container in pod["containers"]:
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert "privileged" not in container["securityContext"]
