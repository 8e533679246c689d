"""The pictures of docs/pictures, drawn anew: python -m tests.lib.pictures. A test compares them with what pcn draws today."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.present.graph import draw
from reconciler.present.svg import as_svg
from reconciler.service.registry import Services

HOME = Path(__file__).resolve().parents[2]
DIRECTORY = HOME / "docs" / "pictures"


def two_cubes() -> str:
    """A bridge of two hosts and the router before it."""
    return f"""{_head("two-cubes", ["h1", "h2"])}
  links:
{_veth("v1", "h1", "10.0.0.1/24")}
{_veth("v2", "h2", "10.0.0.2/24")}
  cubes:
    - name: br
      service-name: simplebridge
      ports: [{{name: p1, peer: v1}}, {{name: p2, peer: v2}}, {{name: up, peer: "gw:lan"}}]
    - name: gw
      service-name: router
      ports: [{{name: lan, ip: 10.0.0.254/24, peer: "br:up"}}, {{name: wan, ip: 192.0.2.2/24, peer: eth0}}]
"""


def ten_cubes() -> str:
    """Ten sites in a ring, each with a router."""
    sites = range(10)
    links = "\n".join(_veth(f"s{n}", f"site{n}", f"10.{n}.0.2/24") for n in sites)
    cubes = "\n".join(
        f"""    - name: r{n}
      service-name: router
      ports:
        - {{name: lan, ip: 10.{n}.0.1/24, peer: s{n}}}
        - {{name: east, ip: 192.168.{n}.1/30, peer: "r{(n + 1) % 10}:west"}}
        - {{name: west, ip: 192.168.{(n - 1) % 10}.2/30, peer: "r{(n - 1) % 10}:east"}}"""
        for n in sites
    )
    return f"{_head('ten-cubes', [f'site{n}' for n in sites])}\n  links:\n{links}\n  cubes:\n{cubes}\n"


def forty_cubes() -> str:
    """Thirteen buildings: two floors each, behind a firewall at the router that they share."""
    buildings = range(13)
    ports = "\n".join(f'        - {{name: b{n}, ip: 10.{n}.0.1/24, peer: "sw{n}:up", tcubes: [fw{n}]}}' for n in buildings)
    cubes = "\n".join(
        f"""    - {{name: fw{n}, service-name: firewall}}
    - {{name: sw{n}, service-name: simplebridge, ports: [{{name: up, peer: "core:b{n}"}}, {{name: p1, peer: n{n}a}}, {{name: down, peer: "ap{n}:up"}}]}}
    - {{name: ap{n}, service-name: simplebridge, ports: [{{name: up, peer: "sw{n}:down"}}, {{name: p1, peer: n{n}b}}]}}"""
        for n in buildings
    )
    return f"""{_head("forty-cubes", [])}
  cubes:
    - name: core
      service-name: router
      ports:
{ports}
        - {{name: wan, ip: 192.0.2.2/24, peer: uplink}}
{cubes}
"""


def star() -> str:
    """A bridge of 39 ports."""
    ports = range(39)
    links = "\n".join(_veth(f"v{n}", f"h{n}", f"10.0.0.{n + 1}/24") for n in ports)
    cube = ", ".join(f"{{name: p{n}, peer: v{n}}}" for n in ports)
    spaces = [f"h{n}" for n in ports]
    return f"{_head('star', spaces)}\n  links:\n{links}\n  cubes:\n    - {{name: br, service-name: simplebridge, ports: [{cube}]}}\n"


def _head(name: str, namespaces: list[str]) -> str:
    return f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {name}}}\nspec:\n  namespaces: [{', '.join(namespaces)}]"


def _veth(name: str, host: str, address: str) -> str:
    return f"    - {{name: {name}, kind: veth, peer: {{name: eth0, netns: {host}, addresses: [{address}]}}}}"


def svg_of(text: str) -> str:
    services = Services()
    topologies, _ = check(parse(text, "picture.yaml"), services)
    names = {cube.service for topology in topologies for cube in topology.cubes}
    return as_svg(draw(topologies, {name: found.kind for name in names if (found := services.get(name)) is not None})) + "\n"


def pictures() -> Mapping[str, str]:
    """Every picture by the name of its file."""
    sources = {"two-cubes": two_cubes(), "ten-cubes": ten_cubes(), "forty-cubes": forty_cubes(), "star": star()}
    sources["an-office"] = (HOME / "examples" / "how-to" / "an-office.yaml").read_text("utf-8")
    return {f"{name}.svg": svg_of(text) for name, text in sources.items()}


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (DIRECTORY / name).write_text(text, "utf-8")
