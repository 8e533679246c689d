"""Lists that are written once and used in several places: written out before anything is checked, said where they are written."""
from __future__ import annotations

import random
from typing import Any

import pytest

from reconciler.check import check
from reconciler.check.schema_check import check_schema
from reconciler.document import Document
from reconciler.document.incremental_parse import reparse
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services

SERVICES = Services()
HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n"


def document(shared: str, *cubes: str, file: str = "f") -> Document:
    lines = [f"    - {line}" for line in shared.splitlines()]
    cubes = tuple(f"    - {{service-name: firewall, name: fw{place}, {cube}}}" for place, cube in enumerate(cubes))
    return parse("\n".join([HEAD + "  shared:", *lines, "  cubes:", *cubes, ""]), file)[0]


def configs(*documents: Document, merge: bool = False) -> list[dict[str, Any]]:
    return [dict(cube.config) for topology in check(documents, SERVICES, merge=merge)[0] for cube in topology.cubes]


def problems(*documents: Document) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        check(documents, SERVICES)
    return [str(problem).splitlines()[0] for problem in caught.value.problems]


OFFICE = "{name: office, entries: [10.0.0.0/8, 192.0.2.7]}"
WEB = "{name: web, entries: [{l4proto: TCP, dport: 80}, {l4proto: TCP, dport: 443}]}"


def test_one_set_is_in_several_cubes_and_in_the_midst_of_another_list() -> None:
    whole, among = "set: [{name: o, prefix: {shared: office}}]", "set: [{name: o, prefix: [192.0.2.1, {shared: office}, 192.0.2.9]}]"
    found = configs(document(OFFICE, whole, whole, among))
    assert [each["set"][0]["prefix"] for each in found] == [["10.0.0.0/8", "192.0.2.7"]] * 2 + [["192.0.2.1", "10.0.0.0/8", "192.0.2.7", "192.0.2.9"]]


def test_a_group_of_rules_is_used_again_under_conditions_and_its_ids_count_up() -> None:
    chain = "chain: [{name: INGRESS, rule: [{id: 1, l4proto: ICMP}, {id: 10, shared: web, src: 10.0.0.1}, {id: 12, shared: all}]}]"
    (config,) = configs(document(f"{WEB}\n{{name: all, entries: [{{shared: web}}, {{l4proto: UDP, dport: 53, action: DROP}}]}}", chain))
    assert [{leaf: said for leaf, said in rule.items() if said != "ACCEPT"} for rule in config["chain"][0]["rule"]] == [
        {"id": 1, "l4proto": "ICMP"}, {"id": 10, "src": "10.0.0.1", "l4proto": "TCP", "dport": 80},
        {"id": 11, "src": "10.0.0.1", "l4proto": "TCP", "dport": 443}, {"id": 12, "l4proto": "TCP", "dport": 80},
        {"id": 13, "l4proto": "TCP", "dport": 443}, {"id": 14, "l4proto": "UDP", "dport": 53, "action": "DROP"},
    ]  # fmt: skip


def test_a_document_of_its_own_has_the_lists_of_another_one() -> None:
    lists = parse(f"{HEAD}  shared: [{OFFICE}]\n", "lists")[0]
    cubes = document(WEB, "set: [{name: o, prefix: {shared: office}}], chain: [{name: INGRESS, rule: [{id: 1, shared: web}]}]")
    for some in ((lists, cubes), (cubes, lists)):
        (config,) = configs(*some, merge=True)
        assert (config["set"][0]["prefix"], len(config["chain"][0]["rule"])) == (["10.0.0.0/8", "192.0.2.7"], 2)


