"""Rules as rows and back, their places, and what is wrong with them."""
from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubes.firewall import sizes
from cubes.firewall.check import problems
from cubes.firewall.crowding import is_crowded
from cubes.firewall.rule_rows import from_row, to_row
from cubes.firewall.rules import rules_of
from cubes.firewall.shadow import Shadows
from cubes.firewall.texts import text_rows, texts_of
from cubes.firewall.tuple_space import covers
from cubes.lib.order_labels import from_runs, is_rising, labels, runs
from reconciler.service.model.codec import Env
from tests.services.firewall.rulesets import rule_set

NAMES = {number + 1: f"s{number}" for number in range(40)}
NUMBERS = {name: number for number, name in NAMES.items()}


def test_every_rule_comes_back_from_its_row_as_it_was_written():
    for seed in range(40):
        for chain in rule_set(random.Random(seed), 30)["chain"]:
            entries = chain["rule"]
            for entry, rule in zip(entries, rules_of(0, entries), strict=True):
                label, number, leaves = from_row(to_row(rule, 7, NUMBERS), NAMES)
                (texts,) = texts_of({"texts": text_rows(rule)}).values() or ({},)
                assert (label, number) == (7, 0)
                assert leaves | texts == {key: value for key, value in entry.items() if key != "id"}


def test_a_rule_is_the_same_under_another_id_and_another_one_under_another_content():
    (first, second) = rules_of(0, [{"id": 5, "src": "10.0.0.1"}, {"id": 9, "src": "10.0.0.2"}])
    (moved,) = rules_of(0, [{"id": 77, "src": "10.0.0.1"}])
    (elsewhere,) = rules_of(1, [{"id": 5, "src": "10.0.0.1"}])
    assert moved.identity == first.identity
    assert len({first.identity, second.identity, elsewhere.identity}) == 3


def test_two_rules_that_are_alike_are_two():
    found = rules_of(0, [{"id": number, "src": "10.0.0.1"} for number in range(3)])
    assert len({rule.identity for rule in found}) == 3


def test_a_named_rule_keeps_its_identity_whatever_it_says():
    (before,) = rules_of(0, [{"id": 1, "name": "web", "dport": 80, "l4proto": "TCP"}])
    (after,) = rules_of(0, [{"id": 2, "name": "web", "dport": 443, "l4proto": "TCP"}])
    assert before.identity == after.identity
    assert before != after


# -- places -------------------------------------------------------------------------------------------------------------


def test_an_insertion_gives_one_label_and_leaves_all_others():
    order = list(range(1000))
    before = labels(order, {})
    for place in (0, 1, 500, 999, 1000):
        after = labels([*order[:place], -1, *order[place:]], before)
        assert {item: after[item] for item in order} == before
        assert is_rising(after[item] for item in [*order[:place], -1, *order[place:]])


def test_a_rule_that_is_moved_is_the_only_one_with_another_label():
    order = list(range(100))
    before = labels(order, {})
    after = labels([*order[1:60], 0, *order[60:]], before)
    assert [item for item in order if before[item] != after[item]] == [0]


def test_where_there_is_no_room_few_are_moved():
    order, known = list(range(1000)), labels(list(range(1000)), {})
    for number in range(200):  # always in the same place, more often than it can be halved
        order.insert(500, 10_000 + number)
        after = labels(order, known)
        assert is_rising(after[item] for item in order)
        assert sum(known.get(item) != after[item] for item in order) < 150, number
        known = after


@given(st.lists(st.integers(0, 60), unique=True), st.lists(st.integers(0, 60), unique=True))
def test_labels_always_rise_and_are_kept_if_the_order_is(first, second):
    before = labels(first, {})
    after = labels(second, before)
    assert is_rising(after[item] for item in second)
    assert all(0 < label < 1 << 63 for label in after.values())
    if [item for item in second if item in before] == [item for item in first if item in after]:
        assert all(after[item] == before[item] for item in second if item in before)
    assert labels(second, after) == after


@given(st.lists(st.integers(0, 2000), unique=True).map(sorted))
def test_ids_come_back_from_their_runs(ids):
    assert list(from_runs(runs(ids))) == ids


