"""`edit`: a document and a change give another document, or a refusal by name; nothing is ever changed in place."""

from __future__ import annotations

import copy
import random
import sys
from typing import Any

import pytest

from reconciler.check import check
from reconciler.document import Document
from reconciler.engine.edit import Change, edit, empty_topology, revision_of
from reconciler.errors import EditRefused
from reconciler.graph.documents import text_of
from reconciler.service.registry import Services

SERVICES = Services()
TOPOLOGY: dict[str, Any] = {
    **empty_topology("t"),
    "spec": {
        "cubes": [
            {"name": "br1", "service-name": "simplebridge", "ports": [{"name": "p1", "peer": "veth1"}, {"name": "to_r1", "peer": "r1:to_br1", "tcubes": ["fw1"]}]},
            {"name": "r1", "service-name": "router", "ports": [{"name": "to_br1", "ip": "10.0.0.1/24", "peer": "br1:to_r1"}], "route": [{"network": "10.2.0.0/16", "nexthop": "10.0.0.2"}]},
            {"name": "dd1", "service-name": "ddosmitigator"},
            {"name": "fw1", "service-name": "firewall", "chain": [{"name": "INGRESS", "rule": [{"id": 0, "src": "10.0.0.1"}, {"id": 1, "dport": 80, "l4proto": "TCP"}]}]},
        ],
        "attachments": [{"netdev": "eth7", "tcubes": ["dd1"]}],
    },
}


def edited(path: str, operation: str, value: Any = None, among: str = "", document: Any = TOPOLOGY) -> Any:
    before = copy.deepcopy(document)
    result = edit(document, path, Change(operation, value, among), SERVICES)
    assert document == before, "the document was changed in place"
    return result.document


def refused(path: str, operation: str, value: Any = None, among: str = "") -> EditRefused:
    before = copy.deepcopy(TOPOLOGY)
    with pytest.raises(EditRefused) as said:
        edit(TOPOLOGY, path, Change(operation, value, among), SERVICES)
    assert before == TOPOLOGY
    return said.value


def cube(document: Any, name: str) -> Any:
    return next(each for each in document["spec"]["cubes"] if each["name"] == name)


def rules(document: Any, chain: str = "INGRESS") -> list[Any]:
    return next(each["rule"] for each in cube(document, "fw1")["chain"] if each["name"] == chain)


def test_a_leaf_is_set_as_it_is_meant():
    assert cube(edited("fw1/loglevel", "merge", "debug"), "fw1")["loglevel"] == "DEBUG"
    assert cube(edited("br1/fdb/aging-time", "merge", "60"), "br1")["fdb"] == {"aging-time": 60}
    assert rules(edited("fw1/chain/ingress/rule/0/name", "merge", 1))[0]["name"] == "1"
    assert rules(edited("fw1/chain/INGRESS/rule/0/description", "merge", True))[0]["description"] == "true"


def test_entries_are_made_replaced_merged_and_removed_by_their_keys_in_the_order_of_the_model():
    made = edited("r1/route/0.0.0.0%2F0/10.0.0.2", "create", {"pathcost": "5"})
    assert cube(made, "r1")["route"][1] == {"network": "0.0.0.0/0", "nexthop": "10.0.0.2", "pathcost": 5}
    merged = edited("r1/route/10.2.0.0%2F16/10.0.0.2", "merge", {"pathcost": 7})
    assert cube(merged, "r1")["route"] == [{"network": "10.2.0.0/16", "nexthop": "10.0.0.2", "pathcost": 7}]
    replaced = edited("r1/route/10.2.0.0%2F16/10.0.0.2", "replace", {}, document=merged)
    assert cube(replaced, "r1")["route"] == [{"network": "10.2.0.0/16", "nexthop": "10.0.0.2"}]
    assert cube(edited("r1/route/10.2.0.0%2F16/10.0.0.2", "delete"), "r1")["route"] == []


def test_cubes_are_made_and_what_refers_to_one_that_goes_goes_too():
    made = edited("br2", "create", {"service-name": "simplebridge", "fdb": {"aging-time": 5}})
    assert cube(made, "br2") == {"name": "br2", "service-name": "simplebridge", "fdb": {"aging-time": 5}}
    assert cube(edited("fw1", "delete"), "br1")["ports"][1]["tcubes"] == []
    assert edited("dd1", "delete")["spec"]["attachments"] == []
    assert "peer" not in cube(edited("r1", "delete"), "br1")["ports"][1]
    assert "peer" not in cube(edited("r1/ports/to_br1", "delete"), "br1")["ports"][1]


