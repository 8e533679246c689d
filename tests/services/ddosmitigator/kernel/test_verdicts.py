"""What ddosmitigator says to each kind of packet, as `test_verdicts` has it of the other services.

What a test run cannot have (a tag beside the packet, a packet in pieces, one that is cut short) comes from a wire.
"""
from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.lib.frames import BROADCAST, H1, H2, ethernet, packet
from tests.lib.lab import Lab

pytestmark = pytest.mark.kernel

HOOKS = ("TC", "XDP_DRV")
LISTS = {"blacklist-src": [{"ip": "10.0.0.66"}, {"ip": "2001:db8::66"}], "blacklist-dst": [{"ip": "10.0.0.77"}, {"ip": "2001:db8::77"}]}
GOOD, BAD, TO_BAD = ("10.0.0.1", "10.0.0.2"), ("10.0.0.66", "10.0.0.2"), ("10.0.0.1", "10.0.0.77")
GOOD6, BAD6, TO_BAD6 = ("2001:db8::1", "2001:db8::2"), ("2001:db8::66", "2001:db8::2"), ("2001:db8::1", "2001:db8::77")


def guard(**lists) -> dict:
    return {"name": "th", "service-name": "ddosmitigator", **lists}


@pytest.fixture(params=HOOKS)
def hook(request):
    return request.param


def made_of(cube: dict, hook: str, mtu: int = 1500) -> Lab:
    """A host, the cube on its wire, and this lab's stack behind it."""
    host = {"addresses": ["10.0.0.1/24"], "mtu": mtu, "here": {"mtu": mtu, "addresses": ["10.0.0.254/24"]}}
    spec = {"hosts": {"h1": host}, "cubes": [cube], "attachments": [{"netdev": "v1", "tcubes": ["th"]}]}
    return Lab(json.dumps(spec), hook=hook)


