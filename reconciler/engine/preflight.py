"""Preflight: checks that end an apply before anything is written: an object is held by another program, or does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.document import Document, Path
from reconciler.document.paths import display
from reconciler.engine.session import Session
from reconciler.errors import FeatureMissing, HookHeld, NotEnoughMemory, Position, Problem
from reconciler.graph.records import Record
from reconciler.kernel.release import is_older_than, release
from reconciler.service.registry import Services

if TYPE_CHECKING:
    from reconciler.plan.operations import AttachHook

Places = Callable[[str, str], Position | None]
"""The position of an entry of one of a topology's lists ('cubes', 'links'), by its name; None: in none of the files."""
LARGE = 64 << 20  # bytes of one cube's tables, from which on the plan has a note


def preflight(session: Session, place_of: Places) -> None:
    """Raises HookHeld, FeatureMissing, NotEnoughMemory."""
    refuse_conflicts(session)
    refuse_unknown_kinds(session, place_of)
    refuse_what_does_not_fit(session, place_of)


def refuse_old_kernel(documents: Sequence[Document], services: Services) -> None:
    """Raise FeatureMissing for cubes of services whose model requires a newer kernel, before any is compiled."""
    found = []
    for document in documents:
        for number, cube in enumerate(document.data.get("spec", {}).get("cubes") or ()):
            service = services.get(cube["service-name"])
            if service is not None and is_older_than(service.min_kernel):
                place = document.position(("spec", "cubes", number))
                found.append(f"{place}: {service.name} needs Linux {service.min_kernel}, this is {release()}")
    if found:
        raise FeatureMissing("\n".join(found))


def refuse_conflicts(session: Session) -> None:
    """Raise HookHeld for desired hooks held by other programs, before anything is written."""
    found = list(session.conflicts)
    for attach in _attaching(session):
        if attach.point == "xdp":
            state = session.live.netdevs.get(attach.netdev)
            if state is not None and state.xdp is not None:
                from reconciler.kernel.hooks import holders

                holder = holders(state.index, "xdp")
                found.append(f"{state.name}'s XDP hook is held by {holder}, which pcn did not attach; detach it first")
        else:
            found += _ghosts(session, attach.netdev, attach.point)
    if found:
        raise HookHeld("\n".join(found))


def _attaching(session: Session) -> Iterator[AttachHook]:
    """The hooks to attach where none of ours is."""
    steps = session.plan.steps
    if steps:
        from reconciler.plan.operations import AttachHook

        yield from (step.operation for step in steps if isinstance(step.operation, AttachHook) and step.action == "create")


def _ghosts(session: Session, netdev: str, point: str) -> list[str]:
    """A program of pcn's at a TC hook without a pin in this root would handle packets before one that is attached now."""
    from reconciler.kernel.hooks import unpinned

    state = session.live.netdevs.get(netdev)
    holder = unpinned(state.index, point) if state is not None else ""
    why = "another root has this netdev, or the bpffs of this one was mounted over (umount the new one, or 'bpftool link detach')"
    return [f"{netdev}'s {point} hook is held by {holder}, which is pcn's, but not of this root: {why}"] if holder else []


def refuse_unknown_kinds(session: Session, place_of: Places) -> None:
    """Raise FeatureMissing for netdevs of kinds that this kernel cannot create."""
    if not session.plan.steps:
        return
    from reconciler.plan.operations import CreateLink

    made = [step.operation.link for step in session.plan.steps if isinstance(step.operation, CreateLink)]
    there = {netdev.kind for netdev in session.live.netdevs.values()}
    first = {link.kind: link.end.name for link in reversed(made) if link.kind not in there}
    for kind, name in first.items():
        from reconciler.kernel.linkkinds import can_make
        from reconciler.kernel.linkspec import kind_missing

        if not can_make(kind):
            place = place_of("links", name)
            error = kind_missing(kind)
            raise FeatureMissing(f"{place}: {error}" if place else f"{error}, which netdev {name!r} would be")


def refuse_what_does_not_fit(session: Session, place_of: Places) -> None:
    """Raise NotEnoughMemory if the tables to be created or filled need more than is available. Adds notes on large ones."""
    if not session.plan.steps:
        return
    from reconciler.graph.memory_estimate import needed
    from reconciler.kernel import maps, memory_limits

    desired, differs = session.desired.state, [change.address for change in (*session.pending, *session.drift)]
    wanted = {address: desired[address] for address in differs if address in desired}
    found = needed(wanted, session.live.state, maps.cpus())
    total, there = sum(found.values()), memory_limits.available()
    if total > there.bytes:
        most = sorted(found, key=lambda address: -found[address])[:3]
        listed = "".join(f"\n  {_mib(found[address])} for {address}{_at(wanted[address], place_of)}" for address in most)
        raise NotEnoughMemory(
            f"tables would take {_mib(total)} more, and {there.by} has {_mib(there.bytes)} left; nothing was changed\n"
            f"the largest:{listed}"
        )
    session.plan = replace(session.plan, notes=(*session.plan.notes, *_large(found, wanted)))


def _large(found: Mapping[str, int], wanted: Mapping[str, Record]) -> Iterator[str]:
    """Notes for the plan: cubes whose tables take LARGE bytes or more."""
    by_cube: Counter[str] = Counter()
    for address, size in found.items():
        by_cube[getattr(wanted[address], "cube", "")] += size
    for cube, size in sorted(by_cube.items()):
        if cube and size >= LARGE:
            yield f"the tables of {cube} take {_mib(size)} more of the kernel's memory"


def without_ethernet(session: Session, documents: Sequence[Document]) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings) about desired netdevs whose packets have no Ethernet header, which cubes cannot parse. They are wired
    like absent ones. Errors are at their positions in these documents; warnings are about topologies that stay as applied.
    """
    errors, warnings = [], []
    for netdev in sorted({netdev for *_, netdev in session.desired.pending}):
        state = session.live.netdevs.get(netdev)
        if state is None or state.carries_ethernet:
            continue
        message, hint = _no_ethernet(state)
        places = list(_mentions(documents, {netdev, *state.other_names}))
        errors += [Problem(message, display(path, document.data), document.position(path), hint) for document, path in places]
        if not places:
            warnings.append(Problem(f"{message}; what is applied to it is not in force", hint=hint, severity="warning"))
    return errors, warnings


def _no_ethernet(state: Any) -> tuple[str, str]:
    from reconciler.kernel.netstate import LINK_TYPES

    kind, link_type = f"{state.kind} device, " if state.kind else "", LINK_TYPES.get(state.link_type, state.link_type)
    return (
        f"netdev '{state.name}' ({kind}link type {link_type}) has no Ethernet header, and cubes handle Ethernet frames only",
        "use a tap device in place of a tun device, or keep the tunnel in a network namespace and use the veth that leads there",
    )


def _mentions(documents: Sequence[Document], names: Collection[str]) -> Iterator[tuple[Document, Path]]:
    """Paths of ports' peers and attachments that name a netdev, by any of its names."""
    for document in documents:
        spec = document.data.get("spec", {})
        for number, cube in enumerate(spec.get("cubes") or ()):
            for place, port in enumerate(cube.get("ports") or ()):
                if port.get("peer") in names:
                    yield document, ("spec", "cubes", number, "ports", place, "peer")
        for number, attachment in enumerate(spec.get("attachments") or ()):
            if attachment.get("netdev") in names:
                yield document, ("spec", "attachments", number, "netdev")


def _at(record: Record, place_of: Places) -> str:
    place = place_of("cubes", getattr(record, "cube", ""))
    return f", {place}" if place else ""


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
