"""What a plan has to tell its reader beside its steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.graph.parts import Desired
from reconciler.graph.records import Live, TrampolineRecord


def chained(desired: Desired) -> Iterator[TrampolineRecord]:
    """The stubs in whose place chains are wanted."""
    for address in desired.chains:
        record = desired.state.get(address)
        if isinstance(record, TrampolineRecord):
            yield record


def cubes_of_chain(record: TrampolineRecord) -> str:
    return ", ".join(part.cube for part in record.parts)


def refused_chains(desired: Desired, live: Live) -> Iterator[str]:
    """Chains that are wanted and that the verifier refused."""
    for record in chained(desired):
        before = live.state.get(record.address)
        if isinstance(before, TrampolineRecord) and before.refused and before == record:
            yield f"{cubes_of_chain(record)} go by hops, for the verifier refused them as one program"


def other_names(desired: Desired, live: Live) -> Iterator[str]:
    """What is written by another name waits for ever where the netdev is named otherwise, too (graph/altnames.py)."""
    waiting = {netdev for *_, netdev in desired.pending}
    for name, netdev in live.netdevs.items() if waiting else ():
        for other in waiting.intersection(netdev.other_names):
            yield f"{other} is another name (altname) of {name}, which is named elsewhere too: write {name}"