def test_an_insertion_changes_few_runs():
    ids = list(range(0, 10_000, 10))
    before, after = runs(ids), runs(sorted([*ids, 5005]))
    assert len(before) == 1
    assert len(set(before.items()) ^ set(after.items())) < 10


# -- what is wrong ------------------------------------------------------------------------------------------------------


def said(*rules: dict, **config) -> list[tuple[tuple, str, str]]:
    entries = [{"id": place, **rule} for place, rule in enumerate(rules)]
    return list(problems({**config, "chain": [{"name": "INGRESS", "rule": entries}]}, Env()))


@pytest.mark.parametrize(("rule", "leaf", "words"), [
    ({"src": "10.0.0.1/24"}, "src", "bits set beyond its length"),
    ({"dst": "2001:db8::1/64"}, "dst", "bits set beyond its length"),
    ({"src": "10.0.0.1", "dst": "2001:db8::1"}, "dst", "different families"),
    ({"src": "10.0.0.1", "l4proto": "ICMPV6"}, "l4proto", "other family"),
    ({"dst": "2001:db8::1", "l4proto": "ICMP"}, "l4proto", "other family"),
    ({"dport": 80}, "dport", "needs l4proto"),
    ({"sport": 80, "l4proto": "ICMP"}, "sport", "needs l4proto"),
    ({"dport": 80, "l4proto": "ICMP", "icmp-type": 8}, "dport", "needs l4proto"),
    ({"icmp-type": 8}, "icmp-type", "needs l4proto ICMP"),
    ({"reject-with": "NO_ROUTE"}, "reject-with", "needs the action REJECT"),
    ({"action": "REJECT", "reject-with": "TCP_RESET"}, "reject-with", "needs l4proto TCP"),
    ({"icmp-type": 8, "l4proto": "TCP"}, "icmp-type", "needs l4proto ICMP"),
    ({"icmp-type": "3/300", "l4proto": "ICMP"}, "icmp-type", "no type and code"),
    ({"icmp-type": "03/4", "l4proto": "ICMPV6"}, "icmp-type", "is written 3/4"),
    ({"tcpflags": "SYN", "l4proto": "UDP"}, "tcpflags", "need l4proto TCP"),
    ({"tcpflags": "SYN,!SYN", "l4proto": "TCP"}, "tcpflags", "SYN is there twice"),
    ({"l4proto": 6}, "l4proto", "is written TCP"),
    ({"l4proto": "TCP", "dport": "90-80"}, "dport", "no range of ports"),
    ({"l4proto": "TCP", "dport": "80-70000"}, "dport", "no range of ports"),
    ({"l4proto": "TCP", "dport": "80-80"}, "dport", "is written 80"),
    ({"l4proto": "TCP", "dport": "080-90"}, "dport", "is written 80-90"),
])  # fmt: skip
def test_what_makes_no_sense_is_an_error_at_its_leaf(rule, leaf, words):
    ((path, sentence, severity),) = said({"src": "10.9.9.9"}, rule)
    assert path == ("chain", 0, "rule", 1, leaf)
    assert words in sentence
    assert severity == "error"


V6_WEB = {"dst": "2001:db8::/32", "l4proto": "TCP", "dport": 80}


@pytest.mark.parametrize(("rules", "words"), [
    ([V6_WEB], ["solicitations (ICMPv6 type 135) and no neighbour advertisements (ICMPv6 type 136)", "{l4proto: ICMPV6}"]),
    ([V6_WEB, {"l4proto": "ICMPV6", "icmp-type": 136}], ["type 135): nobody"]),
    ([V6_WEB, {"l4proto": "ICMPV6", "conntrack": "ESTABLISHED"}], ["type 135"]),
    ([V6_WEB, {"l4proto": "ICMPV6", "action": "DROP"}], ["type 135"]),
    ([{"src": "10.0.0.0/8,2001:db8::/32", "l4proto": "TCP"}], ["type 135"]),
    ([V6_WEB, {"l4proto": "ICMPV6"}], []),
    ([V6_WEB, {"l4proto": "ICMPV6", "icmp-type": "135/0"}, {"l4proto": "ICMPV6", "icmp-type": 136, "dst": "fe80::/10"}], []),
    ([V6_WEB, {"src": "2001:db8::/32"}], []),
    ([V6_WEB, {}], []),
    ([{"l4proto": "TCP", "dport": 80}], []),
    ([{"src": "10.0.0.1"}], []),
    ([{**V6_WEB, "action": "DROP"}], []),
])  # fmt: skip
def test_ipv6_behind_default_drop_wants_neighbour_discovery(rules, words):
    entries = [{"id": place, **rule} for place, rule in enumerate(rules)]
    found = [
        each for default in ("DROP", "ACCEPT")
        for each in problems({"chain": [{"name": "INGRESS", "default": default, "rule": entries}]}, Env())
        if each[0] == ("chain", 0, "default")
    ]  # fmt: skip
    assert [(severity, all(word in sentence for word in words)) for _, sentence, severity in found] == [("warning", True)] * bool(words)


