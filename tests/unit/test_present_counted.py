"""What was counted of each entry of a list, as `pcn stats CUBE` prints it."""
from __future__ import annotations

from reconciler.present.counted import counted, has_counts
from reconciler.service.registry import Services

RULES = [
    {"id": 10, "name": "ssh", "l4proto": "TCP", "dport": 22, "action": "ACCEPT", "description": "by hand"},
    {"id": 20, "src": "10.0.0.0/8", "action": "DROP"},
]
STATS = [{"id": "10", "pkts": 3, "bytes": 2222}, {"id": "20", "pkts": 0, "bytes": 0}, {"id": "default", "pkts": 17, "bytes": 1020}]
FIREWALL = {"name": "fw1", "chain": [{"name": "INGRESS", "default": "DROP", "rule": RULES, "stats": STATS}]}


def test_each_rule_stands_beside_its_counters_and_what_else_decided_below():
    (found,) = counted(Services().get("firewall").schema, FIREWALL, "fw1")
    assert list(found.lines()) == [
        "fw1 chain INGRESS  default=DROP",
        "  pkts  bytes  id       entry",
        "     3  2,222  10       name=ssh l4proto=TCP dport=22 action=ACCEPT description='by hand'",
        "     0      0  20       src=10.0.0.0/8 action=DROP",
        "    17  1,020  default",
    ]


def test_only_models_that_say_what_counts_what_have_such_lists():
    assert has_counts(Services().get("firewall").schema)
    assert not has_counts(Services().get("router").schema)
