"""Senders that begin flows through a nat as fast as they can, on all CPUs, and a receiver that notices when two have one tuple.

    with Storm(sessions=1_000_000) as storm:
        storm.begin(ON_UDP, 50_000)             # so many of each sender, to one far end
        storm.rage(ON_TCP, 30)                  # for so many seconds
        storm.seen()                         # all that the receiver ever saw
"""
from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from benchmarks import programs, router
from benchmarks.bed import Bed, inject
from cubes.lib.sessions import TABLES
from reconciler.kernel import bpf, maps, netns, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader

SENDERS, FAR = ("h1", "h2", "h3", "h4"), "out"
POOL = "203.0.113.8"
ON_TCP, ON_UDP = 6, 17
TRANSITORY = 2  # seconds that a connection lives which is not answered
BATCH = 6_400
PORTS = 50_000

# A flow of a sender has the number that its first packet carries. All senders use the same ports, and 16 far ends after one another.
_SEND = """
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
  u32 flow = (*count)++;
  u8 *bytes = (u8 *)data;
  *(u16 *)(bytes + 34) = bpf_htons(1024 + flow % PORTS);
  *(u16 *)(bytes + 36) = bpf_htons(1000 + flow / PORTS % FAR_ENDS);
  *(u16 *)(bytes + 38 + NUMBER_AT) = flow;
  *(u16 *)(bytes + 40 + NUMBER_AT) = flow >> 16;
  return bpf_redirect(OUT, 0);
}
"""

# Who has a tuple has it for TRANSITORY seconds at least; a tenth of a second is for clocks and for the way.
_RECEIVE = """
struct tuple { u32 source; u16 sport, dport; u32 proto; };
struct owner { u32 flow, sender; u64 seen; };
BPF_HASH(owners, struct tuple, struct owner, ROOM);
BPF_ARRAY(told, u64, 3);
static __always_inline void count(u32 what) {
  u64 *value = told.lookup(&what);
  if (value)
    __sync_fetch_and_add(value, 1);
}
int run(struct __sk_buff *skb) {
  u8 bytes[60];
  if (bpf_skb_load_bytes(skb, 0, bytes, sizeof(bytes)) < 0 || bytes[12] != 8 || bytes[13] || (bytes[23] != 6 && bytes[23] != 17))
    return 0;
  struct tuple tuple = {.proto = bytes[23]};
  struct owner now = {.seen = bpf_ktime_get_ns()};
  __builtin_memcpy(&tuple.source, bytes + 26, 4);
  __builtin_memcpy(&tuple.sport, bytes + 34, 4);
  if (bytes[23] == 6)
    __builtin_memcpy(&now.flow, bytes + 38, 8);
  else
    __builtin_memcpy(&now.flow, bytes + 42, 8);
  count(0);
  struct owner *before = owners.lookup(&tuple);
  if (before && (before->flow != now.flow || before->sender != now.sender) && now.seen - before->seen < (bytes[23] == 6 ? SHORT : LONG))
    count(1);
  if (owners.update(&tuple, &now))
    count(2);
  return 2;
}
"""
_DROP = 2


