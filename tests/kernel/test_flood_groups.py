"""What is flooded to a group arrives once at each other member, with the group's tag or without as the member wants it, and nowhere else."""
from __future__ import annotations

import json
import struct
from itertools import product

import pytest

from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx
from tests.lib.traffic import ETHERTYPE

pytestmark = pytest.mark.kernel

# Two of these cubes, joined; ports 0 to 3 have hosts, and port 4 leads to the other cube. A frame's last byte says the group: 8 bits of
# members, and 8 bits of those that want no tag, are the two bytes before it. The group's tag is TAG.
TAG, OTHER = 0x6000 | 77, 0x2005
SOURCE = rx(f"""
  u8 said[2];
  struct pcn_group group = {{}};
  struct pcn_tag tag = pcn_get_tag(ctx);
  if (pcn_load_bytes(ctx, md->packet_len - 2, said, 2) < 0)
    return pcn_pkt_redirect(ctx, md, 0);
  group.members.word[0] = said[0];
  group.untagged.word[0] = said[1];
  return pcn_pkt_flood_group(ctx, md, &group, tag.protocol ? ntohs(tag.tci) : PCN_UNTAGGED, {TAG});
""")
LINK = 4
HERE, THERE = [f"h{number}" for number in range(1, 5)], [f"h{number}" for number in range(5, 8)]


def scenario() -> str:
    ports = {name: [{"name": f"p{host[1:]}", "peer": f"v{host[1:]}"} for host in hosts] for name, hosts in (("c1", HERE), ("c2", THERE))}
    ports["c2"].append({"name": "spare"})
    for name, other in (("c1", "c2"), ("c2", "c1")):
        ports[name].append({"name": "on", "peer": f"{other}:on"})
    hosts = {host: f"10.0.0.{host[1:]}/24" for host in HERE + THERE}
    return json.dumps({"hosts": hosts, "cubes": [{"name": name, "service-name": "grouper", "ports": ports[name]} for name in ports]})


@pytest.fixture(scope="module", params=HOOKS)
def lab(request, compiled_programs, tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("services"))
    tree.add("grouper", [SOURCE], floods="groups")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCN_CACHE", str(compiled_programs))
        with Lab(scenario(), hook=request.param) as lab:
            lab.options.services = tree.load()
            lab.apply()
            yield lab


def frame(number: int, members: int, untagged: int, tag: int | None = None) -> bytes:
    """`tag`: with this tag."""
    head = bytes.fromhex("ffffffffffff020000000001")
    vlan = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    return head + vlan + struct.pack("!HI", ETHERTYPE, number) + bytes(50) + bytes([members, untagged])


def wanted(sender: str, number: int, members: int, untagged: int) -> dict[str, list[bytes]]:
    """What arrives at each host. The other cube does with what it gets as the frame says, too."""

    def out(port: int) -> bytes:
        return frame(number, members, untagged, None if untagged >> port & 1 else TAG)

    found: dict[str, list[bytes]] = {host: [] for host in HERE + THERE}
    for port, host in enumerate(HERE):
        if members >> port & 1 and host != sender:
            found[host].append(out(port))
    if members >> LINK & 1:
        for port, host in enumerate(THERE):
            if members >> port & 1:
                found[host].append(out(port))
    return found


GROUPS = [(0, 0), (0b1111, 0), (0b1111, 0b1111), (0b1010, 0b0010), (0b11111, 0b00101), (0b11111, 0b11010), (0b10000, 0), (0b10111, 0b10100)]


@pytest.mark.parametrize(("members", "untagged"), GROUPS)
def test_each_member_gets_one_copy_with_the_tag_or_without(lab, members, untagged):
    sniffers = {host: lab.sniff(host) for host in HERE + THERE}
    cases = list(enumerate(product(("h1", "h2"), (None, TAG, OTHER, 0))))
    for number, (sender, tag) in cases:
        lab.send(sender, frame(number, members, untagged, tag))
    found = {host: sniffer.all(0.2, lambda seen: struct.pack("!H", ETHERTYPE) in (seen[12:14], seen[16:18])) for host, sniffer in sniffers.items()}
    for sniffer in sniffers.values():
        sniffer.__exit__()
    expected: dict[str, list[bytes]] = {host: [] for host in sniffers}
    for number, (sender, _) in cases:
        for host, copies in wanted(sender, number, members, untagged).items():
            expected[host] += copies
    assert {host: sorted(copies) for host, copies in found.items()} == {host: sorted(copies) for host, copies in expected.items()}


def test_it_is_as_it_was_applied_and_damage_to_its_members_is_found_and_mended(lab):
    assert lab.drift() == []
    assert not lab.plan().plan.steps
    from reconciler.kernel import maps
    from reconciler.kernel.bpffs import Bpffs

    side = "" if lab.hook == "TC" else "twin/"
    with Bpffs(lab.root).opened(f"cubes/c1/{side}flood") as fd:
        maps.update(fd, struct.pack("<I", 1), struct.pack("<III", 1, 0, 0))
    assert [change.address for change in lab.drift()] == [f"cube/c1/member/{side}1"]
    lab.apply()
    assert lab.drift() == []


def test_a_port_that_comes_and_goes_changes_no_other(lab):
    ports = lab.cube("c1")["ports"]
    gone = ports.pop(2)
    lab.apply()
    assert lab.drift() == []
    with lab.sniff("h2") as kept, lab.sniff("h3") as lost:
        lab.send("h1", frame(1, 0b1111, 0b1111))
        assert kept.next(1.0, lambda seen: seen == frame(1, 0b1111, 0b1111))
        assert lost.next(0.1, lambda seen: seen == frame(1, 0b1111, 0b1111)) is None
    ports.insert(2, gone)
    lab.apply()
    with lab.sniff("h3") as back:
        lab.send("h1", frame(2, 0b1111, 0b1111))
        assert back.next(1.0, lambda seen: seen == frame(2, 0b1111, 0b1111))
