"""Documents that nobody thought of: data that fits a schema, or nearly."""
from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reconciler.check.schema import topology_schema
from tests.unit.data.documents import stand_in

TEXTS = ["a", "b", "c", "p", "q", "a:p", "b:q", "c:p", "eth0", "h1", "w", "", "tc", "FORWARD", "DROP", "02:00:00:00:00:01",
         "10.0.0.0/24", "10.0.0.1/24", "10.0.0.9", "2001:db8::1", "2001:DB8::/32", "default", "x" * 70, "10", "-1",
         "a\n", "auto", "hub", "wall"]
SCALARS = st.none() | st.booleans() | st.integers(-2, 70000) | st.sampled_from([1.0, 0.5, 2**64, 1e300, *TEXTS])


def like(schema: Any, *, odd: bool = True) -> st.SearchStrategy[Any]:
    """Data that fits a schema but for its conditions; with `odd`, data that nearly fits as well."""
    fitting = _like(schema, odd)
    return fitting | SCALARS if odd else fitting


def _like(schema: Any, odd: bool) -> st.SearchStrategy[Any]:
    if not isinstance(schema, dict):
        return SCALARS
    if "properties" in schema:
        parts = {name: like(part, odd=odd) for name, part in schema["properties"].items()}
        required = {name: parts[name] for name in schema.get("required", ()) if name in parts}
        others = {name: part for name, part in parts.items() if name not in required}
        whole = st.fixed_dictionaries(required, optional=others)
        return whole | st.fixed_dictionaries({}, optional={**parts, "odd": SCALARS}) if odd else whole
    if "items" in schema:
        return st.lists(like(schema["items"], odd=odd), min_size=schema.get("minItems", 0), max_size=3)
    if "x-pcn-filter" in schema and not odd:  # what fits is said by libpcap, and by no schema
        return st.sampled_from(["", "tcp port 80", "vlan 10 and udp", "not ip"])
    named = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    candidates = [*named, *TEXTS, True, False, schema.get("minimum", 0), schema.get("maximum", 1), schema.get("default"),
                  *schema.get("examples", ())]
    return st.sampled_from([value for value in candidates if Draft7Validator(schema).is_valid(value)])


def documents() -> st.SearchStrategy[Any]:
    """Whole documents, in topology form or as lists of cubes."""
    return _document(odd=False) | _document(odd=True) | like(topology_schema())


def _document(*, odd: bool) -> st.SearchStrategy[Any]:
    spec = topology_schema()["properties"]["spec"]["properties"]
    cubes = st.lists(like(stand_in("hub").schema, odd=odd) | like(stand_in("wall").schema, odd=odd), max_size=3)
    parts = {name: like(part, odd=odd) for name, part in spec.items() if name != "cubes"}
    head = {"apiVersion": st.just("polycube.network/v1"), "kind": st.just("Topology"), "metadata": st.just({"name": "a"})}
    return st.fixed_dictionaries({**head, "spec": st.fixed_dictionaries({"cubes": cubes}, optional=parts)}) | cubes
