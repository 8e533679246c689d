"""C24: a blacklist on a netdev, between a host and this machine's own stack. What it drops, and what a change of it costs."""
from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from reconciler.kernel import netns
from tests.lib.lab import HOOKS, Counts, Lab, counts

pytestmark = pytest.mark.kernel
_RCVBUFFORCE = 33  # of socket(7); Python has no name for it

SCENARIO = """
hosts: {h1: {addresses: [10.0.0.1/24, 10.0.0.11/24], here: {addresses: [10.0.0.2/24]}}}
cubes: [{name: d1, service-name: ddosmitigator}]
attachments: [{netdev: v1, tcubes: [d1]}]
"""


@pytest.fixture(params=HOOKS)
def lab(request):
    with Lab(SCENARIO, hook=request.param) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        yield lab


def listed(lab: Lab, which: str, *addresses: str) -> Counts:
    """Make a list hold these addresses; what that took."""
    lab.cube("d1")[which] = [{"ip": address} for address in addresses]
    return counts(lab.apply())


def dropped(lab: Lab, which: str) -> dict[str, int]:
    """Packets dropped so far, by row."""
    return {entry["ip"]: entry["drop-pkts"] for entry in lab.live_cube("d1", state=True).get(which, [])}


def test_a_listed_source_is_dropped_and_counted_until_it_is_taken_off(lab):
    listed(lab, "blacklist-src", "10.0.0.1")
    assert lab.fails("h1", "10.0.0.2", 4)
    assert dropped(lab, "blacklist-src")["10.0.0.1"] >= 4
    assert lab.live_cube("d1", state=True)["stats"]["pkts"] == dropped(lab, "blacklist-src")["10.0.0.1"]
    assert lab.drops("d1").keys() == {"POLICY"}
    listed(lab, "blacklist-src")
    assert lab.ok("h1", "10.0.0.2")
    assert "blacklist-src" not in lab.live_cube("d1")


def test_only_what_comes_in_is_looked_at(lab):
    """A blacklisted destination on the host's side is not where packets from it go to."""
    listed(lab, "blacklist-dst", "10.0.0.1")
    assert lab.ok("h1", "10.0.0.2")
    assert lab.ok(None, "10.0.0.1")
    assert dropped(lab, "blacklist-dst") == {"10.0.0.1": 0}
    listed(lab, "blacklist-dst", "10.0.0.2")
    assert lab.fails("h1", "10.0.0.2")
    assert dropped(lab, "blacklist-dst")["10.0.0.2"] >= 2


def test_the_first_entry_and_the_last_swap_the_program_and_none_between_does(lab):
    assert listed(lab, "blacklist-src", "10.0.0.1") == Counts(program_loads=1, map_writes=2)
    assert listed(lab, "blacklist-src", "10.0.0.1", "10.9.9.9") == Counts(map_writes=2)
    assert listed(lab, "blacklist-src", "10.0.0.1") == Counts(map_writes=2)
    assert listed(lab, "blacklist-src") == Counts(program_loads=1, map_writes=2)
    assert not lab.plan().plan.steps


def test_counters_of_other_rows_survive_every_change_of_the_list(lab):
    listed(lab, "blacklist-src", "10.0.0.1")
    assert lab.fails("h1", "10.0.0.2")
    counted = dropped(lab, "blacklist-src")["10.0.0.1"]
    assert counted >= 2
    for addresses in (("10.0.0.1", "10.9.9.9"), ("10.0.0.1",), ("10.9.9.9", "10.0.0.1", "2001:db8::1")):
        listed(lab, "blacklist-src", *addresses)
        assert dropped(lab, "blacklist-src") == {address: counted * (address == "10.0.0.1") for address in addresses}
    listed(lab, "blacklist-dst", "10.9.9.9")  # swaps the program
    assert dropped(lab, "blacklist-src")["10.0.0.1"] == counted


def test_a_reset_makes_every_counter_zero_and_leaves_the_lists_in_force(lab):
    listed(lab, "blacklist-src", "10.0.0.1", "10.9.9.9")
    assert lab.fails("h1", "10.0.0.2")
    assert lab.pcn("action", "d1", "reset-counters") == 0
    assert dropped(lab, "blacklist-src") == {"10.0.0.1": 0, "10.9.9.9": 0}
    assert lab.live_cube("d1", state=True)["stats"]["pkts"] == 0
    assert not lab.plan().plan.steps
    assert lab.fails("h1", "10.0.0.2")
    assert dropped(lab, "blacklist-src")["10.0.0.1"] >= 2


def test_while_programs_are_swapped_no_listed_packet_gets_in_and_no_other_is_lost(lab):
    listed(lab, "blacklist-src", "10.0.0.1")
    with Datagrams(lab, "10.0.0.1") as bad, Datagrams(lab, "10.0.0.11") as good:
        for entries in ([{"ip": "10.9.9.9"}], [], [{"ip": "10.9.9.9"}], []):  # the other list: each a program swap
            lab.cube("d1")["blacklist-dst"] = entries
            assert counts(lab.apply()).program_loads == 1
            good.pass_by(30)
    assert good.sent > 100
    assert bad.sent > 100
    assert good.received() == list(range(good.sent))
    assert bad.received() == []


class Datagrams:
    """Numbered datagrams from one of h1's addresses to the lab's own stack, for as long as the block runs."""

    def __init__(self, lab: Lab, source: str) -> None:
        self.sent = 0
        self._there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._there.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 24)  # nothing is read before the end
        self._there.bind(("10.0.0.2", 0))
        with netns.inside(lab.space("h1")):
            self._here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._here.bind((source, 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            self._here.sendto(self.sent.to_bytes(4, "big"), self._there.getsockname())
            self.sent += 1
            time.sleep(0.002)

    def pass_by(self, count: int) -> None:
        until = self.sent + count
        while self.sent < until and self._thread.is_alive():
            time.sleep(0.001)

    def __enter__(self) -> Datagrams:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._here.close()

    def received(self) -> list[int]:
        """Their numbers, in the order in which they came."""
        self._there.settimeout(0.2)
        found = []
        with self._there, contextlib.suppress(TimeoutError):
            while True:
                found.append(int.from_bytes(self._there.recv(64), "big"))
        return found


def test_the_blacklist_counts_the_addresses_that_it_holds(lab):
    listed(lab, "blacklist-src", "10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.5")
    assert len(lab.live_cube("d1")["blacklist-src"]) == 4
    assert lab.drift() == []
