"""A network of bridges on a virtual clock: their trees, and wires that carry BPDUs (as bytes, so that both ends must agree what they say)."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from cubes.bridge.bpdu import decode, encode
from cubes.bridge.steps import Configured, Enabled, Event, Received, Tick, step
from cubes.bridge.tree import PortSettings, Settings, Tree

End = tuple[str, str]


class Network:
    """`bridges`: name to the names of its ports in the order of their numbers; `rapid` those that speak the rapid protocol. A link Lk
    joins ports k1 and k2 of any bridges, as Polycube's tests name them; other ports are hosts'."""

    def __init__(self, bridges: Mapping[str, Iterable[str]], priorities: Mapping[str, int], *, rapid: Iterable[str] = (), delay: float = 15.0,
                 edges: Iterable[str] = ()) -> None:  # fmt: skip
        self.now, self.sent = 0.0, 0
        self.trees: dict[str, Tree] = {}
        self.down: set[End] = set()
        self.loops: list[float] = []
        self.forgotten: list[tuple[float, str, str]] = []
        self.edges = set(edges)
        for number, (name, ports) in enumerate(bridges.items(), 1):
            settings = Settings(0x020000000000 + number, priorities.get(name, 32768), name in set(rapid), delay=delay,
                                ports={port: PortSettings(at, edge=port in self.edges) for at, port in enumerate(ports, 1)})  # fmt: skip
            self.trees[name] = Tree(settings)
        for name, tree in self.trees.items():
            self.trees[name] = step(tree, Configured(tree.settings), self.now).tree
        for name, tree in list(self.trees.items()):
            self._do((name, Enabled(port, True)) for port in tree.settings.ports)

    def across(self, end: End) -> End | None:
        """The other end of a wire; None for a host's."""
        port = end[1]
        if not port.isdigit() or end in self.down:
            return None
        other = port[:-1] + ("2" if port[-1] == "1" else "1")
        found = next(((name, other) for name, tree in self.trees.items() if other in tree.settings.ports), None)
        return found if found not in self.down else None

    def _do(self, events: Iterable[tuple[str, Event]]) -> None:
        waiting = deque(events)
        while waiting:
            name, event = waiting.popleft()
            done = step(self.trees[name], event, self.now)
            self.trees[name] = done.tree
            self.forgotten += [(self.now, name, port) for port in done.forget]
            for port, bpdu in done.sent:
                self.sent += 1
                far = self.across((name, port))
                heard = decode(encode(bpdu))
                if far is not None and heard is not None:
                    waiting.append((far[0], Received(far[1], heard)))
            if self.has_loop():
                self.loops.append(self.now)

    def run(self, seconds: float, grain: float = 0.1) -> None:
        """Let the time pass. Bridges are woken when they are due, at the earliest `grain` later."""
        until = self.now + seconds
        while self.now < until:
            self.now = round(self.now + grain, 6)
            self._do((name, Tick()) for name, tree in list(self.trees.items()) if self.now >= tree.wake)

    def configure(self, name: str, ports: Iterable[str] | None = None, **change: object) -> None:
        """Give a bridge other settings. New ports get the lowest numbers that are free."""
        from dataclasses import replace

        old = self.trees[name].settings
        wanted = list(ports) if ports is not None else list(old.ports)
        kept = {port: said for port, said in old.ports.items() if port in wanted}
        free = (number for number in range(1, 99) if number not in {said.number for said in kept.values()})
        kept |= {port: PortSettings(next(free)) for port in wanted if port not in kept}
        self._do([(name, Configured(replace(old, ports=kept, **change)))])
        self._do((name, Enabled(port, True)) for port in wanted if port not in old.ports)

    def cut(self, link: str, *, noticed: bool = True) -> None:
        """A wire breaks; `noticed`: both ends see their carrier go."""
        ends = [(name, port) for name, tree in self.trees.items() for port in tree.settings.ports if port in (link + "1", link + "2")]
        self.down.update(ends)
        if noticed:
            self._do((name, Enabled(port, False)) for name, port in ends)

    def mend(self, link: str) -> None:
        ends = {end for end in self.down if end[1] in (link + "1", link + "2")}
        self.down -= ends
        self._do((name, Enabled(port, True)) for name, port in ends)

    def states(self) -> dict[str, str]:
        return {f"{name}:{port}": each.state for name, tree in self.trees.items() for port, each in tree.ports.items()}

    def blocking(self) -> set[str]:
        """Ports that do not forward, but for those that are down."""
        return {port for port, state in self.states().items() if state not in ("forwarding", "disabled")}

    def forwarding_links(self) -> list[tuple[str, str]]:
        found = []
        for name, tree in self.trees.items():
            for port, each in tree.ports.items():
                far = self.across((name, port))
                if far is not None and each.forward and self.trees[far[0]].ports[far[1]].forward and (name, port) < far:
                    found.append((name, far[0]))
        return found

    def has_loop(self) -> bool:
        """Whether a frame could go round now."""
        groups = {name: name for name in self.trees}

        def top(name: str) -> str:
            while groups[name] != name:
                name = groups[name]
            return name

        for a, b in self.forwarding_links():
            if top(a) == top(b):
                return True
            groups[top(a)] = top(b)
        return False

    def is_connected(self) -> bool:
        reached, links = {next(iter(self.trees))}, self.forwarding_links()
        for _ in self.trees:
            reached |= {b for a, b in links if a in reached} | {a for a, b in links if b in reached}
        return reached == set(self.trees)
