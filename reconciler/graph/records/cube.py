"""Records of a cube, of its ports, and of a cube that no packet can reach yet."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model import BuildKey, family_of


@dataclass(frozen=True, slots=True)
class CubeRecord:
    """`fuse`: it may run as one program with the cubes around it. `init`: its init-only leaves as JSON; live, '' if it was
    created by a version that did not note them. `sources` represents its C where that depends on its configuration."""

    name: str
    service: str
    topology: str
    type: str
    fuse: bool = True
    init: str = ""
    sources: str = ""

    @property
    def address(self) -> str:
        return f"cube/{self.name}"

    @property
    def build_key(self) -> BuildKey:
        return BuildKey(self.service, family_of(self.type), self.sources)


@dataclass(frozen=True, slots=True)
class PortRecord:
    """`peer` as the document has it; '-' is unconnected."""

    cube: str
    name: str
    index: int
    peer: str

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/port/{self.name}"


@dataclass(frozen=True, slots=True)
class WaitingRecord:
    """A transparent cube that no packet can reach yet: the netdev `at` which it is to be attached does not exist, or the port
    `at` which it is has no peer. `place` is its index in the list there. No hook or hop records it, and it must not be lost:
    it may be what protects the netdev once that appears."""

    cube: str
    at: str
    place: int

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/waits"