def test_a_list_of_cubes_is_made_at_once_or_not_at_all():
    both = edited("", "create", [{"name": "a", "service-name": "helloworld"}, {"name": "b", "service-name": "helloworld"}])
    assert [each["name"] for each in both["spec"]["cubes"]][-2:] == ["a", "b"]
    assert refused("", "create", [{"name": "a", "service-name": "helloworld"}, {"name": "r1", "service-name": "router"}]).tag == "data-exists"


def test_rules_are_appended_inserted_and_taken_out_and_stay_contiguous():
    more = edit(TOPOLOGY, "fw1/chain/INGRESS", Change("append", {"action": "drop"}, "rule"), SERVICES)
    assert more.output == {"id": 2}
    assert rules(more.document)[2] == {"id": 2, "action": "DROP"}
    first = edit(TOPOLOGY, "fw1/chain/INGRESS", Change("insert", {"src": "10.9.0.0/16"}, "rule"), SERVICES)
    assert (first.output, [rule["id"] for rule in rules(first.document)]) == ({"id": 0}, [0, 1, 2])
    assert rules(first.document)[0]["src"] == "10.9.0.0/16"
    assert [rule["id"] for rule in rules(edited("fw1/chain/INGRESS/rule/0", "delete"))] == [0]
    by_spec = edited("fw1/chain/INGRESS", "remove", {"l4proto": "tcp", "dport": "80", "action": "ACCEPT"}, "rule")
    assert [rule["src"] for rule in rules(by_spec)] == ["10.0.0.1"]
    assert refused("fw1/chain/INGRESS", "remove", {"dport": 81}, "rule").tag == "data-missing"


def test_gaps_between_ids_stay_and_an_insert_moves_no_more_than_it_must():
    gaps = edited("fw1/chain/EGRESS/rule", "replace", [{"id": 10}, {"id": 11}, {"id": 20}])
    assert [rule["id"] for rule in rules(edited("fw1/chain/EGRESS", "insert", {"id": 10}, "rule", gaps), "EGRESS")] == [10, 11, 12, 20]
    assert [rule["id"] for rule in rules(edited("fw1/chain/EGRESS/rule/10", "delete", document=gaps), "EGRESS")] == [11, 20]


def test_a_chain_that_nobody_wrote_is_there():
    assert rules(edited("fw1/chain/EGRESS", "append", {}, "rule"), "EGRESS") == [{"id": 0}]
    assert cube(edited("fw1/chain/EGRESS/default", "merge", "drop"), "fw1")["chain"][1] == {"name": "EGRESS", "default": "DROP"}


def test_a_batch_is_done_whole_or_not_at_all():
    batch = [{"operation": "append", "src": "10.0.0.3"}, {"operation": "insert", "id": 0}, {"operation": "delete", "id": 1}, {"operation": "update", "id": 0, "action": "DROP"}]
    done = rules(edited("fw1/chain/INGRESS", "batch", {"rules": batch}, "rule"))
    assert [(rule["id"], rule.get("src"), rule.get("action")) for rule in done] == [(0, None, "DROP"), (1, None, None), (2, "10.0.0.3", None)]
    assert refused("fw1/chain/INGRESS", "batch", {"rules": [*batch, {"operation": "delete", "id": 99}]}, "rule").tag == "data-missing"
    assert "file" in refused("fw1/chain/INGRESS", "batch", {"rules": ""}, "rule").message


