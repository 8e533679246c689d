"""What comes with the provider: manifests that let it read what it watches and do nothing else, and its command."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from providers.kubernetes.provider import KINDS, OPTIONAL_KINDS, SLICES
from providers.kubernetes.topologies import PATH

MANIFESTS = Path(__file__).resolve().parents[3] / "packaging/kubernetes"


def documents() -> list[dict]:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((MANIFESTS / name).read_text())]


def test_the_role_reads_what_is_watched_and_writes_one_status():
    role = next(each for each in documents() if each["kind"] == "ClusterRole")
    reading = [rule for rule in role["rules"] if rule["verbs"] == ["get", "list", "watch"]]
    allowed = {(group, resource) for rule in reading for group in rule["apiGroups"] for resource in rule["resources"]}
    paths = (*KINDS.values(), *OPTIONAL_KINDS.values(), *SLICES, PATH)
    assert allowed == {(path.split("/")[2] if path.startswith("/apis/") else "", path.rpartition("/")[2]) for path in paths}
    others = [(rule["resources"], rule["verbs"]) for rule in role["rules"] if rule not in reading]
    assert others == [(["topologies/status"], ["patch"])]


def test_the_daemon_set_asks_for_no_more_than_it_needs():
    pod = next(each for each in documents() if each["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    for container in pod["containers"]:
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert "privileged" not in container["securityContext"]


def test_pcn_k8s_is_a_verb_of_pcn_and_status_says_that_nobody_is_there(tmp_path):
    pcn = Path(sys.executable).parent / "pcn"
    done = subprocess.run([pcn, "k8s", "status", "--bpffs", str(tmp_path)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "pcn-k8s: no provider is running\n")
    other = subprocess.run([pcn, "k9s"], capture_output=True, text=True, timeout=30, check=False)
    assert other.returncode == 64
    assert "there is no verb 'k9s'" in other.stderr
