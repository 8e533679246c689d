"""What was learned at a port is forgotten when the port no longer exists, points elsewhere, or loses its carrier.

Rows that point there would send packets where their stations are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler import pins
from reconciler.graph.records import PortRecord
from reconciler.plan.context import Context
from reconciler.plan.operations import PurgeRows
from reconciler.plan.steps import Rank, Step
from reconciler.service.model.packing import place
from reconciler.service.registry import Service


def forget_learned(port: PortRecord, reason: str, context: Context) -> Iterator[Step]:
    cube = context.cube(port.cube)
    service = context.services.get(cube.service) if cube else None
    if cube is None or service is None:
        return
    yield from forget_at(port, reason, service, context.built_for(port.cube).tables, context.desired.state.__contains__)


def learns_ports(service: Service) -> bool:
    """Whether its datapath may keep in a table at which port something is."""
    return any(
        binding.of_datapath and column.encoding == "port"
        for binding in service.bindings
        for column in (*binding.keys, *binding.values)
    )


def forget_at(
    port: PortRecord, reason: str, service: Service, tables: Mapping[str, Any], has: Callable[[str], bool]
) -> Iterator[Step]:
    """`tables` are the layouts of the cube's tables, by name; `has`: whether there is one at an address."""
    for binding in service.bindings:
        for column in (*binding.keys, *binding.values):
            learned = binding.of_datapath
            if learned and column.encoding == "port" and learned in tables and has(record_address(port.cube, learned, tables)):
                in_key = column in binding.keys
                layout = tables[learned].key if in_key else tables[learned].value
                offset, size = place(layout, column.place)
                path = pins.table(port.cube, learned, tables[learned].scope)
                index = port.index.to_bytes(size, "little")
                address = f"cube/{port.cube}/table/{learned}"
                yield Step(Rank.NAMES, address, "forget", reason, PurgeRows(path, ((in_key, offset, size),), (index,)))


def record_address(cube: str, table: str, tables: Mapping[str, Any]) -> str:
    """Of its record. There is none of a µCube's table that the configuration does not need."""
    path = pins.table(cube, table, tables[table].scope)
    below = path.removeprefix(f"{pins.cube(cube)}/")
    return path if below == path else f"cube/{cube}/table/{below.removeprefix('tables/')}"
