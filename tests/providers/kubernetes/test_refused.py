"""Who was refused by which policy, from counters and lines of the log."""
from __future__ import annotations

from providers.kubernetes import refused, say
from providers.kubernetes.policies import policy_cube
from providers.kubernetes.state import Attached, State
from tests.providers.kubernetes import objects

LINE = "refused: RULE=10 CHAIN=INGRESS IN=pcn-up SRC=10.244.1.9 DST=10.244.1.8 LEN=60 PROTO=TCP SPT=40000 DPT=8080"


def shown(*, log: bool) -> dict:
    pods = {("default", name): objects.pod(name, "n1", app=name) for name in ("a", "b", "c")}
    attached = {("default", name): Attached(slot, (f"10.244.1.{8 + slot}",)) for slot, name in enumerate(("a", "b", "c"))}
    policies = {("default", "all"): objects.policy("all"),
                ("default", "only-a"): objects.policy("only-a", select={"matchLabels": {"app": "a"}})}  # fmt: skip
    spaces = {("", "default"): objects.namespace("default")}
    state = State(namespaces=spaces, pods=pods, attached=attached, policies=policies)
    return {"cubes": [policy_cube(state, "n1", ["10.244.1.2"], [], log=log)]}


def test_pods_that_the_same_policies_isolate_share_a_rule_that_names_them():
    (cube,) = shown(log=False)["cubes"]
    drops = [rule for rule in cube["chain"][0]["rule"] if rule["action"] == "DROP"]
    sets = {each["name"]: each["prefix"] for each in cube["set"]}
    assert {rule["description"]: sets[rule["dst-set"]] for rule in drops} == {
        "default/all": ["10.244.1.10", "10.244.1.9"], "default/all, default/only-a": ["10.244.1.8"]}  # fmt: skip


def test_what_was_dropped_is_counted_by_policies():
    said = shown(log=True)
    chain = said["cubes"][0]["chain"][0]
    drop = next(rule for rule in chain["rule"] if rule["action"] == "DROP" and "only-a" in rule["description"])
    chain["stats"] = [{"id": str(drop["id"]), "pkts": 3, "bytes": 222}, {"id": "default", "pkts": 9, "bytes": 9}]
    most, *others = refused.counts(said)
    assert most.words() == "3 packets (222 bytes) for pods of default/all, default/only-a (ingress)"
    assert [each.packets for each in others] == [0]


def test_a_line_of_the_log_gets_names():
    said = shown(log=True)
    logging = next(rule for rule in said["cubes"][0]["chain"][0]["rule"] if rule["action"] == "LOG")
    line = LINE.replace("RULE=10", f"RULE={logging['id']}")
    names = refused.names_of([("n1", ["172.30.0.11"])], [(("default", "a"), ["10.244.1.8"]), (("default", "b"), ["10.244.1.9"])])
    found = refused.named(line, names, refused.policies_by_rule(said))
    assert found is not None
    assert refused.words(found) == (
        f"default/b (10.244.1.9) to default/a (10.244.1.8), TCP port 8080: refused by {logging['description']} (ingress)")  # fmt: skip
    assert refused.named("ssh: RULE=1", names, {}) is None
    stranger = refused.named(line, {}, {})
    assert stranger is not None
    assert refused.words(stranger).startswith(refused.NOBODY)


def test_status_says_what_is_pending_and_what_went_wrong_last():
    said = {"node": "n1", "healthy": True, "problem": "", "objects": {"nodes": 2, "pods": 3}, "attached": 1, "slots": 110, "notes": [],
            "in_force_since": 1e9, "pending": ["2 changes"], "last_problem": {"at": 1e9, "words": "refused: x"}}  # fmt: skip
    text = say.words(said)
    assert "node n1: in force" in text
    assert "2 nodes, 3 pods" in text
    assert "pending: 2 changes" in text
    assert "last problem: 2001-09-0" in text
    assert "the first list" not in text
