"""Records of programs: µCubes, and trampolines with the chains that are linked into them."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler import pins


@dataclass(frozen=True, slots=True)
class ProgramRecord:
    """A µCube. `object` is the digest of the compiled object; `constants` the bytes of its frozen map.

    Live, `object` is 'foreign:<tag>' if another program runs than was loaded.
    """

    cube: str
    side: str
    direction: str
    index: int
    object: str
    constants: bytes

    @property
    def name(self) -> str:
        return f"{'twin_' if self.side else ''}{pins.program(self.direction, self.index)}"

    @property
    def address(self) -> str:
        return f"cube/{self.cube}/program/{self.name}"


@dataclass(frozen=True, slots=True)
class ChainPart:
    """A cube's share of a fused program: its first program in a direction, entered at port `index`, and its `row` for the
    part that follows (-1: none does)."""

    cube: str
    side: str
    direction: str
    index: int
    row: int
    object: str
    constants: bytes


@dataclass(frozen=True, slots=True)
class TrampolineRecord:
    """The few instructions by which a packet enters (ingress) or leaves (egress) a cube at port `index`; or, with a `chain`,
    the cube itself and those that follow it. `chain` is the digest of its parts; live, 'foreign:…' if the program differs
    from what would be linked now, and `refused` if the verifier rejected it, so that a plain stub is used with hops."""

    cube: str
    side: str
    direction: str
    index: int
    port: str
    flavour: str
    chain: str = ""
    parts: tuple[ChainPart, ...] = field(default=(), compare=False)
    refused: bool = field(default=False, compare=False)

    @property
    def path(self) -> str:
        return pins.trampoline(self.cube, self.side, self.direction, self.index, self.port)

    @property
    def address(self) -> str:
        return f"stub/{self.path}"