@pytest.mark.parametrize(("logs", "lookups", "most"), [(31, 63, 30), (30, 63, None), (17, 127, 16), (9, 255, 8), (5, 256, 4), (4, 500, None), (9, 1100, None)])
def test_a_rule_whose_packets_have_matched_all_that_they_may_is_a_warning(logs, lookups, most):
    """By the look-ups that the rules need, in a chain of up to 1,024 rules."""
    others = [{"in-interface": f"d{place}", "action": "DROP"} for place in range(lookups - logs)]
    found = [(path[3], sentence) for path, sentence, _ in said(*[{"action": "LOG"}] * logs, *others)]
    assert [place for place, _ in found] == [most] * (most is not None)
    assert all(f"matched {most} rules that log or have a limit" in sentence for _, sentence in found)


def test_a_packet_of_many_logs_behind_long_lists_is_a_warning():
    """What the fuzzer's rules had; the lists are of IPv6, and for IPv4 there is nothing to say."""
    lists = {"dst": "!2001:db8:0:1::1-2001:db8:0:1::9,2001:db8:0:2::faa7", "action": "LOG"}
    families = {"l4proto": "ICMP"}, {"l4proto": "ICMPV6"}
    four, six = (said(lists, *[{**family, "action": "LOG"}] * 10) for family in families)
    assert four == []
    assert [path[3] for path, _, _ in six] == [9]


def test_what_an_edit_leaves_behind_never_makes_more_lookups_than_a_packet_may_have():
    cells = [bytes(8) + seat.to_bytes(2, "little") + bytes(2) for seat in range(513)]
    assert is_crowded({bytes(8): {450: 1}}, cells)
    assert not is_crowded({bytes(8): {450: 1}}, cells[:512])


def test_a_state_without_tracking_is_a_warning():
    ((path, sentence, severity),) = said({"conntrack": "NEW"}, conntrack="OFF")
    assert (path[-1], severity) == ("conntrack", "warning")
    assert "never matches" in sentence
    assert not said({"conntrack": "NEW"})


@pytest.mark.parametrize(("first", "second"), [
    ({"src": "10.0.0.0/8"}, {"src": "10.1.0.0/16", "dst": "10.0.0.1"}),
    ({"src": "10.0.0.1"}, {"src": "10.0.0.1/32", "action": "DROP"}),
    ({}, {"src": "2001:db8::/32", "l4proto": "TCP"}),
    ({"l4proto": "TCP"}, {"l4proto": "TCP", "dport": "80-90", "tcpflags": "SYN"}),
    ({"l4proto": "TCP", "dport": "80-90"}, {"l4proto": "TCP", "dport": 85}),
    ({"l4proto": "TCP", "dport": 80}, {"l4proto": "TCP", "dport": 80, "conntrack": "NEW"}),
    ({"conntrack": "NEW"}, {"src": "10.0.0.1", "conntrack": "NEW"}),
    ({"dst": "2001:db8::/64"}, {"dst": "2001:db8::7", "l4proto": "ICMPV6"}),
    ({"l4proto": "ICMP", "icmp-type": 3}, {"l4proto": "ICMP", "icmp-type": "3/4"}),
])  # fmt: skip
def test_a_rule_behind_one_that_takes_all_it_could_is_a_warning(first, second):
    ((path, sentence, severity),) = said({"src": "192.0.2.1"}, first, second)
    assert (path, severity) == (("chain", 0, "rule", 2, "id"), "warning")
    assert "rule 1 comes first" in sentence


