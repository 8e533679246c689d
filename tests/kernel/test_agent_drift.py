"""Whatever is done to the live graph behind pcn's back is noticed and put right within a second, under traffic."""
from __future__ import annotations

import os
import struct
import time

import pytest

from reconciler.engine.apply import apply
from reconciler.kernel import bpf, linkwrite, maps, netns, offload
from reconciler.kernel.bpffs import Bpffs
from tests.lib.agent_process import OWNED, AgentProcess, Bench
from tests.lib.lab import Lab

SECOND = 1.0
IN_THE_KERNEL = {"a namespace is deleted": 1.0}  # seconds more: the kernel itself takes a namespace down late
CUBE = "cubes/br1"


def row(pin: str, key: bytes, change):
    """Change a row of a table: `change` gives the new bytes for the old ones, None to delete the row."""

    def act(lab: Lab) -> None:
        with Bpffs(lab.root).opened(pin) as fd:
            old = maps.lookup(fd, maps.info(fd).spec, key)
            new = change(old)
            if new is None:
                maps.delete(fd, key)
            else:
                maps.update(fd, key, new)

    return act


def unpin(path: str):
    return lambda lab: os.unlink(f"{lab.root}/{path}")


def detach(lab: Lab) -> None:
    """Every hook of v1 at once, as somebody with bpftool would."""
    home = f"{lab.root}/links/v1"
    for name in os.listdir(home):
        os.unlink(f"{home}/{name}")


def point_elsewhere(path: str, text: str):
    def act(lab: Lab) -> None:
        os.unlink(f"{lab.root}/{path}")
        os.symlink(text, f"{lab.root}/{path}")

    return act


def replaced_program(lab: Lab) -> None:
    """Another program in the slot where the cube's own should be: a stub of the same cube."""
    stub = bpf.open_pin(f"{lab.root}/{CUBE}/in/0_p1")
    with Bpffs(lab.root).opened(f"{CUBE}/entry") as fd:
        maps.update(fd, struct.pack("<I", 0), struct.pack("<I", stub))
    os.close(stub)


def unasked_row(lab: Lab) -> None:
    with Bpffs(lab.root).opened(f"{CUBE}/tables/fdb_static") as fd:
        spec = maps.info(fd).spec
        maps.update(fd, bytes([2]) * spec.key_size, bytes(spec.value_size))


def lost_program(lab: Lab) -> None:
    os.unlink(f"{lab.root}/{CUBE}/{os.readlink(f'{lab.root}/{CUBE}/current')}/ingress_0")


def in_h1(act):
    """Something done to eth0 of h1."""
    return lambda lab: act(lab.space("h1"))


ZERO = struct.pack("<I", 0)
KINDS = {
    "a configuration row is overwritten": row(f"{CUBE}/tables/fdb_config", ZERO, lambda old: bytes([old[0] ^ 1]) + old[1:]),
    "a row that nobody asked for": unasked_row,
    "a port is not flooded to": row(f"{CUBE}/flood", ZERO, lambda old: bytes(len(old))),
    "a program's slot is emptied": row(f"{CUBE}/entry", ZERO, lambda _: None),
    "another program is in the slot": replaced_program,
    "a hop leads nowhere": row(f"{CUBE}/hops", ZERO, lambda old: bytes(len(old))),
    "the program's pin is removed": lost_program,
    "a stub's pin is removed": unpin(f"{CUBE}/in/0_p1"),
    "a port's name is removed": unpin(f"{CUBE}/ports/p1"),
    "a port's peer is misstated": point_elsewhere(f"{CUBE}/ports/p1", "v9"),
    "about is removed": unpin(f"{CUBE}/about"),
    "current is removed": unpin(f"{CUBE}/current"),
    "a table's pin is removed": unpin(f"{CUBE}/tables/fdb_config"),
    "the table of hops loses its pin": unpin(f"{CUBE}/hops"),
    "the applied document is removed": unpin("topologies/lab"),
    "the hooks are detached": detach,
    "a netdev is deleted": lambda _: linkwrite.delete_link("v1"),
    "a netdev is set down": lambda _: linkwrite.set_link("v1", up=False),
    "an address is removed": in_h1(lambda space: linkwrite.remove_address("eth0", space, "10.0.0.1/24")),
    "a host's end cannot take what XDP sends it": in_h1(lambda space: offload.put("eth0", "gro", False, space)),
    "a namespace is deleted": lambda lab: netns.delete(lab.space("h1")),
}
OFFLOADS = {"a host's end cannot take what XDP sends it"}


