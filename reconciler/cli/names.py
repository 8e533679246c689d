"""Names that people type: of live topologies, and of their cubes, which all of a host share."""

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
    """`topologies`: the names of the live ones, also of those that cannot be read; `cubes`: the topology of each cube."""

    topologies: frozenset[str]
    cubes: Mapping[str, str]

    def topology_of(self, word: str) -> str:
        """The topology that a name means, its own or that of its cube. Raises UsageError for the name of neither."""
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
        """The cubes that a name means: itself, or all of a topology. Raises UsageError."""
        topology = self.topology_of(word)
        return [cube for cube, owner in self.cubes.items() if owner == topology] if word == topology else [word]


def live_names(options: Options) -> LiveNames:
    """What is applied, by name: from the applied documents, under the lock that readers take."""
    from reconciler.engine.perform import snapshot
    from reconciler.live.applied import applied_documents, name_of

    def names(_: Reconciler, live: Live) -> LiveNames:
        documents = applied_documents(live)
        cubes = {cube["name"]: name_of(document) for document in documents for cube in document.data["spec"].get("cubes", ())}
        return LiveNames(frozenset({*map(name_of, documents), *live.unreadable}), cubes)

    return snapshot(options, names)
