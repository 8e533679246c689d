"""Clients of the cluster that scripts/test-kubernetes makes, for its checks: kubectl, curl, and objects in few words."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

RUN, BIN = os.environ["RUN"], os.environ["PCN_KUBERNETES"] + "/bin"
NODES = {"node1": "172.30.0.11", "node2": "172.30.0.12"}
NODES6 = {"node1": "fd30::11", "node2": "fd30::12"}
OUTSIDE = "172.30.0.100"
IMAGE = "localhost/pcn-test/agnhost:1"


def run(*words: str, text: str | None = None, seconds: float = 30) -> str:
    """Its output; '' if it fails or takes too long."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def kubectl(*words: str, text: str | None = None) -> str:
    return run("kubectl", *words, text=text)


def apply(*objects: dict[str, Any]) -> None:
    found = subprocess.run(
        ["kubectl", "apply", "-f", "-"],
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        raise SystemExit(f"checks: {found.stderr}")


def within(namespace: str, *words: str, seconds: float = 30) -> str:
    """In n1, n2 or ext."""
    return run("nsenter", f"--net=/run/netns/{namespace}", *words, seconds=seconds)


def on(node: int, *words: str) -> str:
    """In a node's mounts, too."""
    with open(f"{RUN}/n{node}/pid", encoding="ascii") as file:
        return run("nsenter", "-t", file.read().strip(), "-m", "-n", *words)


def curl(url: str) -> list[str]:
    return ["curl", "-gs", "-m", "3", url]


def from_pod(pod: str, url: str) -> str:
    return kubectl("exec", pod, "-c", "c", "--", *curl(url))


def udp_from_pod(pod: str, host: str, port: int, request: str = "hostname") -> str:
    said = from_pod(pod, f"http://127.0.0.1:8080/dial?host={host}&port={port}&protocol=udp&request={request}&tries=1")
    return ",".join(json.loads(said).get("responses") or ()) if said.startswith("{") else ""


def pod(name: str, node: str, port: int = 8080, labels: dict[str, str] | None = None, host_port: int = 0) -> dict[str, Any]:
    ports = [{"containerPort": port, "name": "http", **({"hostPort": host_port} if host_port else {})}]
    container = {
        "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "ports": ports,
        "args": ["netexec", f"--http-port={port}", "--udp-port=8081"],
        "readinessProbe": {"httpGet": {"path": "/hostname", "port": port}, "periodSeconds": 1},
    }  # fmt: skip
    spec: dict[str, Any] = {"nodeName": node, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    spec["containers"] = [container]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {"app": name}}, "spec": spec}


def service(name: str, app: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "udp", "port": 53, "targetPort": 8081, "protocol": "UDP"}]
    spec = {"selector": {"app": app}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def of(kind: str, name: str, path: str) -> str:
    return kubectl("get", kind, name, "-o", f"jsonpath={{{path}}}")


def until(wanted: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if wanted():
            return True
        time.sleep(0.05)
    return False


def is_ready(name: str) -> bool:
    return of("pod", name, ".status.conditions[?(@.type=='Ready')].status") == "True"


def addresses(name: str) -> list[str]:
    return of("pod", name, ".status.podIPs[*].ip").split()


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


Found = Iterator[tuple[str, Any, Any]]
"""What a check yields: what it is about, as it should be, and as it is."""
