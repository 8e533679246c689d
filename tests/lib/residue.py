"""What a test left behind in the kernel: netdevs, namespaces, pins, BPF objects, processes, mounts.

    before = residue.snapshot()
    ...
    residue.assert_no_residue(before)

Test runs are secluded from one another (see `tests.lib.sandbox`), but BPF ids are the whole machine's: what another process has
open, or pinned in a bpffs of its own, is not ours; `tests.lib.object_ledger` sees to these without waiting. `python -m tests.lib.residue` lists
what there is now.
"""
from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from reconciler.kernel import bpf, netns, rtnl

BPFFS = Path("/sys/fs/bpf")

_DIGITS = "0123456789abcdefghijklmnopqrstuvwyz"  # no x: it separates process and serial number
_GLOBAL = {"links": bpf.LINK_NEXT_ID, "programs": bpf.PROG_NEXT_ID, "maps": bpf.MAP_NEXT_ID}  # kinds that are not a namespace's
_NAMED = 10  # entries of a kind, in the error
_FDINFO = re.compile(r"^(prog|map|link)_id:\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Snapshot:
    netdevs: frozenset[str]  # 'name', or 'namespace name'
    namespaces: frozenset[str]
    mounts: frozenset[str]  # names under /run/netns, also those whose namespace cannot be opened
    pins: frozenset[str]
    links: frozenset[int]
    programs: frozenset[int]
    maps: frozenset[int]
    children: frozenset[str]  # 'pid command line'


KINDS = tuple(each.name for each in fields(Snapshot))
OWN = tuple(kind for kind in KINDS if kind not in _GLOBAL)
"""The kinds of which a run sees none but its own."""


def prefix(serial: int) -> str:
    """The start of all names that this process gives; short, because a netdev's name has at most 15 characters."""
    return f"t{_digits(os.getpid())}x{_digits(serial)}"


def snapshot() -> Snapshot:
    """What there is now."""
    return Snapshot(
        netdevs=frozenset(_netdevs()), namespaces=frozenset(_namespaces()), mounts=frozenset(_mounts()),
        pins=frozenset(_pins(BPFFS)), children=frozenset(_children()),
        **{kind: frozenset(bpf.ids(command)) for kind, command in _GLOBAL.items()},
    )  # fmt: skip


def objects() -> frozenset[tuple[str, int]]:
    """All BPF objects of the machine: kind and id."""
    return frozenset((kind, identity) for kind, command in _GLOBAL.items() for identity in bpf.ids(command))


def new_since(before: Snapshot, kinds: Collection[str] = KINDS) -> dict[str, list[str]]:
    """What is there now, was not there before, and is held by no other process; by kind, empty kinds left out."""
    now = snapshot()
    found = {kind: sorted(map(str, getattr(now, kind) - getattr(before, kind))) for kind in kinds}
    if any(found.get(kind) for kind in _GLOBAL):
        for kind, identities in held_elsewhere(set(found.get("pins", ()))).items():
            found[kind] = [entry for entry in found.get(kind, ()) if int(entry) not in identities]
    return {kind: entries for kind, entries in found.items() if entries}


def assert_no_residue(
    before: Snapshot, *, kinds: Collection[str] = KINDS, wait: float = 2.0, wait_for_others: float = 10.0
) -> None:
    """Fail if anything is left. The kernel frees programs and namespaces late, so give it `wait` seconds; and a program that
    another run has merely attached is held by nothing that can be seen here, so give that `wait_for_others`."""
    began = time.monotonic()
    left = new_since(before, kinds)
    while left:
        if time.monotonic() - began > (wait_for_others if left.keys() <= _GLOBAL.keys() else wait):
            raise AssertionError("left behind: " + "; ".join(f"{kind}: {_first(left[kind])}" for kind in left))
        time.sleep(0.02)
        now = new_since(before, kinds)
        still = {kind: _those_of(now.get(kind, []), kind, entries) for kind, entries in left.items()}
        left = {kind: entries for kind, entries in still.items() if entries}


def _first(entries: list[str]) -> str:
    """A test that fails amid its set-up may leave hundreds, which would hide why it failed."""
    more = len(entries) - _NAMED
    return ", ".join(entries[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _those_of(now: list[str], kind: str, before: list[str]) -> list[str]:
    """What is there now of what was there before. A process is its pid: what it is called changes as it starts and ends."""
    if kind != "children":
        return [entry for entry in now if entry in before]
    pids = {entry.split()[0] for entry in before}
    return [entry for entry in now if entry.split()[0] in pids]


def _netdevs() -> list[str]:
    found = list(rtnl.links())
    for name in netns.names():
        try:
            found += [f"{name} {netdev}" for netdev in rtnl.links(name)]
        except Exception:  # noqa: BLE001 - a namespace of another run, gone in the middle
            continue
    return found


def _namespaces() -> list[str]:
    """Also plain files where a namespace was to be."""
    return os.listdir(netns.RUN_DIR) if netns.RUN_DIR.is_dir() else []


def _mounts() -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point.removeprefix("/run/netns/") for point in points if point.startswith("/run/netns/")]


def _pins(top: Path) -> Iterator[str]:
    """All names in a bpffs; the kernel's own two, for debugging, are nobody's."""
    for directory, directories, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in directories + files if not name.endswith(".debug"))


def _children() -> list[str]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:  # a thread that has ended meanwhile
            continue
        for pid in pids:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            found.append(f"{pid} {words.strip() or '(ended, not waited for)'}")
    return found


def _digits(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text or "0"


def held_elsewhere(ours: Collection[str] = ()) -> dict[str, set[int]]:
    """BPF objects, by kind, that other processes have open or pinned, with what those hold in turn (a link its program, a program its
    maps). `ours` are the pins that are reported anyway."""
    held: dict[str, set[int]] = {"links": set(), "programs": set(), "maps": set()}
    kinds = {"link": "links", "prog": "programs", "map": "maps"}
    others = [process for process in Path("/proc").glob("[0-9]*") if int(process.name) != os.getpid()]
    pins = itertools.chain.from_iterable(map(_pins, [BPFFS, *_other_bpffs(others)]))
    for text in itertools.chain(map(_fdinfo, others), (_pinned(path) for path in pins if path not in ours)):
        for kind, identity in _FDINFO.findall(text):
            held[kinds[kind]].add(int(identity))
    for identity in list(held["links"]):
        held["programs"].update(_of_link(identity))
    for identity in list(held["programs"]):
        held["maps"].update(_of_program(identity))
    return held


def _other_bpffs(processes: Iterable[Path]) -> Iterable[Path]:
    """/sys/fs/bpf as seen from each mount namespace but our own, by way of one process in it."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    for process in processes:
        with contextlib.suppress(OSError):  # it has ended
            namespace = os.readlink(process / "ns/mnt")
            if namespace not in seen:
                seen.add(namespace)
                yield process / "root/sys/fs/bpf"


def _pinned(path: str) -> str:
    """The fdinfo of what is pinned at a path; empty for directories, symlinks and what is gone."""
    try:
        fd = bpf.open_pin(path)
    except OSError:
        return ""
    try:
        return Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)


def _fdinfo(process: Path) -> str:
    found = []
    try:
        for entry in (process / "fdinfo").iterdir():
            try:
                found.append(entry.read_text())
            except OSError:
                continue
    except OSError:
        return ""
    return "\n".join(found)


def _of_link(identity: int) -> list[int]:
    try:
        fd = bpf.fd_by_id(bpf.LINK_BY_ID, identity)
    except OSError:
        return []
    try:
        return [bpf.link_info(fd).program]
    finally:
        os.close(fd)


def _of_program(identity: int) -> list[int]:
    from reconciler.kernel import programs

    try:
        fd = bpf.fd_by_id(bpf.PROG_BY_ID, identity)
    except OSError:
        return []
    try:
        return list(programs.info(fd, with_maps=True).maps)
    finally:
        os.close(fd)


def main() -> None:
    now = snapshot()
    for kind in KINDS:
        entries = sorted(map(str, getattr(now, kind)))
        print(f"{kind}: {len(entries)}" + "".join(f"\n  {entry}" for entry in entries))  # noqa: T201


if __name__ == "__main__":
    main()