@pytest.fixture(scope="module", params=HOOKS)
def guarded(request, compiled_programs):
    """Both lists in force; its counters go on from test to test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCN_CACHE", str(compiled_programs))
        with made_of(guard(**LISTS), request.param) as lab:
            lab.apply()
            yield lab


def counted(made: Lab) -> Counter[str]:
    """Drops by address, by reason, and of the whole cube."""
    return Counter({**rows(made), **made.drops("th"), "all": made.live_cube("th", state=True)["stats"]["pkts"]})


def settled(made: Lab) -> None:
    """Once this is back, what was sent before it has been looked at."""
    assert made.ok("h1", "10.0.0.254", 1)


def rows(made: Lab) -> dict[str, int]:
    """Drops by address, of both lists; addresses without any left out."""
    live = made.live_cube("th", state=True)
    return {entry["ip"]: entry["drop-pkts"] for which in LISTS for entry in live.get(which, ()) if entry["drop-pkts"]}


@pytest.mark.parametrize(("frame", "row"), [
    (packet(*GOOD), None),
    (packet(*BAD), "10.0.0.66"),
    (packet(*TO_BAD), "10.0.0.77"),
    (packet("10.0.0.66", "10.0.0.77"), "10.0.0.66"),
    (packet("10.0.0.77", "10.0.0.66"), None),
    (packet(*GOOD6), None),
    (packet(*BAD6), "2001:db8::66"),
    (packet(*TO_BAD6), "2001:db8::77"),
    (packet("::ffff:10.0.0.66", "::1"), "10.0.0.66"),
    (packet("::10.0.0.66", "::1"), None),
    (packet(*BAD, tags=(0x8100,)), "10.0.0.66"),
    (packet(*BAD, tags=(0x88A8, 0x8100)), "10.0.0.66"),
    (packet(*TO_BAD6, tags=(0x8100, 0x8100)), "2001:db8::77"),
    (packet(*GOOD, tags=(0x88A8, 0x8100)), None),
    (ethernet(H1, BROADCAST, 0x0806), None),
    (ethernet(H1, H2, 0x88B5, b""), None),
], ids=["other", "source", "target", "both", "the wrong way round", "other IPv6", "IPv6 source", "IPv6 target", "IPv4 in IPv6",
        "like IPv4 in IPv6", "tagged", "tagged twice", "IPv6 tagged twice", "other tagged twice",
        "ARP", "a bare header"])  # fmt: skip
def test_ddosmitigator_drops_what_is_listed_and_counts_it_by_row(guarded, frame, row):
    before = counted(guarded)
    assert guarded.run("cubes/th/in/0_wire", frame) == ("drop" if row else "pass")
    assert counted(guarded) - before == Counter({row: 1, "all": 1, "POLICY": 1} if row else {})


CUT_SHORT = {
    "no IPv4 header": packet(*GOOD, cut=0), "half an IPv4 header": packet(*GOOD, cut=19), "half an IPv6 header": packet(*GOOD6, cut=39),
    "half a second tag": packet(*GOOD, tags=(0x8100, 0x8100), cut=7),
    "half an IPv4 header behind two tags": packet(*GOOD, tags=(0x88A8, 0x8100), cut=8 + 19),
}  # fmt: skip


@pytest.mark.parametrize("frame", CUT_SHORT.values(), ids=CUT_SHORT.keys())
def test_ddosmitigator_drops_what_is_cut_short_as_malformed(guarded, frame):
    """From a wire: the kernel makes no test run of such packets."""
    before = counted(guarded)
    guarded.send("h1", frame)
    settled(guarded)
    assert counted(guarded) - before == Counter(MALFORMED=1)


def test_ddosmitigator_drops_half_a_tag_as_malformed(guarded):
    """From a wire, the kernel itself would drop it ahead of TC."""
    before = counted(guarded)
    assert guarded.run("cubes/th/in/0_wire", packet(*GOOD, tags=(0x8100,), cut=3)) == "drop"
    assert counted(guarded) - before == Counter(MALFORMED=1)


def test_ddosmitigator_looks_at_nothing_while_its_lists_are_empty(hook):
    with made_of(guard(), hook) as made:
        made.apply()
        made.send("h1", packet(*BAD), packet(*TO_BAD6), *CUT_SHORT.values())
        settled(made)
        assert made.drops("th") == {}


@pytest.mark.parametrize("which", LISTS)
def test_ddosmitigator_with_one_list_looks_at_that_one_only(hook, which):
    with made_of(guard(**{which: LISTS[which]}), hook) as made:
        made.apply()
        verdicts = [made.run("cubes/th/in/0_wire", packet(*pair)) for pair in (BAD, TO_BAD, BAD6, TO_BAD6, GOOD)]
    assert verdicts == (["drop", "pass", "drop", "pass", "pass"] if which == "blacklist-src" else ["pass", "drop", "pass", "drop", "pass"])


def test_ddosmitigator_drops_what_has_more_tags_than_it_looks_behind(guarded):
    """A host would take any number of tags that carry a priority only."""
    before = counted(guarded)
    assert guarded.run("cubes/th/in/0_wire", packet(*BAD, tags=(0x8100, 0x8100, 0x8100))) == "drop"
    assert counted(guarded) - before == Counter(MALFORMED=1)


@pytest.mark.parametrize("tags", [(0x8100,), (0x88A8, 0x8100)])
def test_ddosmitigator_sees_through_a_tag_wherever_the_kernel_keeps_it(guarded, tags):
    """From a wire: TC finds the outer tag beside the packet, XDP in it."""
    before = counted(guarded)
    guarded.send("h1", packet(*BAD, tags=tags), packet(*GOOD, tags=tags), packet(*BAD6, tags=tags))
    settled(guarded)
    assert counted(guarded) - before == Counter({"10.0.0.66": 1, "2001:db8::66": 1, "POLICY": 2, "all": 2})


def test_ddosmitigator_finds_the_addresses_of_a_packet_that_comes_in_pieces(hook):
    """Of a packet longer than a page, the kernel shows a TC program the Ethernet header and no more."""
    mtu = 9000 if hook == "TC" else 3000
    with made_of(guard(**LISTS), hook, mtu) as made:
        made.apply()
        made.send("h1", *(packet(*pair) + bytes(mtu - 40) for pair in (BAD, GOOD, BAD6, GOOD6)))
        settled(made)
        assert counted(made) == Counter({"10.0.0.66": 1, "2001:db8::66": 1, "POLICY": 2, "all": 2})
