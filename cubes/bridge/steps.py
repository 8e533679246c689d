"""What happens to a spanning tree: (tree, event, now) returns a new tree, the BPDUs to send, and what to flush. Pure.

The state machines are those of IEEE 802.1D-2004, clause 17, run until none has anything to do. It implements RSTP and STP:
without `rapid` a bridge sends STP BPDUs, makes no agreements, and its ports wait for the forward delay; so does a port of an
RSTP bridge whose neighbour runs STP. As in 802.1D-1998, received information then expires after the sender's max-message-age,
not after three lost hellos.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cubes.bridge import bpdu as b
from cubes.bridge.bpdu import Bpdu, Vector
from cubes.bridge.port_steps import change_role, note_topology
from cubes.bridge.tree import WORST, Info, Port, Role, Settings, Tree

MIGRATE = 3.0  # seconds in which a port stays with a version of the protocol
HOLD = 6  # BPDUs that a port sends in a second, at most
_ROUNDS = 64  # far more than the machines take: each port changes a few times


@dataclass(frozen=True, slots=True)
class Received:
    port: str
    bpdu: Bpdu


@dataclass(frozen=True, slots=True)
class Enabled:
    """A port's link went up or down."""

    port: str
    up: bool


@dataclass(frozen=True, slots=True)
class Configured:
    settings: Settings


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Received | Enabled | Configured | Tick


@dataclass(frozen=True, slots=True)
class Step:
    """`forget`: ports at whose other side stations may be elsewhere now."""

    tree: Tree
    sent: tuple[tuple[str, Bpdu], ...]
    forget: frozenset[str]


def step(tree: Tree, event: Event, now: float) -> Step:
    run = _Run(tree.copy(), now)
    run.take(event)
    run.settle()
    sent = tuple(run.transmit())
    run.tree.wake = min(run.due(), default=math.inf)
    return Step(run.tree, sent, frozenset(run.forget))


