"""API objects as a cluster would serve them, in few words."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def node(name: str, pods: Sequence[str], *addresses: str) -> dict[str, Any]:
    said = [{"type": "Hostname", "address": name}, *({"type": "InternalIP", "address": each} for each in addresses)]
    return {"metadata": {"name": name}, "spec": {"podCIDR": pods[0], "podCIDRs": list(pods)}, "status": {"addresses": said}}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def pod(name: str, node_name: str, *, space: str = "default", ips: Sequence[str] = (), ports: Sequence[dict[str, Any]] = (),
        host_network: bool = False, phase: str = "Running", **labels: str) -> dict[str, Any]:  # fmt: skip
    spec = {"nodeName": node_name, "containers": [{"name": "c", "ports": list(ports)}]}
    if host_network:
        spec["hostNetwork"] = True
    status = {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]}
    return {"metadata": {"namespace": space, "name": name, "labels": labels}, "spec": spec, "status": status}


def service(name: str, *ips: str, ports: Sequence[dict[str, Any]], space: str = "default", **spec: Any) -> dict[str, Any]:
    said = {"type": "ClusterIP", "clusterIP": ips[0] if ips else "None", "clusterIPs": list(ips), "ports": list(ports)}
    balanced = spec.pop("balanced", ())
    status = {"loadBalancer": {"ingress": [{"ip": ip} for ip in balanced]}}
    return {"metadata": {"namespace": space, "name": name}, "spec": {**said, **spec}, "status": status}


def slices(name: str, port: int, *endpoints: dict[str, Any], space: str = "default", port_name: str = "", protocol: str = "TCP",
           family: str = "IPv4") -> dict[str, Any]:  # fmt: skip
    about = {"namespace": space, "name": f"{name}-{family.lower()}-x", "labels": {"kubernetes.io/service-name": name}}
    ports = [{"name": port_name, "port": port, "protocol": protocol}]
    return {"metadata": about, "addressType": family, "ports": ports, "endpoints": list(endpoints)}


def endpoint(ip: str, node_name: str = "", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": conditions, **({"nodeName": node_name} if node_name else {})}


def policy(name: str, *, space: str = "default", select: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": space, "name": name}, "spec": {"podSelector": select or {}, **spec}}