@pytest.mark.parametrize(("first", "second"), [
    ({"src": "10.1.0.0/16"}, {"src": "10.0.0.0/8"}),
    ({"src": "10.0.0.0/8", "action": "LOG"}, {"src": "10.0.0.1"}),
    ({"src": "10.0.0.0/8", "limit": 5}, {"src": "10.0.0.1"}),
    ({"src": "10.0.0.0/8", "l4proto": "TCP"}, {"src": "10.0.0.1"}),
    ({"l4proto": "ICMP"}, {"src": "2001:db8::/32"}),
    ({"l4proto": "TCP", "dport": 80}, {"l4proto": "TCP", "dport": "80-81"}),
    ({"l4proto": "TCP", "tcpflags": "SYN"}, {"l4proto": "TCP", "tcpflags": "!SYN"}),
    ({"src": "0.0.0.0/0"}, {"src": "::/0"}),
    ({"l4proto": "ICMP", "icmp-type": "3/4"}, {"l4proto": "ICMP", "icmp-type": 3}),
    ({"l4proto": "ICMP", "icmp-type": 8}, {"l4proto": "ICMPV6", "icmp-type": 8}),
])  # fmt: skip
def test_a_rule_that_may_still_match_is_none(first, second):
    assert said(first, second) == []


def test_more_rules_that_log_or_have_a_limit_than_a_packet_may_match_are_a_warning():
    wide = [{"l4proto": "TCP", "limit": 5, "name": f"l{n}"} if n % 2 else {"l4proto": "TCP", "action": "LOG", "name": f"l{n}"} for n in range(40)]
    apart = [{"src": f"10.0.0.{n}", "limit": 5} for n in range(100)]
    ((path, sentence, severity),) = said(*wide)
    assert (path[-2:], severity) == ((30, "id"), "warning")
    assert "30 rules" in sentence
    assert said(*wide[:30], *apart) == []


def test_a_name_belongs_to_one_rule():
    ((path, sentence, severity),) = said({"name": "web", "src": "10.0.0.1"}, {"name": "web", "src": "10.0.0.2"})
    assert (path[-1], severity) == ("name", "error")
    assert "rule 0 has this name too" in sentence


def test_rules_that_never_match_are_found_by_an_edit_as_if_all_were_looked_at():
    rng, serial = random.Random(11), itertools.count()

    def some(count: int) -> list[dict]:
        return [{
            "name": f"r{next(serial)}", "action": rng.choice(["ACCEPT", "DROP", "LOG"]),
            **rng.choice([{}, {"src": f"10.0.{rng.randrange(3)}.0/24"}, {"src": f"10.0.{rng.randrange(3)}.{rng.randrange(4)}"}, {"src": "10.0.0.0/8"}]),
            **rng.choice([{}, {"l4proto": "TCP", "dport": rng.choice([1, 2, "1-3", "2-9"])}, {"l4proto": "TCP", "tcpflags": "SYN"}]),
            **rng.choice([{}, {}, {"dst": "10.0.0.1"}, {"conntrack": "NEW"}]),
        } for _ in range(count)]  # fmt: skip

    for size in (5, 40, 80):
        entries, kept = some(size), Shadows()
        for _ in range(60):
            rules = rules_of(0, [{**entry, "id": place} for place, entry in enumerate(entries)])
            found = kept.of(rules)
            assert found == Shadows().of(rules)
            assert {later for later, _ in found} == {
                later for later, rule in enumerate(rules) if any(covers(earlier, rule) for earlier in rules[:later])
            }
            at = rng.randint(0, len(entries))
            entries = [*entries[:at], *some(rng.choice([0, 1, 1, 2])), *entries[at + rng.choice([0, 0, 1, 2]) :]]


def test_tables_of_what_only_some_rules_have_hold_them_twice_as_an_edit_that_exchanges_all_needs():
    limited = [{"id": n, "src": f"10.0.{n // 256}.{n % 256}", "limit": "5/minute"} for n in range(9000)]
    found = {n: sizes({"chain": [{"name": "INGRESS", "rule": limited[:n]}]}) for n in (0, 10, 9000)}
    assert [found[n]["limits"] for n in found] == [16384, 16384, 32768]
    assert found[9000]["logging_rules"] == 16384
