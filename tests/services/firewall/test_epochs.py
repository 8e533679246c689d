"""Whatever the change, and wherever it is interrupted: packets see the old rule set or the new one.

The rows are searched here as the programs do it, in Python: what cells are there at an epoch, and can be reached.
"""
from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from cubes import firewall
from cubes.firewall.epochs import head_in_force
from cubes.firewall.rule_rows import ROW
from cubes.firewall.rules import rules_of
from cubes.firewall.tuple_selection import _on, select_tuples
from cubes.firewall.tuple_space import GRIDS, KEY, Numbers, keys
from cubes.lib.epochs import LIFE, cell_of, epoch_of, seat_of, seated
from cubes.lib.ranges import pieces
from reconciler.service.model.codec import Env
from tests.services.firewall.rulesets import rule_set

SIZES = {"rules": ROW.size, "cells4": 104, "cells6": 176, "sets": 64, "texts": 64, "limits": 24, "logging_rules": 32, "set_hosts": 80, "set_prefixes": 128, "set_versions": 16, "counters": 16, "epoch": 4, "versions": 40, "pages4": 256, "pages6": 512,
         "ids": 8}  # fmt: skip
LAYOUTS = {
    name: SimpleNamespace(value=SimpleNamespace(size=size), key=SimpleNamespace(size=KEY[4 if name[-1] == "4" else 6].size))
    for name, size in SIZES.items()
}


def rows_of(config, live) -> dict:
    return firewall.tables(config, Env(live=live), LAYOUTS)


def steps(config, live):
    """The state of all tables after each of the writes of an apply, and whether the commit was one of them."""
    wanted = rows_of(config, live)
    now = {name: dict(live.get(name, {})) for name in wanted}
    staged = [(name, key, row) for name, rows in wanted.items() if rows.staged for key, row in rows.rows.items() if now[name].get(key) != row]
    random.Random(len(staged)).shuffle(staged)
    for name, key, row in staged:
        now[name][key] = row
        yield now, False
    now["epoch"] = dict(wanted["epoch"].rows)
    yield now, True
    for name, rows in wanted.items():
        for key in [key for key in now[name] if key not in rows.rows]:
            del now[name][key]
            yield now, True


