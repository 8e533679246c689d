"""Which operations have so small an effect that less than everything need be read beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.facts import links
from reconciler.model import Topology
from reconciler.plan.operations import AttachHook, DeleteRows, DetachHook, Grace, SetDocument, SetHop, SetMember, WriteRows
from reconciler.plan.steps import Rank, Step

OF_ROWS = (WriteRows, DeleteRows)
"""Write rows of tables and nothing else."""
OF_WAYS = (SetHop, SetMember, AttachHook, DetachHook)
"""Change where packets go and nothing else: of a cube its hops and the members that it floods."""
CONNECTING = (*OF_ROWS, *OF_WAYS)
"""What it takes that a netdev came, or went."""
SEEN = (*CONNECTING, SetDocument)
"""After these a read sees all that was done."""
SOON_OVER = (*SEEN, Grace)
"""What is left to do of these once they are verified is that rows go which no packet looks up any more."""


def is_all(operations: tuple[type, ...], steps: Iterable[Step]) -> bool:
    return all(isinstance(step.operation, operations) for step in steps)


def is_news(steps: Iterable[Step], facts: Iterable[str], topologies: Sequence[Topology]) -> bool:
    """Whether what was done may be what rows or attachments follow from: netdevs and addresses that these topologies make.
    `facts`: names of those that were planned with."""
    ranks = _OF_NETDEVS.intersection(step.rank for step in steps)
    if not ranks:
        return False
    foreseen = set() if Rank.LINK_SETTINGS in ranks else {links.NAME}  # what is made is up
    return bool(set(facts) - foreseen) or any(each.netdevs for topology in topologies for each in topology.attachments)


_OF_NETDEVS = frozenset({Rank.LINK, Rank.LINK_AWAY, Rank.LINK_SETTINGS})
