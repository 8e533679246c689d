"""Which backend a flow gets, and what makes it another: by frames put into the programs, and by what Python says of the same hash."""
from __future__ import annotations

import collections
import random
import struct
import sys
import time

import pytest

from cubes.lib import maglev
from reconciler.service.sdk import Env, encode
from tests.services.lbrp.lab import LbLab, ends

pytestmark = pytest.mark.kernel


@pytest.fixture(params=[("TC", 4), ("XDP_DRV", 6)], ids=lambda it: f"{it[0]}-{it[1]}")
def lab(request):
    hook, family = request.param
    with LbLab(hook=hook, family=family) as lab:
        yield lab


def some_flows(count, seed=None):
    """Flows of different clients and ports; the seed is printed."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    return list({(chance.randrange(1, 200), chance.randrange(1024, 65536)) for _ in range(count)})


def predicted(lab, flows, backends, *, size=None):
    """What the ring says of each flow, computed in Python alone."""
    weights = {encode("ip", lab.backend(one[0]), 16, Env()) + struct.pack("=H", one[1]): one[2] if len(one) > 2 else 1 for one in backends}
    slots = maglev.ring(size or maglev.size_for(weights.values()), weights)
    addresses = {encode("ip", lab.backend(one[0]), 16, Env()) + struct.pack("=H", one[1]): lab.backend(one[0]) for one in backends}
    found = []
    for client, port in flows:
        key = b"".join(encode("ip", address, 16, Env()) for address in (lab.client(client), lab.vip()))
        key += struct.pack("=HHB3x", port, 80, 6)
        found.append(addresses[slots[maglev.slot_of(maglev.murmur3(key), len(slots))]])
    return found


@pytest.mark.parametrize("size", [251, 4093, 65537])
def test_a_new_flow_goes_where_python_says_that_its_hash_leads(lab, size):
    backends = [(11, 80), (12, 80), (13, 81, 3)]
    lab.add(*backends, **{"ring-size": size})
    lab.apply()
    flows = some_flows(300)
    assert lab.choices(flows) == predicted(lab, flows, backends, size=size)


def keep(lab, count, edits):
    """Flows stay while backends of other kinds come and go and weights change; gives how many of them moved."""
    fixed = [(host, 8080) for host in range(11, 21)]
    service = lab.add(*fixed)
    lab.apply()
    flows = some_flows(count)
    chance = random.Random(len(flows))
    before = lab.choices(flows)
    for _ in range(edits):
        more = [(chance.randrange(30, 60), 9000 + chance.randrange(3), chance.randrange(1, 5)) for _ in range(chance.randrange(6))]
        service["backend"] = lab.backends(*[(*one, chance.randrange(0, 4)) for one in fixed[1:]], (*fixed[0], 1), *set(more))
        service["backend"] = list({(one["ip"], one["port"]): one for one in service["backend"]}.values())
        lab.apply()
    after = lab.choices(flows)
    return sum(a != b for a, b in zip(before, after, strict=True)), len(set(before))


def test_no_flow_moves_while_other_backends_come_and_go_and_weights_change(lab):
    assert keep(lab, 500, 10) == (0, 10)


@pytest.mark.exhaustive
def test_of_10000_flows_none_moves_over_100_edits_of_other_backends(lab):
    assert keep(lab, 10000, 100) == (0, 10)


def test_each_backend_gets_its_share_and_a_removed_one_gives_up_no_more(lab):
    weights = {11: 1, 12: 2, 13: 3, 14: 4}
    service = lab.add(*[(host, 80, weight) for host, weight in weights.items()])
    lab.apply()
    flows = some_flows(4000, seed=5)
    before = lab.choices(flows)
    counted = collections.Counter(before)
    for host, weight in weights.items():
        assert abs(counted[lab.backend(host)] / len(flows) - weight / 10) < 0.03
    service["backend"] = [one for one in service["backend"] if one["ip"] != lab.backend(12)]
    lab.apply()
    after = lab.choices(flows)
    assert [b for a, b in zip(before, after, strict=True) if a != lab.backend(12)] == [a for a in before if a != lab.backend(12)]
    assert lab.backend(12) not in after
    stats = lab.live_cube("lb", state=True)["stats"]
    assert stats["moved-flows"] == before.count(lab.backend(12))


@pytest.mark.exhaustive
def test_100000_flows_are_shared_within_2_percent_and_a_removal_moves_its_share_and_1_percent_at_most(lab):
    """Of flows that nobody knows any more; of those that are known, none moves but the removed backend's."""
    weights = {host: host % 4 + 1 for host in range(11, 21)}
    service = lab.add(*[(host, 80, weight) for host, weight in weights.items()], **{"ring-size": 65537})
    lab.apply()
    flows = [(client, port) for client in range(1, 3) for port in range(2000, 52000)]
    before = lab.choices(flows)
    counted = collections.Counter(before)
    off = {host: counted[lab.backend(host)] / len(flows) * sum(weights.values()) / weight - 1 for host, weight in weights.items()}
    gone = lab.backend(17)
    service["backend"] = [one for one in service["backend"] if one["ip"] != gone]
    lab.apply()
    known = lab.choices(flows)
    assert lab.pcn("action", "lb", "flush") == 0
    forgotten = lab.choices(flows)
    moved = {name: sum(a != b for a, b in zip(before, after, strict=True)) for name, after in (("known", known), ("forgotten", forgotten))}
    sys.stdout.write(f"shares off by {min(off.values()):+.2%} to {max(off.values()):+.2%}, removed {counted[gone]}, moved {moved}\n")
    assert all(abs(each) < 0.02 for each in off.values())
    assert moved["known"] == counted[gone] <= moved["forgotten"] <= counted[gone] + 0.01 * len(flows)


