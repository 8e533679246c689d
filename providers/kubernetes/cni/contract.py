"""CNI's requests and results, versions 0.3.1 to 1.1.0: plain data, no I/O (containernetworking/cni, SPEC.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
VERBS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")
INCOMPATIBLE, UNKNOWN_CONTAINER, BAD_ENVIRONMENT, IO_FAILED, BAD_CONFIG, BAD_VALUE, TRY_LATER = 1, 3, 4, 5, 6, 7, 11
NOT_AVAILABLE, CHECK_FAILED, NO_SLOT = 50, 100, 101
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_IFNAME = re.compile(r"[^/:\s]{1,15}")


class CniError(Exception):
    """An error of CNI: code, message, details."""

    def __init__(self, code: int, words: str, details: str = "") -> None:
        super().__init__(words)
        self.code, self.details = code, details

    def json(self, version: str) -> dict[str, Any]:
        said = {"cniVersion": version, "code": self.code, "msg": str(self)}
        return {**said, "details": self.details} if self.details else said


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the plugin. `pod` is its namespace and name, empty strings without CNI_ARGS that have them."""

    verb: str
    version: str
    config: Mapping[str, Any]
    container: str = ""
    ifname: str = ""
    netns: str = ""
    pod: tuple[str, str] = ("", "")
    uid: str = ""

    @property
    def attachment(self) -> tuple[str, str]:
        """CNI's key of a pod's interface."""
        return self.container, self.ifname


@dataclass(frozen=True, slots=True)
class Given:
    """A pod's allocation: addresses (address/prefix, gateway), and both ends of its veth."""

    netdev: str
    mac: str
    ifname: str
    netns: str
    mtu: int
    addresses: Sequence[tuple[str, str]] = field(default_factory=tuple)


def request_of(environment: Mapping[str, str], stdin: bytes) -> Request:
    """Parse a call. Raises CniError for an invalid one."""
    verb = environment.get("CNI_COMMAND", "")
    if verb not in VERBS:
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND is none of {', '.join(VERBS)}")
    try:
        config = json.loads(stdin or b"{}")
    except ValueError:
        raise CniError(BAD_CONFIG, "the configuration on standard input is no JSON") from None
    if not isinstance(config, dict):
        raise CniError(BAD_CONFIG, "the configuration on standard input is no object")
    version = config.get("cniVersion", VERSIONS[0])
    if verb != "VERSION" and version not in VERSIONS:
        raise CniError(INCOMPATIBLE, f"version {version} is not spoken here, only {', '.join(VERSIONS)}")
    if verb in ("STATUS", "GC") and version != VERSIONS[-1]:
        raise CniError(INCOMPATIBLE, f"{verb} came with version 1.1.0, and the configuration is of {version}")
    if verb in ("VERSION", "STATUS", "GC"):
        return Request(verb, str(version), config)
    container, ifname, netns = (environment.get(f"CNI_{name}", "") for name in ("CONTAINERID", "IFNAME", "NETNS"))
    if not _ID.fullmatch(container):
        raise CniError(BAD_ENVIRONMENT, "CNI_CONTAINERID is no container's name")
    if not _IFNAME.fullmatch(ifname) or ifname in (".", ".."):
        raise CniError(BAD_ENVIRONMENT, "CNI_IFNAME is no netdev's name")
    if verb in ("ADD", "CHECK") and not netns.startswith("/"):
        raise CniError(BAD_ENVIRONMENT, "CNI_NETNS is no path")
    said = dict(word.split("=", 1) for word in environment.get("CNI_ARGS", "").split(";") if "=" in word)
    pod = said.get("K8S_POD_NAMESPACE", ""), said.get("K8S_POD_NAME", "")
    return Request(verb, version, config, container, ifname, netns, pod, said.get("K8S_POD_UID", ""))


def result(given: Given, request: Request) -> dict[str, Any]:
    """The result of ADD, in the format of the configuration's version."""
    old = request.version in ("0.3.1", "0.4.0")
    ends: list[dict[str, Any]] = [{"name": given.netdev}, {"name": given.ifname, "mac": given.mac, "sandbox": given.netns}]
    if request.version == "1.1.0":
        for end in ends:
            end["mtu"] = given.mtu
    ips, routes = [], []
    for address, gateway in given.addresses:
        version = 6 if ":" in address else 4
        ips.append({**({"version": str(version)} if old else {}), "address": address, "gateway": gateway, "interface": 1})
        routes.append({"dst": "::/0" if version == 6 else "0.0.0.0/0", "gw": gateway})
    return {"cniVersion": request.version, "interfaces": ends, "ips": ips, "routes": routes, "dns": request.config.get("dns", {})}


def versions(version: str) -> dict[str, Any]:
    return {"cniVersion": version if version in VERSIONS else VERSIONS[-1], "supportedVersions": list(VERSIONS)}


def valid_attachments(config: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(container, ifname) that GC keeps. Raises CniError without a list: one omitted by mistake must not delete all pods."""
    found = config.get("cni.dev/valid-attachments", config.get("cni.dev/attachments"))
    if not isinstance(found, list):
        raise CniError(BAD_CONFIG, 'there is no "cni.dev/valid-attachments"')
    return {(str(each.get("containerID")), str(each.get("ifname"))) for each in found if isinstance(each, dict)}
