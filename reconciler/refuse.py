"""What must end an apply before anything is written: what is wanted is somebody else's, or does not fit."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.errors import HookHeld, NotEnoughMemory, Position
from reconciler.graph.records import Record
from reconciler.survey import Survey

Places = Callable[[str], Position | None]
"""Where a cube is written, by its name; None: in no file that was given."""


def refuse(survey: Survey, place_of: Places) -> None:
    """Raise for what must end before anything is written: HookHeld, NotEnoughMemory."""
    refuse_conflicts(survey)
    refuse_what_does_not_fit(survey, place_of)


def refuse_conflicts(survey: Survey) -> None:
    """Raise HookHeld for what is wanted and is somebody else's: found before anything is written."""
    found = list(survey.conflicts)
    for step in survey.plan.steps:
        if step.operation.kind == "attach_hook" and step.operation.args["point"] == "xdp" and step.action == "create":
            state = survey.live.netdevs.get(step.operation.args["netdev"])
            if state is not None and state.xdp is not None:
                from reconciler.kernel.hooks import holders

                holder = holders(state.index, "xdp")
                found.append(f"{state.name}'s XDP hook is held by {holder}, which pcn did not attach; detach it first")
    if found:
        raise HookHeld("\n".join(found))


def refuse_what_does_not_fit(survey: Survey, place_of: Places) -> None:
    """Raise NotEnoughMemory if the tables that are to be made or filled take more than there is."""
    if not survey.plan.steps:
        return
    from reconciler.graph.memory import needed
    from reconciler.kernel import maps, memory

    desired, differs = survey.desired.state, [change.address for change in (*survey.pending, *survey.drift)]
    wanted = {address: desired[address] for address in differs if address in desired}
    found = needed(wanted, survey.live.state, maps.cpus())
    total, there = sum(found.values()), memory.available()
    if total > there.bytes:
        most = sorted(found, key=lambda address: -found[address])[:3]
        listed = "".join(f"\n  {_mib(found[address])} for {address}{_at(wanted[address], place_of)}" for address in most)
        raise NotEnoughMemory(
            f"tables would take {_mib(total)} more, and {there.by} has {_mib(there.bytes)} left; nothing was changed\n"
            f"the largest:{listed}"
        )


def _at(record: Record, place_of: Places) -> str:
    place = place_of(getattr(record, "cube", ""))
    return f", {place}" if place else ""


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
