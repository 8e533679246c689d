"""A cluster's state from recorded objects: a List, as `kubectl get -A -o json` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.kubernetes.state import State
from providers.kubernetes.watch import name_of

KINDS = {
    "Node": "nodes", "Namespace": "namespaces", "Pod": "pods", "Service": "services", "EndpointSlice": "slices",
    "NetworkPolicy": "policies", "AdminNetworkPolicy": "admin_policies", "BaselineAdminNetworkPolicy": "baseline_policies",
}  # fmt: skip


INSTEAD = {
    "PolycubeNetworkPolicy": "what it allows is a NetworkPolicy, what it drops by a priority an AdminNetworkPolicy",
}
"""The replacements of other providers' kinds."""


def left_out(listed: Mapping[str, Any]) -> list[str]:
    """A message for each object of a kind in INSTEAD."""
    items = [item for item in listed.get("items", ()) if item.get("kind") in INSTEAD]
    return [f"{item['kind']} {'/'.join(filter(None, name_of(item)))} is not looked at: {INSTEAD[item['kind']]}" for item in items]


def state_of(listed: Mapping[str, Any]) -> State:
    """A provider's state without attachments: pods that the API has on this node have no slot."""
    kinds: dict[str, Any] = {kind: {} for kind in KINDS.values()}
    for item in listed.get("items", ()):
        if item.get("kind") in KINDS:
            kinds[KINDS[item["kind"]]][name_of(item)] = item
    return State(**kinds)
