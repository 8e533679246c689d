"""The bridge's configuration as rows and back, and what is said of one that makes no sense, at its line."""
from __future__ import annotations

import json

import pytest

from cubes import bridge
from cubes.bridge.settings import port_of
from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.model.codec import Env
from reconciler.service.registry import Services
from tests.services.bridge.layouts import TABLES

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n  - name: br1\n    service-name: bridge\n    ports:\n"
PORTS = "    - {name: a, access: {vlanid: 10}}\n    - {name: t, mode: trunk, trunk: {allowed: [{vlanid: 10}, {vlanid: 20}]}}\n"


def said_of(text: str) -> list[tuple[int, str, str]]:
    """(line, path, sentence) of every error."""
    try:
        check(parse(HEAD + text, "f"), Services())
    except DocumentError as error:
        return [(problem.where.line, problem.path, problem.message) for problem in error.problems]
    return []


BAD = {
    "    - {name: a, access: {vlanid: 0}}\n": (9, "access/vlanid", "0 is less than 1"),
    "    - {name: a, access: {vlanid: 4095}}\n": (9, "access/vlanid", "4095 is more than 4094"),
    "    - {name: a, mode: trunk, trunk: {allowed: [{vlanid: 4095}]}}\n": (9, "vlanid", "4095 is more than 4094"),
    "    - {name: a, mode: trunk, trunk: {allowed: [{vlanid: 5}], native-vlan: 6}}\n": (9, "native-vlan", "VLAN 6 is none that the port carries"),
    "    - {name: a, mode: trunk, trunk: {allowed: [{vlanid: 5}], allow-all: true}}\n": (9, "allowed", "carries all VLANs"),
    "    - {name: a, mode: access, trunk: {allow-all: true}}\n": (9, "trunk", ""),
    "    - {name: a, mac: 'ff:ff:ff:ff:ff:ff'}\n": (9, "mac", "no MAC address of a station"),
    f"{PORTS}    fdb: {{entry: [{{vlan: 30, mac: 02:00:00:00:00:01, port: t}}]}}\n": (11, "vlan", "port t does not carry VLAN 30"),
    f"{PORTS}    fdb: {{entry: [{{vlan: 10, mac: 03:00:00:00:00:01, port: t}}]}}\n": (11, "mac", "no MAC address of a station"),
    f"{PORTS}    fdb: {{entry: [{{vlan: 10, mac: 02:00:00:00:00:01, port: x}}]}}\n": (11, "port", "x"),
    f"{PORTS}    fdb: {{entry: [{{vlan: 4095, mac: 02:00:00:00:00:01, port: t}}]}}\n": (11, "vlan", "4095 is more than 4094"),
    f"{PORTS}    stp-enabled: true\n    stp: [{{vlan: 30}}]\n": (12, "stp", "no port carries VLAN 30"),
    f"{PORTS}    stp: [{{vlan: 5000}}]\n": (11, "stp", "5000 is more than 4094"),
    f"{PORTS}    stp: [{{vlan: 10, hello-time: 10}}]\n": (11, "max-message-age", "at least twice the hello time"),
    f"{PORTS}    stp-enabled: true\n    forward-group: [stp]\n": (12, "forward-group", "this bridge's own business"),
    "    - {name: a, access: {vlanid: 10}, stp: [{vlan: 20, path-cost: 9}]}\n": (9, "stp", "port a does not carry VLAN 20"),
    f"{PORTS}    forward-group: [lacp]\n": (11, "forward-group", "lacp"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_makes_no_sense_is_an_error_at_its_line(text):
    line, path, words = BAD[text]
    found = said_of(text)
    assert [each for each in found if each[0] == line and path in each[1] and words in each[2]], found


def test_a_bridge_of_polycubes_is_taken_as_it_is():
    text = "- " + json.dumps({
        "name": "br1", "service-name": "bridge", "type": "TC", "loglevel": "INFO", "fdb": {"aging-time": 300},
        "ports": [
            {"name": "a", "peer": "veth1", "mode": "access", "access": {"vlanid": 10}},
            {"name": "t", "mode": "trunk", "trunk": {"allowed": [{"vlanid": 10}], "native-vlan-enabled": True}},
        ],
    })  # fmt: skip
    topologies, _ = check(parse(text, "cubes.yaml"), Services())
    assert [port.name for port in topologies[0].cubes[0].ports] == ["a", "t"]


CONFIGS = [
    {"mode": "access", "access": {"vlanid": 7}},
    {"mode": "access", "access": {"vlanid": 1}, "mac": "02:00:00:00:00:09", "edge-port": True, "bpdu-guard": True},
    {"mode": "access", "access": {"vlanid": 9}, "point-to-point": False, "stp": [{"vlan": 9, "path-cost": 100, "port-priority": 16}]},
    {"mode": "trunk", "trunk": {"allowed": [{"vlanid": 1}, {"vlanid": 4094}], "allow-all": False, "native-vlan-enabled": True}},
    {"mode": "trunk", "trunk": {"allowed": [{"vlanid": 5}], "allow-all": False, "native-vlan-enabled": True, "native-vlan": 5}},
    {"mode": "trunk", "trunk": {"allowed": [{"vlanid": 5}], "allow-all": False, "native-vlan-enabled": False, "native-vlan": 5}},
    {"mode": "trunk", "trunk": {"allowed": [], "allow-all": True, "native-vlan-enabled": True, "native-vlan": 9}},
    {"mode": "trunk", "trunk": {"allowed": [], "allow-all": True, "native-vlan-enabled": True}},
]


def test_configuration_read_back_from_rows_is_what_was_written():
    usual = {"edge-port": False, "bpdu-guard": False, "point-to-point": True}
    ports = [{"name": f"p{number}", **usual, **config} for number, config in enumerate(CONFIGS)]
    env = Env({port["name"]: 3 * number for number, port in enumerate(ports)}, cube="br1")
    rows = {name: dict(found.rows) for name, found in bridge.tables({"ports": ports}, env, TABLES).items()}
    assert bridge.config(rows, env, TABLES)["ports"] == ports


def test_without_a_native_vlan_that_it_carries_a_trunk_has_none():
    assert port_of({"name": "t", "mode": "trunk", "trunk": {"allowed": [{"vlanid": 10}]}}).native == 0
    assert port_of({"name": "t", "mode": "trunk", "trunk": {"allowed": [{"vlanid": 1}]}}).native == 1
    assert port_of({"name": "t", "mode": "trunk", "trunk": {"allow-all": True}}).native == 1
