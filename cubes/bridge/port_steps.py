"""The state machines of one port (IEEE 802.1D-2004, 17.29 to 17.31): role transitions, port states, and topology changes.
Each function returns whether anything changed; they are called until nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cubes.bridge.tree import Port, Role, Tree


class Run(Protocol):
    """What a port sees of the current step (`steps`)."""

    tree: Tree
    now: float
    forget: set[str]

    def delay(self, port: Port) -> float: ...
    def others(self, port: Port) -> Iterator[Port]: ...


def change_role(run: Run, name: str, port: Port) -> bool:
    changed = port.role != port.chosen
    if changed:
        was, port.role = port.role, port.chosen
        if port.role in (Role.DISABLED, Role.ALTERNATE, Role.BACKUP):
            port.learn = port.forward = False
        elif was in (Role.DISABLED, Role.ALTERNATE, Role.BACKUP):
            port.fd_until = run.now + run.delay(port)
    if port.role == Role.ROOT:
        return _root(run, port) or changed
    if port.role == Role.DESIGNATED:
        return _designated(run, port) or changed
    return _blocked(run, port) or changed


def _all_synced(run: Run, port: Port) -> bool:
    """Whether all others are (allSynced, 17.20.3)."""
    return all(other.role == other.chosen and (other.synced or other.role == Role.ROOT) for other in run.others(port))


def _sync_others(run: Run, port: Port) -> None:
    for other in run.tree.ports.values():
        other.sync = other.role != Role.DISABLED and other is not port


def _agree(run: Run, port: Port) -> bool:
    """A proposal is agreed to once no other port of this bridge can make a loop by it."""
    if port.proposed and not port.agree:
        _sync_others(run, port)
        port.proposed = False
        return True
    if (_all_synced(run, port) and not port.agree) or (port.proposed and port.agree):
        port.proposed = port.sync = False
        port.agree = port.news = True
        return True
    return False


def _root(run: Run, port: Port) -> bool:
    port.rr_until = run.now + run.tree.root_times.delay
    if _agree(run, port):
        return True
    if not port.forward and not port.re_root:
        for each in run.tree.ports.values():
            each.re_root = True
        return True
    re_rooted = all(run.now >= other.rr_until for other in run.others(port))
    if run.now >= port.fd_until or (re_rooted and run.now >= port.rb_until and run.tree.settings.rapid):
        if not port.learn:
            port.learn, port.fd_until = True, run.now + run.delay(port)
            return True
        if not port.forward:
            port.forward, port.fd_until = True, run.now
            return True
    if port.re_root and port.forward:
        port.re_root = False
        return True
    return False


def _designated(run: Run, port: Port) -> bool:
    rapid = run.tree.settings.rapid and port.rapid
    if rapid and not port.forward and not port.agreed and not port.proposing and not port.edge:
        port.proposing = port.news = True
        return True
    passive = not port.learn and not port.forward
    if (not port.synced and (passive or port.agreed or port.edge)) or (port.sync and port.synced):
        port.rr_until, port.synced, port.sync = run.now, True, False
        return True
    retiring = port.re_root and run.now < port.rr_until
    if port.re_root and not retiring:
        port.re_root = False
        return True
    if ((port.sync and not port.synced) or retiring or port.disputed) and not port.edge and not passive:
        port.learn = port.forward = port.disputed = False
        port.fd_until = run.now + run.delay(port)
        return True
    if (run.now >= port.fd_until or port.agreed or port.edge) and not retiring and not port.sync:
        if not port.learn:
            port.learn, port.fd_until = True, run.now + run.delay(port)
            return True
        if not port.forward:
            port.forward, port.fd_until = True, run.now
            port.agreed = port.agreed or port.rapid
            return True
    return False


def _blocked(run: Run, port: Port) -> bool:
    """Alternate, backup, disabled."""
    if port.role != Role.DISABLED and _agree(run, port):
        return True
    port.fd_until = run.now + run.delay(port)
    if port.role == Role.BACKUP:
        port.rb_until = run.now + 2 * run.tree.root_times.hello
    changed = not port.synced or port.sync or port.re_root
    port.synced, port.sync, port.re_root, port.rr_until = True, False, False, run.now
    return changed


# -- changes of the topology ----------------------------------------------------------------------------------------------


def note_topology(run: Run, name: str, port: Port) -> bool:
    if not port.tc_active:
        port.rcvd_tc = port.rcvd_tcn = port.rcvd_tc_ack = port.tc_prop = False
        if port.role in (Role.ROOT, Role.DESIGNATED) and port.forward and not port.edge:
            port.tc_active = True
            run.tree.changes += 1
            _tell_others(run, port)
            _tell(run, port)
            return True
        return False
    if port.role not in (Role.ROOT, Role.DESIGNATED) or port.edge:
        port.tc_active, port.tc_until, port.tc_ack = False, run.now, False
        run.forget.add(name)
        return True
    if port.rcvd_tcn or port.rcvd_tc:
        if port.rcvd_tcn:
            _tell(run, port)
            port.tc_ack = port.news = port.role == Role.DESIGNATED
        port.rcvd_tcn = port.rcvd_tc = False
        _tell_others(run, port)
        return True
    if port.tc_prop:
        port.tc_prop = False
        run.forget.add(name)
        _tell(run, port)
        return True
    if port.rcvd_tc_ack:
        port.rcvd_tc_ack, port.tc_until = False, run.now
        return True
    return False


def _tell(run: Run, port: Port) -> None:
    """newTcWhile, 17.21.7."""
    if run.now >= port.tc_until:
        times = run.tree.root_times
        port.tc_until = run.now + (times.hello + 1 if port.rapid else times.max_age + times.delay)
        port.news = True


def _tell_others(run: Run, port: Port) -> None:
    for other in run.others(port):
        other.tc_prop = True
