"""Health checks of a load balancer with direct return: at an address of the backend's own, and its pool's flows move."""
from __future__ import annotations

import itertools

import pytest

from tests.lib.agent_process import Bench
from tests.lib.servers import Server
from tests.services.lbdsr.lab import DsrLab, mac_of
from tests.services.lbrp.kernel.test_health import within

pytestmark = pytest.mark.kernel



class Checked(DsrLab):
    def __init__(self):
        super().__init__()
        self.hosts["h3"] = {"addresses": ["10.9.1.11/24", "10.9.1.12/24"], "here": {"addresses": ["10.9.1.254/24"]}}


@pytest.mark.serial
def test_a_backend_that_is_asked_at_its_own_address_and_does_not_answer_loses_its_flows(tmp_path):
    with Checked() as lab:
        lab.pool(11)
        backend = lab.cube("lb")["backend"]
        backend["pool"] = [{"id": number, "mac": mac_of(number), "check-ip": f"10.9.1.{number}"} for number in (11, 12)]
        backend["health-check"] = {"port": 80, "interval": 1, "timeout": 1, "fall": 2, "rise": 1}
        lab.apply()
        shown = lab.live_cube("lb")["backend"]
        assert {entry["id"]: entry["check-ip"] for entry in shown["pool"]} == {11: "10.9.1.11", 12: "10.9.1.12"}
        assert {**shown["health-check"], **backend["health-check"]} == shown["health-check"]
        space = lab.space("h3")
        bench = Bench(lab, tmp_path)
        bench.save()
        with Server(space, "10.9.1.11", 80), Server(space, "10.9.1.12", 80) as dies, bench.agent():
            taken = {sport: lab.taken(sport=sport) for sport in range(2000, 2200)}
            assert set(taken.values()) == {mac_of(11), mac_of(12)}
            dies.close()
            assert within(10, lambda: {lab.taken(sport=sport) for sport in taken} == {mac_of(11)}) < 3
            entries = {entry["id"]: entry for entry in lab.live_cube("lb", state=True)["health"]}
            assert entries[11]["healthy"]
            assert not entries[12]["healthy"]
            assert entries[12]["vip"] == lab.vip()
            assert entries[12]["last-error"] == "REFUSED"
            assert lab.drift() == []
            with Server(space, "10.9.1.12", 80):
                ports = itertools.count(3000)  # known flows stay where they are
                within(10, lambda: lab.taken(sport=next(ports)) == mac_of(12))