def visible(tables) -> dict:
    """What a packet can find: for each key, the cells in force that can be reached from its first seat."""
    epoch, found = epoch_of(tables), {}
    for family in ("4", "6"):
        cells = tables.get(f"cells{family}", {})
        for key in cells:
            if seat_of(key):
                continue
            seat, row = 0, cells.get(key)
            while row is not None:
                born, dies, more, _ = LIFE.unpack_from(row, len(row) - LIFE.size)
                if born <= epoch < dies:
                    found.setdefault((family, key), []).append(cell_of(seated(key, seat), row))
                seat += 1
                row = cells.get(seated(key, seat)) if more else None
        for some in found.values():
            some.sort()
    found["version"] = tables.get("versions", {}).get((epoch & 1).to_bytes(4, "little"))
    head = head_in_force(tables)
    for chain in (0, 1):
        for place, family in enumerate("46"):
            count = head.counts[chain][place] if head else 0
            for page in range((count + 7) // 8):
                index = (chain * 2 + (epoch & 1)) * 64 + page
                found["page", family, chain, page] = tables.get(f"pages{family}", {}).get(index.to_bytes(4, "little"))
    return found


def without_labels(found) -> dict:
    return {key: sorted(cell[8:] for cell in cells) for key, cells in found.items() if key[0] in ("4", "6")}


def small(rng) -> dict:
    return rule_set(rng, rng.choice([0, 1, 3, 10, 30]))


def edited(rng, config) -> dict:
    """A little change, as people make them."""
    chains = []
    for chain in config["chain"]:
        rules = [dict(rule) for rule in chain["rule"]]
        for _ in range(rng.choice([0, 1, 1, 3])):
            if rules and rng.random() < 0.4:
                rules.pop(rng.randrange(len(rules)))
            else:
                rules.insert(rng.randint(0, len(rules)), {**rng.choice(rules or [{}]), "src": f"10.0.0.{rng.randrange(4)}", "dst": "10.0.0.0/8"})
        if rng.random() < 0.2:
            rng.shuffle(rules)
        chains.append({**chain, "rule": [{**rule, "id": place} for place, rule in enumerate(rules) if rule.get("l4proto") != "ICMPV6"]})
    return {**config, "chain": chains}


@pytest.mark.parametrize("seed", range(30))
def test_at_each_step_of_a_change_a_packet_finds_the_old_rules_or_the_new(seed):
    rng = random.Random(seed)
    config, live = small(rng), {}
    for _ in range(8):
        before = visible(live) if live else None
        after = None
        for now, committed in steps(config, live):
            if not committed and before is not None:
                assert visible(now) == before
            elif committed:
                after = after or visible(now)
                assert visible(now) == after
        assert without_labels(visible(now)) == without_labels(wanted_of_on(config, now))
        live = {name: dict(rows) for name, rows in now.items()}
        again = rows_of(config, live)
        assert all(again[name].rows == live[name] for name in live), "nothing is to be done"
        config = edited(rng, config) if rng.random() < 0.8 else small(rng)


def wanted_of_on(config, live) -> dict:
    """What a fresh table would hold, on the grids that are in use."""
    head_only = {name: live[name] for name in ("epoch", "versions", "sets")}
    return visible({name: rows.rows for name, rows in rows_of(config, head_only).items()})


@pytest.mark.parametrize("seed", range(30))
def test_an_apply_that_was_interrupted_anywhere_leaves_the_old_rules_and_the_next_one_is_as_any_other(seed):
    rng = random.Random(1000 + seed)
    config, live = small(rng), {}
    *_, (now, _) = steps(config, live)
    live = {name: dict(rows) for name, rows in now.items()}
    for _ in range(8):
        wanted = edited(rng, config)
        total = sum(1 for _ in steps(wanted, live))
        stop, before = rng.randrange(total + 1), visible(live)
        for number, (now, committed) in enumerate(steps(wanted, live)):
            if number == stop:
                live = {name: dict(rows) for name, rows in now.items()}
                if not committed:
                    assert visible(live) == before
                break
        config = rng.choice([config, wanted, edited(rng, wanted)])
        before = visible(live)
        for now, committed in steps(config, live):
            if not committed:
                assert visible(now) == before
        assert without_labels(visible(now)) == without_labels(wanted_of_on(config, now))
        live = {name: dict(rows) for name, rows in now.items()}


def test_one_rule_in_any_place_of_many_is_a_handful_of_rows():
    rules = [{"id": number, "src": f"10.{number >> 8}.{number & 255}.1", "l4proto": "TCP", "dport": number % 7, "action": "DROP"} for number in range(5000)]
    live = {name: dict(rows.rows) for name, rows in rows_of({"chain": [{"name": "INGRESS", "rule": rules}]}, {}).items()}
    for place in (0, 2500, 5000):
        changed = [*rules[:place], {"src": "10.0.0.0/24", "action": "DROP"}, *rules[place:]]
        config = {"chain": [{"name": "INGRESS", "rule": [{**rule, "id": number} for number, rule in enumerate(changed)]}]}
        after = rows_of(config, live)
        touched = sum(live[name].get(key) != row for name, rows in after.items() for key, row in rows.rows.items())
        assert touched <= 10
        assert sum(key not in after[name].rows for name in live for key in live[name]) == 0


# -- grids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", [(0, 0), (80, 80), (0, 65535), (1024, 65535), (0, 1023), (8000, 8100), (1, 65534), (7, 10), (65535, 65535)])
def test_the_pieces_of_a_range_contain_it_and_split_ones_are_it(span):
    for split in (False, True):
        ports = [port for value, length in pieces(span, split) for port in range(value, value + (1 << (16 - length)))]
        assert len(ports) == len(set(ports))
        assert set(range(span[0], span[1] + 1)) <= set(ports)
        assert not split or len(ports) == span[1] - span[0] + 1


def test_every_grid_has_all_rules_but_those_that_another_covers():
    rules = rules_of(0, [{"id": 1, "src": "10.0.0.0/25"}, {"id": 2, "src": "10.0.0.7"}, {"id": 3, "src": "10.0.0.7", "l4proto": "TCP", "dport": 80}])
    for number, grid in enumerate(GRIDS):
        layout = _on(rules, 4, number, {})
        kept = {rule.identity for some in layout.cells.values() for rule in some}
        assert rules[0].identity in kept
        assert all(key in layout.cells for rule in rules for key in keys(rule, 4, grid, {}))


def test_rules_that_no_grid_suits_are_refused_in_words():
    rules = rules_of(0, [{"id": n, "l4proto": "TCP", "sport": f"{n}-{30000 + n}", "dport": f"{40000 - n}-{60000 + n}"} for n in range(1, 3000)])
    with pytest.raises(ValueError, match="too unlike each other"):
        select_tuples(tuple(rules), 4, None, Numbers({}, {}))
