"""Bridges with spanning trees and real packets: the slow paths of all are served by the process that runs the test, and what a link's carrier
does is told to them as the agent's looks do."""
from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.lib.lab import Lab
from tests.lib.slowpaths import SlowPaths
from tests.services.bridge.lab import Said, vlan_lab


def stp_lab(bridges: Mapping[str, Mapping[str, Said | str]], priorities: Mapping[str, int], *, links: int, hook: str, rapid: bool,
            delay: int = 4) -> Lab:  # fmt: skip
    """As vlan_lab; a port that is a text is an access port of VLAN 1 and leads there. Hosts' ports are edges where `rapid`."""
    plain = {name: {port: said for port, said in ports.items() if not isinstance(said, str)} for name, ports in bridges.items()}
    lab = vlan_lab(plain, links=links, hook=hook)
    for name, ports in bridges.items():
        cube = lab.cube(name)
        by_name = {port["name"]: port for port in cube["ports"]}
        cube["ports"] = [by_name.get(port, {"name": port, "peer": said}) for port, said in ports.items()]
        for port in cube["ports"]:
            if rapid and port["name"][0] == "h":
                port["edge-port"] = True
        cube |= {"stp-enabled": True, "stp-version": "rstp" if rapid else "stp"}
        cube["stp"] = [{"vlan": 1, "priority": priorities.get(name, 32768), "forward-delay": delay, "max-message-age": 6}]
    return lab


class Served(SlowPaths):
    """`look`: what the agent does twice a second, and whenever a netdev changes."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.root, lab.options.services)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def look(self) -> None:
        with self._lock:
            self.refresh()

    def _serve(self) -> None:
        ticked = 0.0
        while not self._ended.is_set():
            ready = bool(select.select([self], [], [], 0.02)[0])
            with self._lock:
                if ready:
                    self.drain()
                if time.monotonic() - ticked > 0.1:
                    ticked = time.monotonic()
                    self.tick()

    def __enter__(self) -> Served:
        self.refresh()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.close()
        assert [said for said in self.said if said[0] == "mistake"] == []


def states(lab: Lab) -> dict[str, str]:
    """'br1:port@vlan' to what it does; '@1' is left out."""
    found = {}
    for cube in lab.live(state=True).get("cubes", ()):
        for port in cube.get("ports", ()):
            for each in port.get("stp", ()):
                if "state" in each:
                    where = f"{cube['name']}:{port['name']}" + (f"@{each['vlan']}" if each["vlan"] != 1 else "")
                    found[where] = each["state"]
    return found


def blocked(lab: Lab) -> set[str]:
    return {port for port, state in states(lab).items() if state not in ("forwarding", "disabled")}


def until(condition: Callable[[], Any], wanted: Any, seconds: float) -> float:
    """The seconds until it was so."""
    began = time.monotonic()
    while (found := condition()) != wanted:
        assert time.monotonic() - began < seconds, f"after {seconds} s: {found}, not {wanted}"
        time.sleep(0.05)
    return time.monotonic() - began


@contextlib.contextmanager
def running(lab: Lab) -> Iterator[Served]:
    lab.apply()
    with Served(lab) as served:
        yield served