@pytest.mark.parametrize(("shared", "cube", "said"), [
    ("{name: web, entries: [{dport: 80}, {lport: 443}]}", "chain: [{name: INGRESS, rule: [{id: 7, shared: web, l4proto: TCP}]}]",
     'f:6:43: /spec/cubes/fw0/chain/INGRESS/rule/8/lport: unknown key "lport"'),
    (WEB, "chain: [{name: INGRESS, rule: [{id: 7, shared: wep}]}]", 'f:8:74: /spec/cubes/fw0/chain/INGRESS/rule/7: there is no shared list "wep"'),
    (WEB, "chain: [{name: INGRESS, rule: [{id: 7, shared: web, dport: 1}]}]",
     "f:8:102: /spec/cubes/fw0/chain/INGRESS/rule/7/dport: the shared list's entries say dport themselves"),
    (WEB, "chain: [{name: INGRESS, rule: [{id: 7, shared: web}, {id: 8, l4proto: UDP}]}]",
     'f:8:96: /spec/cubes/fw0/chain/INGRESS/rule/8: duplicate entry "8"'),
    (WEB, "chain: [{name: INGRESS, rule: [{id: 7, shared: web, src: 10.0.0.0/99}]}]", "f:8:100: /spec/cubes/fw0/chain/INGRESS/rule/7/src"),
    ("{name: a, entries: [{shared: b}]}\n{name: b, entries: [{shared: a}]}", "set: [{name: o, prefix: {shared: a}}]",
     "shared lists are in one another: a > b > a"),
    (OFFICE, "set: [{shared: office, name: o}]", "what stands beside 'shared' is said of mappings, and these entries are none"),
    ("{name: office, entries: 7}", "set: []", "f:6:7: /spec/shared/office: a shared list is a 'name' and its 'entries'"),
    (f"{OFFICE}\n{OFFICE}", "set: [{name: o, prefix: {shared: office}}]", 'there are two shared lists "office"'),
])  # fmt: skip
def test_what_is_wrong_is_said_where_it_is_written(shared: str, cube: str, said: str) -> None:
    found = problems(document(shared, cube))
    assert any(said in each for each in found), found


def test_lists_of_lists_come_to_an_end() -> None:
    """Ten lists that each name the one before ten times are no ten billion entries."""
    lists = ["{name: l0, entries: [10.0.0.1]}"]
    lists += [f"{{name: l{n}, entries: [{', '.join([f'{{shared: l{n - 1}}}'] * 10)}]}}" for n in range(1, 8)]
    assert any("come to more than 1000000 entries" in each for each in problems(document("\n".join(lists), "set: [{name: o, prefix: {shared: l7}}]")))


def test_what_nothing_uses_is_said() -> None:
    _, warnings = check([document(f"{OFFICE}\n{WEB}", "chain: [{name: INGRESS, rule: [{id: 7, shared: web}]}]")], SERVICES)
    assert 'nothing uses the shared list "office"' in {problem.message for problem in warnings}


def test_a_cube_that_says_what_it_said_is_the_same_object_and_a_list_is_never_copied() -> None:
    many = "\n".join(f"        - 10.{n >> 8}.{n & 255}.1" for n in range(5000))
    text = f"{HEAD}  shared:\n    - name: big\n      entries:\n{many}\n  cubes:\n"
    text += "".join(f"    - {{name: fw{n}, service-name: firewall, set: [{{name: o, prefix: {{shared: big}}}}]}}\n" for n in range(2))
    (before,) = parse(text + "    - {name: other, service-name: firewall}\n", "f")
    first = check_schema(before, SERVICES)
    after = reparse(before, before.text.replace("10.9.9.1\n", "192.0.2.1\n"))
    assert after is not None
    second = check_schema(after, SERVICES)
    cubes, again = ([cube for _, cube in draft.cubes()] for draft in (first, second))
    assert cubes[2] is again[2]
    lists = [cube["set"][0]["prefix"] for cube in again[:2]]
    assert lists[0] is lists[1]
    assert sum(a is not b for a, b in zip(cubes[0]["set"][0]["prefix"], lists[0], strict=True)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_positions_of_entries_are_where_they_are_written(seed: int) -> None:
    """Random lists in one another: of each entry that comes out, its place in the document has the same text."""
    rng = random.Random(seed)
    names, lists = [], []
    for number in range(4):
        entries = [f"10.{number}.{place}.{rng.randrange(256)}" for place in range(rng.randrange(5))]
        entries += [f"{{shared: {name}}}" for name in rng.sample(names, rng.randrange(len(names) + 1))]
        rng.shuffle(entries)
        names.append(f"l{number}")
        lists.append(f"{{name: l{number}, entries: [{', '.join(entries)}]}}")
    draft = check_schema(document("\n".join(lists), "set: [{name: o, prefix: [192.0.2.1, {shared: l3}, 192.0.2.2, {shared: l2}]}]"), SERVICES)
    found = draft.data["spec"]["cubes"][0]["set"][0]["prefix"]
    written = [draft.document.source_text(("spec", "cubes", 0, "set", 0, "prefix", place)) for place in range(len(found))]
    assert written == found
