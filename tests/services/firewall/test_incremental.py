"""What is derived of an edit is what would be derived of the whole configuration: row for row, whatever was edited before."""
from __future__ import annotations

import random

import pytest

from cubes import firewall
from reconciler.incremental.memo import Memo
from reconciler.service.model.codec import Env
from tests.services.firewall.rulesets import rule_set
from tests.services.firewall.test_epochs import LAYOUTS


def derived(config: dict, live: dict, cube: str) -> dict[str, dict[bytes, bytes]]:
    return {name: found.rows for name, found in firewall.tables(config, Env(live=live, cube=cube, facts={"netdevs": {"eth0": {"index": 7}}}), LAYOUTS).items()}


def derived_anew(config: dict, live: dict) -> dict[str, dict[bytes, bytes]]:
    return Memo().run(derived, config, live, "anew")


def edited(rng: random.Random, config: dict, spare: list[dict]) -> dict:
    """The same rules, as the same objects, but for one or a few."""
    chains = []
    for chain in config["chain"]:
        rules = sorted(chain["rule"], key=lambda rule: rule["id"])
        for _ in range(rng.choice([0, 1, 1, 2])):
            at = rng.choice([0, len(rules), rng.randint(0, len(rules))])
            if rng.random() < 0.4:
                del rules[at : at + 1]
                continue
            low, high = rules[at - 1]["id"] if at else 0, rules[at]["id"] if at < len(rules) else 2**31
            if high - low > 1:
                rules.insert(at, {**spare.pop(rng.randrange(len(spare))), "id": low + (high - low) // 2})
        chains.append({**chain, "rule": rules, "default": rng.choice(["ACCEPT", "DROP"]) if rng.random() < 0.1 else chain["default"]})
    return {**config, "chain": chains}


def spread(config: dict) -> dict:
    """With room between the ids."""
    chains = [{**chain, "rule": [{**rule, "id": 1_000_000 * (rule["id"] + 1)} for rule in chain["rule"]]} for chain in config["chain"]]
    return {**config, "chain": chains}


def like_each_other(rng: random.Random, count: int) -> dict:
    """Rules of few kinds, many under one key, some of them covered by others."""
    def rule() -> dict:
        return {
            "name": f"r{rng.getrandbits(60)}", "src": f"10.0.{rng.randrange(9)}.{rng.randrange(9)}", **rng.choice([{}, {"l4proto": "TCP", "dport": rng.randrange(1, 9)}]),
            **rng.choice([{}, {}, {"conntrack": "NEW"}, {"in-interface": "eth0"}]), "action": rng.choice(["ACCEPT", "DROP", "LOG"]),
        }  # fmt: skip

    chains = [{"name": name, "default": "DROP", "rule": [{"id": n, **rule()} for n in range(count)]} for name in ("INGRESS", "EGRESS")]
    return {"conntrack": "ON", "accept-established": "ON", "chain": chains}


def accepted(config, live, cube):
    """The rows, or None if the rules are refused."""
    try:
        return derived(config, live, cube)
    except ValueError:
        return None


@pytest.mark.parametrize("seed", range(16))
def test_edit_after_edit_gives_what_the_whole_configuration_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, cube, quick = random.Random(seed), f"fw{seed}", [0]
    rules = rule_set if seed % 4 == 0 else like_each_other
    after = firewall.apply_delta

    def counted(*given):
        found = after(*given)
        quick[0] += found is not None
        return found

    monkeypatch.setattr(firewall, "apply_delta", counted)
    spare = [rule for chain in rules(rng, 200)["chain"] for rule in chain["rule"]]
    live = None
    while live is None:  # some are too unlike each other to be searched, and refused
        config = spread(rules(rng, rng.choice([40, 120] if rules is rule_set else [40, 120, 400])))
        config["set"] = [{"name": f"s{number}", "prefix": []} for number in range(40)]
        live = accepted(config, {}, cube)
    for _ in range(40):
        before = config
        if rng.random() < 0.8:
            config = edited(rng, config, spare)
        wanted = accepted(config, live, cube)
        if wanted is None:
            config = before
            continue
        assert wanted == derived_anew(config, live)
        assert derived(config, live, cube) == wanted, "asked again before it is done"
        if rng.random() < 0.9:  # else the apply fails, and all is as it was
            live = {name: dict(rows) if rng.random() < 0.5 else rows for name, rows in wanted.items()}
        if rng.random() < 0.1 and live["cells4"]:  # damage
            live = {**live, "cells4": dict(live["cells4"])}
            del live["cells4"][rng.choice(sorted(live["cells4"]))]
    assert quick[0] > 5 or rules is rule_set, "rules that are unlike each other are laid out anew"


def test_netdevs_that_no_rule_names_come_and_go_and_nothing_is_derived_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"chain": [{"name": "INGRESS", "default": "DROP", "rule": [{"id": 1, "in-interface": "eth0"}, {"id": 2, "src": "10.0.0.1"}]}]}
    live = derived(config, {}, "apart")
    anew = []
    monkeypatch.setattr(firewall, "_anew", lambda *given, really=firewall._anew: anew.append(given) or really(*given))

    def with_netdevs(**netdevs: int) -> dict[str, dict[bytes, bytes]]:
        return {name: found.rows for name, found in firewall.tables(config, Env(live=live, cube="apart", facts={"netdevs": {name: {"index": index} for name, index in netdevs.items()}}), LAYOUTS).items()}

    assert with_netdevs(eth0=7, veth1=8) == live
    assert not anew
    assert with_netdevs(eth0=9)["cells4"] != live["cells4"]
    assert len(anew) == 1
