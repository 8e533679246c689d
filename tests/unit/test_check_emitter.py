"""The canonical document, printed: pleasant to read, and read back as the same."""
from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.document.construct import construct
from reconciler.document.emitter import dump_yaml
from tests.unit.data.documents import one, topology

WORLD = """\
apiVersion: polycube.network/v1
kind: Topology
metadata:
  name: two-hosts
spec:
  namespaces: [h1, h2]
  links:
    - {name: veth1, kind: veth, peer: {name: eth0, netns: h1, addresses: [10.0.0.1/24]}}
    - {name: veth2, kind: veth, peer: {name: eth0, netns: h2, addresses: ["2001:db8::2/64"], mac: "52:54:00:12:34:56"}}
  cubes:
    - name: c1
      service-name: hub
      type: XDP_SKB
      ports:
        - {name: p1, peer: veth1}
        - {name: p2, peer: veth2, tcubes: [w1]}
      label: "1.10"
      table: {aging-time: 120}
    - name: w1
      service-name: wall
      type: XDP_SKB
      conntrack: "OFF"
      chain:
        - name: INGRESS
          default: DROP
          rule:
            - {id: 0, src: 10.0.0.0/24, l4proto: TCP, dport: 80, action: DROP}
    - name: w2
      service-name: wall
  attachments:
    - {netdev: eth9, tcubes: [w2]}
"""


def test_a_canonical_document_is_printed_as_people_write_it():
    text = WORLD.replace('["2001:db8::2/64"]', "[2001:db8::2/64]")
    assert dump_yaml(one(text).document) == text


def test_a_printed_document_is_read_back_as_the_same_topology():
    found = one(WORLD)
    again = one(dump_yaml(found.document))
    assert again == found
    assert dump_yaml(again.document) == dump_yaml(found.document)


NAMES = st.sampled_from(["a", "b-1", "c.d", "0", "1e3", "null", "ON", "0x1F", "true"])
PORTS = st.lists(st.fixed_dictionaries({"name": NAMES}, optional={
    "role": st.sampled_from(["access", "TRUNK"]), "mac": st.sampled_from(["02:00:00:00:00:10", "02:AA:00:00:00:10"]),
    "ip": st.sampled_from(["10.0.0.1/24", "2001:DB8::1/64"]), "tcubes": st.just([])}),
    max_size=3, unique_by=lambda port: port["name"])
CUBES = st.lists(st.fixed_dictionaries({"name": NAMES, "service-name": st.just("hub")}, optional={
    "type": st.sampled_from(["TC", "xdp_drv"]), "loglevel": st.sampled_from(["INFO", "trace"]), "ports": PORTS,
    "label": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="«‹"), min_size=2, max_size=12),
    "enabled": st.booleans(),
    "quota": st.integers(0, 2**64 - 1).map(str) | st.integers(0, 2**64 - 1), "speed": st.sampled_from([7, "auto", "NONE"]),
    "table": st.fixed_dictionaries({}, optional={"aging-time": st.sampled_from([0, 300])}),
    "mirror": st.fixed_dictionaries({}, optional={"snaplen": st.sampled_from([96, 97]), "to": st.just([])})}),
    max_size=4, unique_by=lambda cube: cube["name"])


@settings(deadline=None)
@given(CUBES)
def test_what_is_canonical_stays_as_it_is(cubes):
    head = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "t"}}
    found = one(dump_yaml({**head, "spec": {"cubes": cubes}}))
    again = one(dump_yaml(found.document))
    assert again == found
    assert again.document == found.document


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=25)


@settings(deadline=None)
@given(st.dictionaries(st.text(), DATA, min_size=1))
def test_any_data_is_read_back_as_it_was(data):
    assert construct(dump_yaml(data), "f") == [data]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["C"])) | st.sampled_from([
    "ON", "off", "Yes", "n", "52:54:00:12:34:56", "12:30", "0123", "1_000", "0b1", "2001-01-01", "=", "<<", "~", "1e3", ".5",
    "...", "---"]))
def test_a_reader_of_yaml_1_1_reads_the_same_text(text):
    assert yaml.safe_load(dump_yaml({"a": text, "b": [text]})) == {"a": text, "b": [text]}


@pytest.mark.parametrize("text", ["br1:p1", "10.0.0.0/24", "2001:db8::1/64", "veth0.100", "it's", "a b", "DROP", "v1.0.0"])
def test_ordinary_text_has_no_quotes(text):
    assert dump_yaml({"a": text}) == f"a: {text}\n"


def test_a_mapping_that_is_too_long_for_a_line_is_a_block():
    rule = {"description": "x" * 110, "id": 5}
    assert dump_yaml({"rule": [rule]}) == f"rule:\n  - description: {'x' * 110}\n    id: 5\n"


def test_what_is_empty_is_printed_too():
    assert dump_yaml({"a": {}, "b": [], "c": [{}, [], ""], "d": None}) == 'a: {}\nb: []\nc:\n  - {}\n  - []\n  - ""\nd: null\n'
    assert dump_yaml([]) == "[]\n"


EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "topologies").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_printed_and_read_back(example):
    (data,) = construct(example.read_text(), str(example))
    assert construct(dump_yaml(data), "f") == [data]


def test_lists_of_cubes_are_printed_too():
    cubes = one(topology("cubes: [{name: a, service-name: hub}]")).document["spec"]["cubes"]
    assert dump_yaml(cubes) == "- name: a\n  service-name: hub\n"