class Storm:
    """`addresses`: so many outside."""

    def __init__(self, sessions: int, addresses: int = 4) -> None:
        self._sessions, self._last = sessions, str(ip_address(POOL) + addresses - 1)
        self.bed = Bed([*SENDERS, FAR], subnets=True)

    def __enter__(self) -> Storm:
        with contextlib.ExitStack() as stack:
            bed = stack.enter_context(self.bed)
            bed.on_all_cpus()
            gateway: dict[str, Any] = router.cube(bed, "TC")
            next(port for port in gateway["ports"] if port["name"] == FAR)["tcubes"] = ["nat1"]
            rule = {"id": 1, "internal-net": "10.0.0.0/16", "external-ip": POOL, "last-external-ip": self._last}
            bed.apply({"cubes": [gateway, {"name": "nat1", "service-name": "nat", "loglevel": "OFF", "sessions": self._sessions,
                                           "timeouts": {"tcp-transitory": TRANSITORY, "udp": 36_000}, "rule": {"snat": {"entry": [rule]}}}]})  # fmt: skip
            second = 10**9
            self._receiver = stack.enter_context(programs.compiled(_RECEIVE, SHORT=TRANSITORY * second - second // 10, LONG=1 << 62, ROOM=6 * self._sessions))
            with netns.inside(bed.space(FAR)):
                program = self._receiver.load_func(b"run", 3).fd
                stack.callback(os.close, bpf.link_create(program, rtnl.links()["eth0"].index, bpf.ATTACH_TCX_INGRESS, 0))
            self._senders = {(host, proto): stack.enter_context(self._sender(host, proto)) for host in SENDERS for proto in (ON_TCP, ON_UDP)}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sender(self, host: str, proto: int) -> Any:
        with netns.inside(self.bed.space(host)):
            out = rtnl.links()["eth0"].index
        rows = {"frames": self._frame(host, proto)}
        said = {"PORTS": PORTS, "FAR_ENDS": 16, "NUMBER_AT": 0 if proto == ON_TCP else 4, "OUT": out}
        return programs.written(_SEND, "XDP", rows, **said)

    def _frame(self, host: str, proto: int) -> bytes:
        """With the sender's number beside the flow's."""
        plain, number = bytearray(self.bed.udp(host, FAR)), struct.pack("<I", SENDERS.index(host) + 1)
        if proto == ON_UDP:
            return bytes(plain[:46] + number + plain[50:])
        plain[23] = ON_TCP
        plain[24:26] = bytes(2)
        total = sum(struct.unpack("!10H", plain[14:34]))
        total = (total & 0xFFFF) + (total >> 16)
        plain[24:26] = struct.pack("!H", ~total & 0xFFFF)
        return bytes(plain[:38] + bytes(4) + number + bytes.fromhex("5002ffff00000000") + bytes(6))

    # -- what senders do ------------------------------------------------------------------------------------------------

    def begin(self, proto: int, flows: int) -> int:
        """So many of each sender, to one far end for each 50,000; gives how many."""
        self._all(proto, lambda sent: min(BATCH, flows - sent))
        return flows * len(SENDERS)

    def rage(self, proto: int, seconds: float) -> int:
        """As many as they can for so long; gives how many."""
        deadline = time.monotonic() + seconds
        return self._all(proto, lambda sent: BATCH if time.monotonic() < deadline else 0)

    def _all(self, proto: int, more: Callable[[int], int]) -> int:
        start, sent = threading.Barrier(len(SENDERS)), dict.fromkeys(SENDERS, 0)
        cpus = sorted(os.sched_getaffinity(0))

        def send(number: int, host: str) -> None:
            os.sched_setaffinity(0, {cpus[number % len(cpus)]})  # of this thread alone
            frame = self._frame(host, proto)
            start.wait()
            with netns.inside(self.bed.space(host)):
                while (count := more(sent[host])) > 0:
                    inject(self._senders[host, proto], frame, count)
                    sent[host] += count

        threads = [threading.Thread(target=send, args=each) for each in enumerate(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(sent.values())

    # -- what is known of it --------------------------------------------------------------------------------------------

    def told(self) -> tuple[int, int, int]:
        """Packets that the receiver got, those whose tuple was another flow's meanwhile, and those that it had no room to remember."""
        values = [int(self._receiver[b"told"][index].value) for index in range(3)]
        return values[0], values[1], values[2]

    def seen(self, proto: int) -> dict[bytes, tuple[int, int]]:
        """Address and port outside, and the far end's port, of what the receiver saw last there: the sender's number and the flow's."""
        table = self._receiver[b"owners"]
        spec = maps.info(table.map_fd).spec
        return {key[:8]: struct.unpack_from("<II", value)[::-1] for key, value in maps.rows(table.map_fd, spec).items() if key[8] == proto}

    def sessions(self, proto: int) -> dict[bytes, bytes]:
        """The rows of the nat's table by address and port outside, and the far end's port. Raises ValueError if two that live have one."""
        found: dict[bytes, bytes] = {}
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for key, value in self._rows("tables/sessions").items():
            if key[36] == proto and struct.unpack_from("<Q", value)[0] > now:
                outside = value[20:24] + value[24:26] + key[34:36]
                if outside in found:
                    raise ValueError(f"two sessions have {outside.hex()}")
                found[outside] = key
        return found

    def memory(self) -> int:
        """Bytes that the kernel holds for the tables of sessions."""
        root, total = Bpffs(self.bed.options.root), 0
        for table in TABLES:
            with root.opened(f"cubes/nat1/tables/{table}") as fd:
                said = Path(f"/proc/self/fdinfo/{fd}").read_text()
            total += int(said.split("memlock:")[1].split()[0])
        return total

    def drops(self) -> dict[int, int]:
        """Of the nat, by the numbers of its reasons."""
        totals: dict[int, int] = {}
        for key, value in self._rows("drops").items():
            count = sum(struct.unpack(f"<{len(value) // 8}Q", value))
            if count:
                totals[struct.unpack("<I", key)[0]] = count
        return totals

    def _rows(self, table: str) -> dict[bytes, bytes]:
        found = Reader(Bpffs(self.bed.options.root)).rows(f"cubes/nat1/{table}")
        assert found is not None
        return found[1]
