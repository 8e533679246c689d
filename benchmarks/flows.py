"""A flow that is many: each frame is of the next one of so many flows, by source port, and source address or target port."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.bed import Bed, Flow
from reconciler.kernel import netns, rtnl

PORTS = 50_000  # of one source; the next 50,000 flows are of the next address, or to the next port
_MOST = 255  # further ones
_FRAME = 60
_TEXT = """
struct frame { u32 words[15]; };
BPF_ARRAY(frames, struct frame, 1);
BPF_ARRAY(counts, u64, 1);
int run(struct xdp_md *ctx) {
  u32 *data = (void *)(long)ctx->data, zero = 0;
  struct frame *frame = frames.lookup(&zero);
  u64 *count = counts.lookup(&zero);
  if (!frame || !count || (void *)(data + 15) > (void *)(long)ctx->data_end)
    return 1;
#pragma unroll
  for (int i = 0; i < 15; i++)
    data[i] = frame->words[i];
  u64 flow = (*count)++ % FLOWS;
  u8 *bytes = (u8 *)data;
  *(u16 *)(bytes + 34 + 2 * BACK) = bpf_htons(1024 + flow % PORTS);
#if TO_PORTS
  *(u16 *)(bytes + 36 - 2 * BACK) = bpf_htons(bpf_ntohs(*(u16 *)(bytes + 36 - 2 * BACK)) + flow / PORTS);
#else
  bytes[29] += flow / PORTS; /* of the address, and less by as much of the identification: the checksum stays right */
  bytes[19] -= flow / PORTS;
#endif
  return bpf_redirect(OUT, 0);
}
"""


def frame(bed: Bed, source: str, target: str, to: str, port: int) -> bytes:
    """60 bytes of UDP from one host to an address behind another."""
    plain = bytearray(bed.udp(source, target, ports=(0, port)))
    plain[18:20] = struct.pack("!H", _MOST)
    plain[30:34] = bytes(map(int, to.split(".")))
    plain[24:26] = b"\0\0"
    total = sum(struct.unpack("!10H", plain[14:34]))
    plain[24:26] = struct.pack("!H", ~(total % 0xFFFF) & 0xFFFF)
    return bytes(plain)


@contextlib.contextmanager
def generator(
    bed: Bed, source: str, first: bytes, count: int, *, ports: int = PORTS, to_ports: bool = False, back: bool = False
) -> Iterator[int]:
    """An XDP program for `inject` at a host, whose frames are of so many flows in turn. `ports`: of one source. `to_ports`:
    further ones are to other ports, and not from other addresses. `back`: the answers to such ones."""
    if count > ports * (_MOST + 1):
        raise ValueError(f"{count} flows are more than addresses and ports make")
    with netns.inside(bed.space(source)):
        out = rtnl.links()["eth0"].index
    rows = {"frames": first.ljust(_FRAME, b"\0")[:_FRAME]}
    macros = {"FLOWS": count, "PORTS": ports, "TO_PORTS": int(to_ports), "BACK": int(back), "OUT": out}
    with programs.written(_TEXT, "XDP", rows, **macros) as program:
        yield program


@contextlib.contextmanager
def flows(
    bed: Bed, source: str, target: str, first: bytes, count: int, *, into: str = "TC", ports: int = PORTS, to_ports: bool = False,
    counter: programs.Counter | None = None,
) -> Iterator[Flow]:  # fmt: skip
    """As `bed.flow`, of so many flows in turn (see `generator`). `counter`: the one at the target, if it has one already."""
    with contextlib.ExitStack() as stack:
        counter = counter or stack.enter_context(counting(bed, target, into))
        program = stack.enter_context(generator(bed, source, first, count, ports=ports, to_ports=to_ports))
        yield Flow(bed.space(source), program, first, counter)


@contextlib.contextmanager
def counting(bed: Bed, target: str, into: str = "TC") -> Iterator[programs.Counter]:
    """A host's counter of what arrives."""
    with netns.inside(bed.space(target)):
        counter = programs.Counter(into, rtnl.links()["eth0"].index)
    try:
        yield counter
    finally:
        counter.close()