class _Run:
    def __init__(self, tree: Tree, now: float) -> None:
        self.tree, self.now = tree, now
        self.forget: set[str] = set()

    # -- what happens ---------------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        if isinstance(event, Received):
            if event.port in self.tree.ports and self.tree.ports[event.port].enabled:
                self._receive(event.port, self.tree.ports[event.port], event.bpdu)
        elif isinstance(event, Enabled):
            self._enable(event.port, event.up)
        elif isinstance(event, Configured):
            self._configure(event.settings)

    def _configure(self, settings: Settings) -> None:
        """Ports that stay, stay as they are; but all think again what they are."""
        known, old = self.tree.ports, self.tree.settings
        self.tree.settings = settings
        self.tree.ports = {name: known.get(name, Port()) for name in settings.ports}
        for name, port in self.tree.ports.items():
            edge = settings.ports[name].edge
            if old.rapid != settings.rapid:
                port.rapid, port.migrate_at = settings.rapid, self.now + MIGRATE
            if name not in old.ports or old.ports[name].edge != edge:
                port.edge = edge and port.enabled
        self._choose_roles()

    def _enable(self, name: str, up: bool) -> None:
        port = self.tree.ports.get(name)
        if port is None or port.enabled == up:
            return
        said = self.tree.settings.ports[name]
        fresh = Port(enabled=up, edge=said.edge and up, rapid=self.tree.settings.rapid)
        fresh.info = Info.AGED if up else Info.DISABLED
        fresh.migrate_at = self.now + MIGRATE
        fresh.fd_until = self.now + self.delay(fresh)
        if not up and port.forward:
            self.forget.add(name)
        self.tree.ports[name] = fresh
        self._choose_roles()

    def _receive(self, name: str, port: Port, bpdu: Bpdu) -> None:
        if bpdu.kind != b.TCN and bpdu.vector[2:] == (self.tree.settings.identity, self.tree.settings.ports[name].identity):
            return  # its own
        port.edge = False
        self._migrate(port, bpdu.kind == b.RST)
        if bpdu.kind == b.TCN:
            port.rcvd_tcn = True
            return
        if bpdu.role == b.DESIGNATED:
            self._hear_designated(port, bpdu)
        elif bpdu.vector >= port.vector:
            self._hear_agreement(name, port, bpdu)
            self._note_tc(port, bpdu)

    def _migrate(self, port: Port, rapid: bool) -> None:
        wanted = rapid and self.tree.settings.rapid
        if port.rapid != wanted and self.now >= port.migrate_at:
            port.rapid, port.migrate_at = wanted, self.now + MIGRATE

    def _hear_designated(self, port: Port, bpdu: Bpdu) -> None:
        """17.21.8: superior, repeated or inferior."""
        same = (bpdu.vector, bpdu.times) == (port.vector, port.times)
        of_the_same = bpdu.vector.bridge & (2**48 - 1) == port.vector.bridge & (2**48 - 1) and (
            bpdu.vector.port & 0xFFF == port.vector.port & 0xFFF
        )
        if bpdu.vector < port.vector or (not same and (of_the_same or bpdu.vector == port.vector)):
            port.agreed = port.proposing = False
            self._hear_proposal(port, bpdu)
            self._note_tc(port, bpdu)
            port.agree = port.agree and port.info == Info.RECEIVED and bpdu.vector <= port.vector
            port.vector = bpdu.vector
            port.times = replace(bpdu.times, hello=max(1.0, bpdu.times.hello))
            port.info, port.info_until = Info.RECEIVED, self._believed_until(port)
            self._choose_roles()
        elif same and port.info == Info.RECEIVED:
            self._hear_proposal(port, bpdu)
            self._note_tc(port, bpdu)
            port.info_until = self._believed_until(port)
        else:
            if bpdu.kind == b.RST and bpdu.flags & b.LEARNING:  # recordDispute: it does not hear us, and forwards
                port.disputed, port.agreed = True, False
            port.news = port.news or port.role == Role.DESIGNATED  # it is told at once (802.1D-1998, 8.6.1)

    def _believed_until(self, port: Port) -> float:
        if not port.rapid:
            return self.now + max(0.0, port.times.max_age - port.times.age)
        return self.now + 3 * port.times.hello if port.times.age + 1 <= port.times.max_age else self.now

    def _hear_proposal(self, port: Port, bpdu: Bpdu) -> None:
        port.proposed = port.proposed or bool(bpdu.kind == b.RST and bpdu.flags & b.PROPOSAL)

    def _hear_agreement(self, name: str, port: Port, bpdu: Bpdu) -> None:
        alone = not self.tree.settings.ports[name].shared
        port.agreed = self.tree.settings.rapid and alone and bool(bpdu.flags & b.AGREEMENT)
        port.proposing = port.proposing and not port.agreed

    def _note_tc(self, port: Port, bpdu: Bpdu) -> None:
        port.rcvd_tc = port.rcvd_tc or bool(bpdu.flags & b.TC)
        port.rcvd_tc_ack = port.rcvd_tc_ack or bool(bpdu.flags & b.TC_ACK)

    # -- what follows ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        for _ in range(_ROUNDS):
            if not any([*(self._age(port) for port in self.tree.ports.values()), *map(self._go_on, list(self.tree.ports))]):
                return

    def _age(self, port: Port) -> bool:
        if port.info == Info.RECEIVED and self.now >= port.info_until:
            port.info = Info.AGED
            self._choose_roles()
            return True
        return False

    def _go_on(self, name: str) -> bool:
        port = self.tree.ports[name]
        changed = False
        if port.update and port.info != Info.DISABLED:
            self._adopt(port)
            changed = True
        return change_role(self, name, port) | note_topology(self, name, port) | changed

    def _adopt(self, port: Port) -> None:
        """UPDATE of 17.27: the port takes this bridge's information."""
        port.proposing = port.proposed = False
        port.agreed = port.agreed and port.info == Info.MINE and port.designated <= port.vector
        port.synced = port.synced and port.agreed
        port.vector, port.times = port.designated, self.tree.root_times
        port.update, port.info, port.news = False, Info.MINE, True

    def _choose_roles(self) -> None:
        """updtRolesTree, 17.21.25."""
        tree, own = self.tree, self.tree.settings.identity
        best, tree.root_port = Vector(own, 0, own, 0), ""
        at = (best, 0)
        for name, port in tree.ports.items():
            said = tree.settings.ports[name]
            if port.info == Info.RECEIVED and port.vector.bridge & (2**48 - 1) != tree.settings.address:
                way = port.vector._replace(cost=port.vector.cost + said.cost)
                if (way, said.identity) < at:
                    at, tree.root_port = (way, said.identity), name
        tree.root = at[0]
        heard = tree.ports[tree.root_port].times if tree.root_port else None
        tree.root_times = replace(heard, age=heard.age + 1) if heard is not None else tree.settings.times
        for name, port in tree.ports.items():
            port.designated = Vector(tree.root.root, tree.root.cost, own, tree.settings.ports[name].identity)
            port.chosen, port.update = self._role_of(name, port)

    def _role_of(self, name: str, port: Port) -> tuple[Role, bool]:
        if port.info == Info.DISABLED:
            port.vector = WORST
            return Role.DISABLED, False
        if port.info == Info.AGED:
            return Role.DESIGNATED, True
        if port.info == Info.MINE:
            return Role.DESIGNATED, (port.vector, port.times) != (port.designated, self.tree.root_times)
        if name == self.tree.root_port:
            return Role.ROOT, False
        if port.designated < port.vector:
            return Role.DESIGNATED, True
        own = port.vector.bridge & (2**48 - 1) == self.tree.settings.address
        return Role.BACKUP if own else Role.ALTERNATE, False

    def delay(self, port: Port) -> float:
        """forwardDelay, 17.20.5."""
        return self.tree.root_times.hello if port.rapid else self.tree.root_times.delay

    def others(self, port: Port) -> Iterator[Port]:
        return (other for other in self.tree.ports.values() if other is not port)

    # -- what is said ---------------------------------------------------------------------------------------------

    def transmit(self) -> Iterator[tuple[str, Bpdu]]:
        for name, port in self.tree.ports.items():
            speaks = port.role == Role.DESIGNATED or (port.role == Role.ROOT and self.now < port.tc_until)
            if port.role != Role.DISABLED and self.now >= port.hello_at:
                port.news = port.news or speaks
                port.hello_at = self.now + self.tree.root_times.hello
            port.sent = tuple(when for when in port.sent if when > self.now - 1)
            if port.news and len(port.sent) < HOLD and (bpdu := self._said_at(port)) is not None:
                port.sent = (*port.sent, self.now)
                port.tc_ack = False
                yield name, bpdu
            if len(port.sent) < HOLD:
                port.news = False

    def _said_at(self, port: Port) -> Bpdu | None:
        if not port.rapid and port.role == Role.ROOT:
            return Bpdu(b.TCN) if self.now < port.tc_until else None
        flags = b.TC if self.now < port.tc_until else 0
        if not port.rapid:
            flags |= b.TC_ACK if port.tc_ack else 0
            return Bpdu(b.CONFIG, port.designated, self.tree.root_times, flags=flags) if port.role == Role.DESIGNATED else None
        if port.role == Role.DISABLED:
            return None
        role = {Role.ROOT: b.ROOT, Role.DESIGNATED: b.DESIGNATED}.get(port.role, b.ALTERNATE)
        flags |= b.PROPOSAL if port.proposing and role == b.DESIGNATED else 0
        flags |= b.AGREEMENT if port.agree and role != b.DESIGNATED else 0
        flags |= (b.LEARNING if port.learn else 0) | (b.FORWARDING if port.forward else 0)
        return Bpdu(b.RST, port.designated, self.tree.root_times, role, flags)

    def due(self) -> Iterator[float]:
        for port in self.tree.ports.values():
            if port.role == Role.DISABLED:
                continue
            times = [port.hello_at, port.rr_until, port.rb_until, port.tc_until]
            times += [port.info_until] if port.info == Info.RECEIVED else []
            times += [port.fd_until] if port.role in (Role.ROOT, Role.DESIGNATED) and not port.forward else []
            times += [port.sent[0] + 1] if port.news and port.sent else []
            yield from (when for when in times if when > self.now)