@pytest.mark.parametrize("said", [{"weight": 0}, {"state": "DRAINING"}])
def test_a_backend_that_drains_keeps_its_flows_and_gets_no_new_one(lab, said):
    service = lab.add((11, 80), (12, 80))
    lab.apply()
    flows = some_flows(100)
    before = lab.choices(flows)
    assert set(before) == {lab.backend(11), lab.backend(12)}
    service["backend"][0] |= said
    lab.apply()
    assert lab.choices(flows) == before
    assert set(lab.choices([(client, port ^ 1) for client, port in flows if (client, port ^ 1) not in flows])) == {lab.backend(12)}
    assert set(lab.choices(flows, flags="S")) == {lab.backend(12)}  # a connection that begins anew
    assert set(lab.choices(flows)) == {lab.backend(12)}


def test_a_backend_that_is_down_loses_its_flows_at_once_and_gets_new_ones_when_it_is_back(lab):
    service = lab.add((11, 80), (12, 80))
    lab.apply()
    flows = some_flows(100)
    before = lab.choices(flows)
    service["backend"][0]["state"] = "DOWN"
    lab.apply()
    assert set(lab.choices(flows)) == {lab.backend(12)}
    service["backend"][0]["state"] = "ACTIVE"
    lab.apply()
    assert set(lab.choices(flows)) == {lab.backend(12)}  # they stay where they are now
    new = [(client, port ^ 1) for client, port in flows if (client, port ^ 1) not in flows]
    assert set(lab.choices(new)) == {lab.backend(11), lab.backend(12)}
    assert before


def test_with_affinity_a_clients_flows_go_to_one_backend_until_the_time_is_over(lab):
    service = lab.add((11, 80), (12, 80), (13, 80), (14, 80), **{"affinity-timeout": 2})
    lab.apply()
    for client in range(1, 6):
        assert len(set(lab.choices([(client, port) for port in range(2000, 2040)]))) == 1
    taken = lab.choices([(1, 2000)])[0]
    time.sleep(4)
    assert len(set(lab.choices([(1, port) for port in range(3000, 3001)] ))) == 1
    service["affinity-timeout"] = 10800
    service["backend"] = [one for one in service["backend"] if one["ip"] != taken]
    lab.apply()
    assert taken not in set(lab.choices([(1, port) for port in range(4000, 4040)]))
    service["affinity-timeout"] = 0
    lab.apply()
    assert len(set(lab.choices([(1, port) for port in range(5000, 5040)]))) == 3