OTHERWISE_UNDER_XDP = {
    "a port is not flooded to", "a program's slot is emptied", "a hop leads nowhere", "the hooks are detached", "a netdev is deleted",
    "a namespace is deleted", *OFFLOADS,
}  # fmt: skip
# Records of each kind of object that there is, by the beginning of their addresses (reconciler/graph/records.py).
OBJECTS = {"namespace", "link", "cube", "port", "table", "program", "stub", "hop", "member", "hook", "topology"}


def learned(lab: Lab) -> tuple[int, set[bytes]]:
    """The identity of the table of learned stations, and its keys."""
    with Bpffs(lab.root).opened(f"{CUBE}/tables/fwdtable") as fd:
        info = maps.info(fd)
        return info.identity, set(maps.rows(fd, info.spec))


@pytest.mark.serial
@pytest.mark.parametrize(("hook", "kinds"), [("TC", KINDS.keys() - OFFLOADS), ("XDP_DRV", OTHERWISE_UNDER_XDP)])
def test_drift_of_each_kind_is_healed_within_a_second_and_what_was_learned_is_kept(tmp_path, hook, kinds):
    took: dict[str, float] = {}
    healed: set[str] = set()
    with Lab(OWNED, hook=hook) as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        with bench.agent() as agent, bench.stream() as stream:
            for kind in [kind for kind in KINDS if kind in kinds]:
                took[kind] = seconds_to_heal(agent, lab, kind)
                healed |= {kind_of(address) for address in agent.status()["drift"]["last"][-1]["addresses"]}
            stream.close()
            assert len(stream.arrived) > 100
        assert not lab.drift()
        assert not lab.plan().plan.steps
    print(f"seconds to heal: {took}")  # noqa: T201
    assert {kind: seconds for kind, seconds in took.items() if seconds >= SECOND + IN_THE_KERNEL.get(kind, 0.0)} == {}
    assert healed >= (OBJECTS if hook == "TC" else {"offload", "hook", "link"})


def kind_of(address: str) -> str:
    """'hop' of 'cube/br1/hop/0'."""
    first, *rest = address.split("/")
    return rest[1] if first == "cube" and len(rest) > 1 else first


def seconds_to_heal(agent: AgentProcess, lab: Lab, kind: str) -> float:
    known, healed = learned(lab), agent.status()["drift"]["healed"]
    assert known[1]
    KINDS[kind](lab)
    damaged = time.monotonic()
    agent.until(lambda said: said["drift"]["healed"] > healed and not said["drift"]["now"])
    took = round(time.monotonic() - damaged, 3)
    identity, keys = learned(lab)
    assert identity == known[0], kind
    # A netdev that is set down loses its carrier, and with it what was learned behind it, as in Linux.
    assert keys >= known[1] or (kind == "a netdev is set down" and keys < known[1]), kind
    return took


def test_the_document_of_a_topology_that_is_in_no_file_is_restored_too(tmp_path):
    with Lab(OWNED) as lab:
        bench = Bench(lab, tmp_path)
        lab.apply()
        with bench.agent() as agent, bench.stream() as stream:
            os.unlink(f"{lab.root}/topologies/lab")
            agent.until(lambda said: said["drift"]["healed"] == 1)
            assert not lab.plan().plan.steps
            stream.close()
            assert stream.lost() == 0


def test_a_topology_that_is_deleted_by_hand_comes_back_only_if_a_file_has_it(tmp_path):
    with Lab(OWNED) as lab:
        bench = Bench(lab, tmp_path)
        lab.apply()
        with bench.agent() as agent:
            apply([lab.document()], lab.options, delete=True)
            agent.until(lambda said: said["topologies"] == [])
            agent.poll()
            assert lab.live() == {}
            bench.save()
            agent.until(lambda said: said["topologies"] == ["lab"])
            apply([lab.document()], lab.options, delete=True)
            agent.until(lambda said: said["reconciles"]["applied"] == 2)
            assert lab.ok("h1", "10.0.0.2")
