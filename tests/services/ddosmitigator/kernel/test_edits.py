"""At every step of an edit of long lists a packet of a listed address is dropped, and one of another passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.plan.steps import Step
from tests.lib.frames import packet
from tests.lib.lab import HOOKS, Lab
from tests.services.ddosmitigator.kernel.test_verdicts import guard, made_of

pytestmark = pytest.mark.kernel

STAYS, GOES, COMES, NEVER = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"


def listed(*more: str, first: int, count: int) -> list[dict[str, str]]:
    """Some addresses that each test names, and many more."""
    return [*({"ip": address} for address in more), *({"ip": str(IPv4Address(number))} for number in range(first, first + count))]


def verdict(lab: Lab, address: str) -> str:
    return lab.run("cubes/th/in/0_wire", packet(address, "10.0.0.2"))


def rows_of_filter(lab: Lab) -> int:
    with Bpffs(lab.root).opened("cubes/th/tables/blacklist_filter") as fd:
        return maps.info(fd).spec.max_entries


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with made_of(guard(**{"blacklist-src": listed(STAYS, GOES, first=1 << 28, count=3000)}), request.param) as made:
        made.apply()
        yield made


def test_an_address_is_dropped_as_long_as_it_has_a_row_and_one_without_passes(lab: Lab) -> None:
    seen: list[tuple[bool, str]] = []

    def look(_number: int, _step: Step) -> None:
        rows = lab.table("th", "srcblacklist")
        for address in (STAYS, GOES, COMES, NEVER):
            has_row = bytes(10) + b"\xff\xff" + ip_address(address).packed in rows
            seen.append((has_row, verdict(lab, address)))

    quiet, lab.options = lab.options, replace(lab.options, before=look)
    lab.cube("th")["blacklist-src"] = listed(STAYS, COMES, first=(1 << 28) + 1500, count=3000)
    lab.apply()
    lab.options = quiet
    assert len(seen) >= 4 * 4
    assert set(seen) == {(True, "drop"), (False, "pass")}
    assert [verdict(lab, address) for address in (STAYS, GOES, COMES, NEVER)] == ["drop", "pass", "drop", "pass"]
    assert lab.drift() == []
    assert lab.plan().plan.steps == ()


def test_bits_that_become_more_or_fewer_let_nothing_listed_pass_meanwhile(lab: Lab) -> None:
    seen: list[tuple[str, str]] = []
    quiet = lab.options
    lab.options = replace(quiet, before=lambda *_: seen.append((verdict(lab, STAYS), verdict(lab, NEVER))))
    assert rows_of_filter(lab) == 128
    for count, rows in ((9000, 256), (3000, 128)):
        lab.cube("th")["blacklist-src"] = listed(STAYS, first=1 << 28, count=count)
        assert str(lab.apply().plan.disruption) == "none"
        assert rows_of_filter(lab) == rows
    lab.options = quiet
    assert set(seen) == {("drop", "pass")}
    assert lab.plan().plan.steps == ()


def test_a_bit_that_somebody_cleared_is_drift_and_is_mended(lab: Lab) -> None:
    for key in lab.table("th", "blacklist_filter"):
        lab.write("th", "blacklist_filter", key, bytes(64))
    assert [change.address for change in lab.drift()] == ["cube/th/table/blacklist_filter"]
    lab.apply()
    assert lab.drift() == []
    assert verdict(lab, STAYS) == "drop"