def test_affinity_is_forgotten_after_its_time(lab):
    lab.add(*[(host, 80) for host in range(11, 31)], **{"affinity-timeout": 1})
    lab.apply()
    first = lab.choices([(client, 2000) for client in range(1, 30)])
    time.sleep(3)
    again = lab.choices([(client, 2001) for client in range(1, 30)])
    assert sum(a != b for a, b in zip(first, again, strict=True)) > 10


def test_what_a_flow_is_doing_is_shown_as_state_and_a_flush_forgets_it(lab):
    lab.add((11, 8080))
    lab.apply()
    assert lab.request(sport=5000) is not None
    (entry,) = lab.live_cube("lb", state=True)["session"]
    assert entry.pop("age") <= 2
    assert entry == {"client": lab.client(), "client-port": 5000, "vip": lab.vip(), "vport": 80, "proto": 6,
                     "backend": lab.backend(11), "backend-port": 8080}  # fmt: skip
    assert lab.plan().plan.steps == ()
    assert lab.drift() == []
    assert lab.pcn("action", "lb", "flush") == 0
    assert "session" not in lab.live_cube("lb", state=True) or lab.live_cube("lb", state=True)["session"] == []
    assert ends(lab.reply(sport=5000))[:2] == (lab.backend(11), 8080)


def test_a_forgotten_flow_is_resumed_where_its_hash_leads_and_counted(lab):
    lab.add((11, 80), (12, 80), (13, 80))
    lab.apply()
    flows = some_flows(60)
    before = lab.choices(flows, flags="S")
    assert lab.pcn("action", "lb", "flush") == 0
    assert lab.choices(flows) == before
    stats = lab.live_cube("lb", state=True)["stats"]
    assert (stats["new-flows"], stats["resumed-flows"], stats["moved-flows"]) == (2 * len(flows), len(flows), 0)


def test_a_reply_row_that_was_pushed_out_is_noted_again_within_four_seconds(lab):
    lab.add((11, 8080))
    lab.apply()
    assert lab.request() is not None
    lab.flush("lb", "replies")
    assert ends(lab.reply())[:2] == (lab.backend(11), 8080)
    time.sleep(4.1)
    assert lab.request(flags="A") is not None
    assert ends(lab.reply())[:2] == (lab.vip(), 80)


def test_a_full_table_drops_nothing_and_what_is_forgotten_goes_on_where_its_hash_leads(lab):
    lab.cube("lb")["max-flows"] = 1024
    lab.add((11, 80), (12, 80), (13, 80))
    lab.apply()
    assert lab.live_cube("lb")["max-flows"] == 1024
    flows = [(client, port) for client in range(1, 6) for port in range(2000, 3000)]
    before = lab.choices(flows)
    assert len(lab.table("lb", "flows")) <= 1024
    assert lab.choices(flows[:500]) == before[:500]
    assert lab.live_cube("lb", state=True)["stats"]["resumed-flows"] == len(flows) + 500
    assert lab.drops("lb") == {}
    lab.choices([(9, 9000)], flags="S")
    lab.cube("lb")["max-flows"] = 4096
    lab.apply()  # those that are there stay
    assert lab.choices([(9, 9000)]) == lab.choices([(9, 9000)], flags="S")
    assert lab.live_cube("lb", state=True)["stats"]["new-flows"] == len(flows) + 501


@pytest.mark.exhaustive
def test_with_a_full_table_new_flows_push_out_the_oldest_which_go_on_where_their_hash_leads(lab):
    """`flows` has 262,144 rows; the share over as many is right within 2 % of the weight."""
    weights = {11: 1, 12: 2, 13: 3, 14: 4}
    lab.add(*[(host, 80, weight) for host, weight in weights.items()])
    lab.apply()
    flows = [(client, port) for client in range(1, 7) for port in range(1024, 65536)]
    before = lab.choices(flows)
    counted = collections.Counter(before)
    for host, weight in weights.items():
        assert abs(counted[lab.backend(host)] / len(flows) / (weight / 10) - 1) < 0.02
    assert len(lab.table("lb", "flows")) <= 262144 < len(flows)
    assert lab.choices(flows[:2000]) == before[:2000]
    stats = lab.live_cube("lb", state=True)["stats"]
    assert stats["resumed-flows"] > len(flows)
    assert lab.drops("lb") == {}
