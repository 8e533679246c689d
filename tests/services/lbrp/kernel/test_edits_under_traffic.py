"""Edits of each kind while requests flow: none is lost, no program is loaded, and rows are written in proportion to the change."""
from __future__ import annotations

import pytest

from reconciler.engine.states import without_network
from tests.lib.lab import own_counts
from tests.services.lbrp.lab import LbLab, Requests

pytestmark = pytest.mark.kernel
BACKENDS = ((11, 8080), (12, 8080), (13, 8080), (14, 8080))
OTHERS = 100  # services that nothing is said about


def without(service, host, lab):
    service["backend"] = [one for one in service["backend"] if one["ip"] != lab.backend(host)]


def another(lab, service):
    lab.add((21, 80), (22, 80), vip=50, vport=53, proto="ALL")


def no_more(lab, service):
    lab.cube("lb")["service"].pop()


EDITS = {  # what is done, and how many rows it writes at most
    "a backend comes": (lambda lab, service: service["backend"].extend(lab.backends((15, 8080))), 3),
    "a weight is another one": (lambda lab, service: service["backend"][0].update(weight=2), 2),
    "a backend drains": (lambda lab, service: service["backend"][1].update(state="DRAINING"), 3),
    "a backend is down": (lambda lab, service: service["backend"][2].update(state="DOWN"), 3),
    "a backend is back": (lambda lab, service: service["backend"][2].update(state="ACTIVE"), 3),
    "a backend goes": (lambda lab, service: without(service, 14, lab), 3),
    "affinity": (lambda lab, service: service.update({"affinity-timeout": 60}), 2),
    "source ranges": (lambda lab, service: service.update({"source-range": [f"{lab.client(0)}/{24 if lab.family == 4 else 64}"]}), 4),
    "what happens without a backend": (lambda lab, service: service.update({"no-backend": "DROP"}), 2),
    "a longer ring": (lambda lab, service: service.update({"ring-size": 4093}), 17 + 2),
    "a service comes": (another, 1 + 4 + 3 + 2 + 2),
    "a service goes": (no_more, 1 + 4 + 3 + 2 + 2),
}


@pytest.mark.parametrize(("hook", "family"), [("TC", 4), ("XDP_DRV", 6)])
def test_no_request_is_lost_over_edits_of_each_kind_and_each_writes_its_own_rows(hook, family):
    with LbLab(hook=hook, family=family) as lab:
        service = lab.add(*BACKENDS, proto="UDP", **{"ring-size": 251})
        for other in range(OTHERS):
            lab.add((31, 80), (32, 80), vip=100 + other, proto="UDP")
        lab.apply()
        found = {}
        with Requests(lab) as requests:
            for name, (edit, _) in EDITS.items():
                edit(lab, service)
                found[name] = own_counts(lab.apply())
                requests.pass_by(50)
        assert (requests.arrived, lab.drops("lb")) == (requests.sent, {})
        assert {name: count.program_loads for name, count in found.items()} == dict.fromkeys(EDITS, 0)
        most = {name: rows for name, (_, rows) in EDITS.items()}
        assert {name: count.map_writes for name, count in found.items() if not 0 < count.map_writes <= most[name]} == {}
        assert lab.drift() == []


def test_an_edit_is_in_force_while_rows_are_there_that_packets_may_still_look_up():
    with LbLab() as lab:
        service = lab.add(*BACKENDS, proto="UDP")
        lab.apply()
        before, seen = lab.table("lb", "members"), []
        lab.options.in_force = lambda _: seen.append(lab.table("lb", "members"))
        without(service, 14, lab)
        done = lab.apply()
        after = lab.table("lb", "members")
        assert done.verified.state["cube/lb/table/members"].rows == done.verified.tables["lb"]["members"] == after, "and what is known then"
        assert len(seen) == 1
        assert before.keys() - after.keys(), "the backend's row is gone"
        assert seen[0].keys() == before.keys() | after.keys()
        seen.clear()
        lab.cube("lb")["max-flows"] = 1024  # a table is another one: there is more to do than to wait
        lab.apply()
        assert len(seen) == 1
        seen.clear()
        lab.apply()
        assert len(seen) == 1, "nothing is to be done"
        lab.options.in_force = id


def test_an_edit_among_many_rows_is_known_as_the_kernel_has_it_without_a_read_of_all():
    with LbLab() as lab:
        service = lab.add(*BACKENDS, proto="UDP")
        for other in range(520):
            lab.add((31, 80), (32, 80), vip=100 + other, proto="UDP")
        lab.apply()
        lab.options.recent = without_network(lab.plan().session.live)
        for host in (14, 13, 12):
            without(service, host, lab)
            done = lab.apply()
            known, wanted = (state["cube/lb/table/members"] for state in (done.verified.state, done.session.desired.state))
            assert known.rows == wanted.rows
            assert done.verified.tables["lb"]["members"] == lab.table("lb", "members") == wanted.rows
            lab.options.recent = done.verified
        lab.options.recent = None
        assert lab.drift() == []


def test_a_larger_table_of_flows_under_traffic_loses_none():
    with LbLab() as lab:
        lab.add(*BACKENDS, proto="UDP")
        lab.cube("lb")["max-flows"] = 1024
        lab.apply()
        with Requests(lab) as requests:
            lab.cube("lb")["max-flows"] = 4096
            lab.apply()
        assert requests.arrived == requests.sent
        assert lab.live_cube("lb", state=True)["stats"]["resumed-flows"] == 0
