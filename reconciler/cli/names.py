"""Names in arguments: of live topologies, and of their cubes, which are unique on a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.apply import Options
    from reconciler.engine.session import Reconciler
    from reconciler.graph.records import Live


@dataclass(frozen=True, slots=True)
class LiveNames:
    """`topologies`: the live ones, also unreadable ones; `cubes`: the topology of each cube."""

    topologies: frozenset[str]
    cubes: Mapping[str, str]

    def topology_of(self, word: str) -> str:
        """The topology of this name, or that of the cube of this name. Raises UsageError for any other name."""
        if word in self.topologies:
            return word
        if word in self.cubes:
            return self.cubes[word]
        from reconciler.document.suggest import did_you_mean

        known = [*self.topologies, *self.cubes]
        there = f"there are {', '.join(sorted(self.topologies)[:20])}" if known else "nothing is applied"
        hint = did_you_mean(word, known) or there
        raise UsageError(f"no topology {word!r} is applied, and no cube of that name; {hint}")

    def cubes_of(self, word: str) -> list[str]:
        """The cube of this name, or all cubes of the topology. Raises UsageError."""
        topology = self.topology_of(word)
        return [cube for cube, owner in self.cubes.items() if owner == topology] if word == topology else [word]


def live_names(options: Options) -> LiveNames:
    """The names of what is applied: from the applied documents, under the readers' lock."""
    from reconciler.engine.perform import snapshot
    from reconciler.live.applied import applied_documents, name_of

    def names(_: Reconciler, live: Live) -> LiveNames:
        documents = applied_documents(live)
        cubes = {cube["name"]: name_of(document) for document in documents for cube in document.data["spec"].get("cubes", ())}
        return LiveNames(frozenset({*map(name_of, documents), *live.unreadable}), cubes)

    return snapshot(options, names)