@pytest.mark.parametrize(
    ("path", "operation", "value", "tag", "info"),
    [
        ("r1", "create", {"service-name": "router"}, "data-exists", ""),
        ("nobody", "delete", None, "data-missing", "nobody"),
        ("nobody/ports/p1", "create", {}, "data-missing", "nobody"),
        ("x", "create", {"service-name": "nothing"}, "invalid-value", "service-name"),
        ("x", "create", {"name": "y", "service-name": "router"}, "invalid-value", "name"),
        ("x", "create", {}, "invalid-value", "service-name"),
        ("r1/colour", "merge", "red", "unknown-element", "colour"),
        ("r1", "merge", {"colour": "red"}, "invalid-value", "colour"),
        ("r1", "merge", {"type": "XDP_SKB"}, "invalid-value", "type"),
        ("r1/type", "merge", "XDP_SKB", "invalid-value", "type"),
        ("r1/fib", "merge", [], "operation-not-supported", "fib"),
        ("r1", "merge", {"fib": []}, "invalid-value", "fib"),
        ("r1/route/10.2.0.0%2F16", "delete", None, "operation-not-supported", "nexthop"),
        ("r1/route/10.9.0.0%2F16/10.0.0.9", "delete", None, "data-missing", "route"),
        ("r1/route/10.9.0.0%2F16/10.0.0.9", "merge", {}, "data-missing", "route"),
        ("r1/route/10.2.0.0%2F16/10.0.0.2", "create", {}, "data-exists", "route"),
        ("r1/route/10.3.0.0%2F16/10.0.0.2", "create", {"nexthop": "10.0.0.3"}, "invalid-value", "nexthop"),
        ("r1/route/mist/10.0.0.2", "create", {}, "bad-attribute", "network"),
        ("r1/route", "create", {}, "invalid-value", "route"),
        ("r1/route", "create", [{"network": "10.0.0.0/8"}], "missing-attribute", "nexthop"),
        ("r1/route/10.2.0.0%2F16/10.0.0.2/network", "merge", "10.0.0.0/8", "operation-not-supported", "network"),
        ("br1/fdb/aging-time", "merge", "soon", "bad-attribute", "aging-time"),
        ("br1/fdb/aging-time", "merge", None, "bad-attribute", "aging-time"),
        ("br1/fdb", "merge", 5, "bad-attribute", "fdb"),
        ("fw1/chain/INGRESS/rule/1/dport", "merge", 70000, "bad-attribute", "dport"),
        ("fw1/chain/SIDEWAYS/default", "merge", "DROP", "bad-attribute", "name"),
        ("fw1/chain/INGRESS/rule/7/action", "merge", "DROP", "data-missing", "rule"),
    ],
)
def test_what_cannot_be_is_refused_by_name(path, operation, value, tag, info):
    error = refused(path, operation, value)
    assert (error.tag, error.info) == (tag, info)
    assert error.message


def test_a_revision_that_is_no_longer_the_documents_is_refused():
    now = revision_of(TOPOLOGY)
    later = edit(TOPOLOGY, "fw1/loglevel", Change("merge", "ERR"), SERVICES, now).document
    assert revision_of(later) != now
    with pytest.raises(EditRefused) as said:
        edit(later, "fw1/loglevel", Change("merge", "OFF"), SERVICES, now)
    assert said.value.tag == "stale"
    assert revision_of(text_of(later)) == revision_of(later)


def test_what_an_edit_leaves_alone_is_shared_with_the_document_before():
    many = edited("fw1/chain/INGRESS/rule", "replace", [{"id": number} for number in range(1000)])
    more = edited("fw1/chain/INGRESS", "append", {"dport": 1, "l4proto": "UDP"}, "rule", many)
    assert all(one is other for one, other in zip(rules(many), rules(more), strict=False))
    assert cube(more, "r1") is cube(many, "r1")


def test_any_walk_of_edits_that_are_taken_ends_in_a_document_that_is_right():
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    document: Any = TOPOLOGY
    taken = 0
    for _ in range(300):
        path, operation, value, among = chance.choice(
            [
                ("fw1/chain/INGRESS", "append", {"src": f"10.0.0.{chance.randrange(256)}"}, "rule"),
                ("fw1/chain/EGRESS", "insert", {"id": chance.randrange(5)}, "rule"),
                (f"fw1/chain/INGRESS/rule/{chance.randrange(8)}", "delete", None, ""),
                (f"r1/ports/p{chance.randrange(4)}", chance.choice(["create", "delete"]), {}, ""),
                (f"br1/ports/p{chance.randrange(4)}", chance.choice(["create", "delete", "replace"]), {}, ""),
                (f"h{chance.randrange(3)}", chance.choice(["create", "delete"]), {"service-name": "helloworld"}, ""),
                ("br1/fdb/aging-time", "merge", chance.randrange(10, 99), ""),
            ]
        )
        try:
            document = edit(document, path, Change(operation, value, among), SERVICES).document
            taken += 1
        except EditRefused as error:
            assert error.tag in ("data-exists", "data-missing"), error  # noqa: PT017
    assert taken > 50
    (topology,), _ = check([Document("walk", text_of(document), document)], SERVICES)
    ids = [[rule["id"] for rule in chain.get("rule", ())] for chain in cube(topology.document, "fw1")["chain"]]
    assert all(found == list(range(len(found))) for found in ids)
