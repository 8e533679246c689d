"""Edits of each kind while requests flow: none is lost, no program is loaded, and rows are written in proportion to the change."""
from __future__ import annotations

import pytest

from tests.lib.lab import own_counts
from tests.services.lbdsr.lab import DsrLab, mac_of
from tests.services.lbrp.lab import Requests

pytestmark = pytest.mark.kernel


def pool_of(lab):
    return lab.cube("lb")["backend"]["pool"]


def another(lab):
    lab.cube("lb")["service"].append({"vip": lab.vip(50), "pool": [{"id": 1, "mac": mac_of(9)}, {"id": 2, "mac": mac_of(8)}]})


EDITS = {  # what is done, and how many rows it writes at most
    "a backend comes": (lambda lab: pool_of(lab).append({"id": 5, "mac": mac_of(5)}), 3),
    "a weight is another one": (lambda lab: pool_of(lab)[0].update(weight=2), 2),
    "a backend drains": (lambda lab: pool_of(lab)[1].update(state="DRAINING"), 3),
    "a backend is down": (lambda lab: pool_of(lab)[2].update(state="DOWN"), 3),
    "a backend is back": (lambda lab: pool_of(lab)[2].update(state="ACTIVE"), 3),
    "a backend is behind a tunnel": (lambda lab: pool_of(lab)[0].update(mode="IPIP", ip="10.8.0.9"), 4),
    "a backend goes": (lambda lab: pool_of(lab).pop(3), 3),
    "ids are others": (lambda lab: [entry.update(id=entry["id"] + 100) for entry in pool_of(lab)], 8),
    "a virtual address comes": (another, 1 + 2 + 2 + 1 + 1),
    "a virtual address goes": (lambda lab: lab.cube("lb")["service"].pop(), 1 + 2 + 2 + 1 + 1),
}


@pytest.mark.parametrize(("hook", "family"), [("TC", 4), ("XDP_DRV", 6)])
def test_no_request_is_lost_over_edits_of_each_kind_and_each_writes_its_own_rows(hook, family):
    with DsrLab(hook=hook, family=family) as lab:
        lab.pool(1, 2, 3)
        lab.cube("lb")["service"] = [{"vip": lab.vip(100 + other), "pool": [{"id": 1, "mac": mac_of(7)}]} for other in range(40)]
        lab.apply()
        found = {}
        with Requests(lab) as requests:
            for name, (edit, _) in EDITS.items():
                edit(lab)
                found[name] = own_counts(lab.apply())
                requests.pass_by(50)
        assert (requests.arrived, lab.drops("lb")) == (requests.sent, {})
        assert {name: count.program_loads for name, count in found.items()} == dict.fromkeys(EDITS, 0)
        most = {name: rows for name, (_, rows) in EDITS.items()}
        assert {name: count.map_writes for name, count in found.items() if not 0 < count.map_writes <= most[name]} == {}
        assert lab.drift() == []
