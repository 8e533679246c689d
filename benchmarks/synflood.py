"""synflood under a flood of SYNs, against the kernel's own cookies, iptables' SYNPROXY, and an XDP program that drops the flood.

SYNs with right checksums and random sources come out of one host's wire from CPU 0; the server's stack receives them on CPU 1,
where its netdev's NAPI thread and the server are bound. Goodput: connections a second of one client, each with a request and an
answer. Without protection the server's socket takes no cookies. What drops the flood by its sources, which nobody knows of a real
one, is the limit.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import programs
from benchmarks.bed import Bed, inject
from benchmarks.compare import Effort, Goal, Row, Table, Turn, compare
from reconciler.kernel import bpf, linkwrite, netlink, netns, offload, rtnl
from reconciler.kernel.linkspec import LinkEnd

RATE = 300_000  # SYNs a second
CALM, LIMIT, BARE = "no flood", "flood dropped by XDP", "no protection"
PORT = 8080
SERVER, GATE = "10.0.0.254", "syn"

_FLOOD = """
#include <uapi/linux/bpf.h>
/* A source and a port of which the sum is always the same, so that TCP's checksum stays right; IP's by the packet's number. */
BPF_ARRAY(next, u64, 1);
int run(struct xdp_md *ctx) {
  u8 *at = (u8 *)(long)ctx->data;
  u32 zero = 0;
  u64 now = bpf_ktime_get_ns(), *due = next.lookup(&zero);
  if (!due)
    return XDP_DROP;
  if (*due + 100000 < now)
    *due = now;
  for (int n = 0; n < 500 && now < *due; n++)
    now = bpf_ktime_get_ns();
  *due += INTERVAL;
  if (at + 54 > (u8 *)(long)ctx->data_end)
    return XDP_DROP;
  __builtin_memcpy(at, (u8[54]){FRAME}, 54);
  u16 any = bpf_get_prandom_u32() % 60000 + 1;
  *(u16 *)(at + 28) = any;
  *(u16 *)(at + 34) = 65000 - any;
  *(u16 *)(at + 18) = 65000 - any;
  return bpf_redirect(OUT, 0);
}
"""
_SOURCE, _TARGET = 26, 30  # where an IPv4 packet's addresses are in a frame
_DROP = """
#include <uapi/linux/bpf.h>
int run(struct xdp_md *ctx) {
  u8 *at = (u8 *)(long)ctx->data;
  if (at + 34 > (u8 *)(long)ctx->data_end)
    return XDP_PASS;
  return at[ADDRESS] == 198 && at[ADDRESS + 1] == 18 ? XDP_DROP : XDP_PASS;
}
"""
_SERVE = """
import os, socket, sys
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
listening = socket.create_server(("", int(sys.argv[1])), backlog=512)
print(flush=True)
while True:
    connection, _ = listening.accept()
    connection.settimeout(1)
    try:
        connection.sendall(connection.recv(64))
        connection.recv(1)
    except OSError:
        pass
    connection.close()
"""
_CONNECT = """
import os, socket, struct, sys, time
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
done, end = 0, time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    with socket.socket() as s:
        s.settimeout(0.5)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            s.connect((sys.argv[1], int(sys.argv[2])))
            s.sendall(b"x" * 64)
            done += len(s.recv(64)) == 64
        except OSError:
            pass
print(done)
"""


def run(effort: Effort) -> list[Table]:
    few, seconds = effort.at_most(9), 2 * effort.scale
    turns: dict[str, Turn] = {}
    with contextlib.ExitStack() as stack:
        for name, (prepare, flooded) in CONTENDERS.items():
            bed = stack.enter_context(Bed([GATE]))
            _settle(bed)
            stack.enter_context(_nobody(bed))
            stack.enter_context(_served(bed))
            stack.enter_context(prepare(bed))
            turns[name] = _turn(bed, seconds, stack.enter_context(_flood(bed)) if flooded else None)
        goals = (Goal("synflood, XDP", at_least=0.8),)
        unit = "connections a second"
        table = compare("Goodput under a flood of SYNs", turns, few, against=LIMIT, unit=unit, bound=False)
    return [Table(table.title, unit, tuple(map(_more_is_better, table.rows)), LIMIT, f"{RATE:,} SYNs a second.", goals)]


def _more_is_better(row: Row) -> Row:
    return Row(row.name, row.turns, tuple(1 / ratio if ratio else 0.0 for ratio in row.ratios))


def _settle(bed: Bed) -> None:
    """The server's address; no queue of packets that XDP sends but NAPI's; what is received is the receiver's CPU's."""
    netlink.configure(LinkEnd(GATE, bed.middle, (f"{SERVER}/24",), mac=bed.gateway_mac(GATE)))
    for device, space in ((GATE, bed.middle), ("eth0", bed.space(GATE))):
        offload.put(device, "gro", True, space)
        offload.put(device, "tx-checksum", False, space)
        before = _napi(device)
        subprocess.run(["ip", "netns", "exec", space, "sh", "-c", f"echo 1 > /sys/class/net/{device}/threaded"], check=True)
        for thread in _napi(device) - before:
            os.sched_setaffinity(thread, {1 if device == GATE else 0})
            first(thread)
    with netns.inside(bed.middle):
        linkwrite.set_link("lo", up=True)
        sets(tcp_syncookies=0, tcp_max_syn_backlog=512)
    bed.run(f"ip neigh replace {bed.address(GATE)} lladdr {bed.mac(GATE)} dev {GATE} nud permanent",
            f"ip route add default via {bed.address(GATE)}")  # fmt: skip
    bed.run(f"ip neigh replace {SERVER} lladdr {bed.gateway_mac(GATE)} dev eth0 nud permanent", host=GATE)


def first(thread: int, *, after: bool = False) -> None:
    """What takes part does so in turns, the sender `after` the others, and before what else this machine does."""
    os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1 if after else 2))


def sets(**values: int) -> None:
    for name, value in values.items():
        Path(f"/proc/sys/net/ipv4/{name}").write_text(str(value))


def _napi(device: str) -> set[int]:
    found = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text().startswith(f"napi/{device}-"):
                found.add(int(comm.parent.name))
    return found


@contextlib.contextmanager
def _served(bed: Bed) -> Iterator[None]:
    with netns.inside(bed.middle):
        server = subprocess.Popen([sys.executable, "-c", _SERVE, str(PORT)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield
    finally:
        server.kill()
        server.communicate()


def _turn(bed: Bed, seconds: float, flood: Callable[[], contextlib.AbstractContextManager[None]] | None) -> Turn:
    def turn() -> float:
        with flood() if flood else contextlib.nullcontext(), netns.inside(bed.space(GATE)):
            time.sleep(0.3)
            words = [sys.executable, "-c", _CONNECT, SERVER, str(PORT), str(seconds)]
            said = subprocess.run(["taskset", "-c", "0", *words], capture_output=True, text=True, check=True)
        return int(said.stdout) / seconds

    return turn


@contextlib.contextmanager
def _flood(bed: Bed) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    with netns.inside(bed.space(GATE)):
        out = rtnl.links()["eth0"].index
    frame = _syn(bed)
    text = _FLOOD.replace("{FRAME}", "{" + ",".join(map(str, frame)) + "}")
    with programs.written(text, "XDP", OUT=out, INTERVAL=1_000_000_000 // RATE) as program:

        @contextlib.contextmanager
        def flood() -> Iterator[None]:
            over = threading.Event()

            def send() -> None:
                os.sched_setaffinity(0, {0})
                first(0, after=True)
                with netns.inside(bed.space(GATE)):
                    while not over.is_set():
                        inject(program, frame, RATE // 5)

            sender = threading.Thread(target=send)
            sender.start()
            try:
                yield
            finally:
                over.set()
                sender.join()

        yield flood


def _syn(bed: Bed) -> bytes:
    """Source 198.18.x.x; where the random parts are zero, sums are right for what they come to together."""
    ends = bytes.fromhex((bed.gateway_mac(GATE) + bed.mac(GATE)).replace(":", ""))
    addresses = bytes((198, 18, 0, 0)) + bytes(map(int, SERVER.split(".")))
    both = struct.unpack("!H", struct.pack("=H", 65000))[0]
    tcp = struct.pack("!HHIIBBHHH", 0, PORT, 7, 0, 0x50, 2, 64240, 0, 0)
    check = _folded(addresses + struct.pack("!BBH", 0, 6, len(tcp)) + tcp, both)
    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
    ip = struct.pack("!BBHHHBBH8s", 0x45, 0, 40, 0, 0x4000, 64, 6, 0, addresses)
    ip = ip[:10] + struct.pack("!H", _folded(ip, both)) + ip[12:]
    return ends + b"\x08\x00" + ip + tcp


def _folded(raw: bytes, more: int) -> int:
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw)) + more
    return ~(total % 0xFFFF) & 0xFFFF


# ---- What protects. ----


@contextlib.contextmanager
def _nothing(_bed: Bed) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _cookies(bed: Bed) -> Iterator[None]:
    with netns.inside(bed.middle):
        sets(tcp_syncookies=1)
    yield


def _cube(hook: str) -> Callable[[Bed], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def prepare(bed: Bed) -> Iterator[None]:
        with netns.inside(bed.middle):
            sets(tcp_syncookies=1)
        guard = {"name": "guard", "service-name": "synflood", "type": hook, "loglevel": "OFF"}
        bed.apply({"cubes": [guard], "attachments": [{"netdev": GATE, "tcubes": ["guard"]}]})
        yield

    return prepare


@contextlib.contextmanager
def _synproxy(bed: Bed) -> Iterator[None]:
    tcp = f"-i {GATE} -p tcp --dport {PORT}"
    bed.run(
        f"iptables -t raw -A PREROUTING {tcp} --syn -j CT --notrack",
        f"iptables -A INPUT {tcp} -m conntrack --ctstate INVALID,UNTRACKED "
        "-j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460",
        f"iptables -A INPUT {tcp} -m conntrack --ctstate INVALID -j DROP",
    )
    with netns.inside(bed.middle):
        Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").write_text("0")
    yield


@contextlib.contextmanager
def _dropped(bed: Bed) -> Iterator[None]:
    with programs.written(_DROP, "XDP", ADDRESS=_SOURCE) as program, bed.attached(program, "XDP", GATE):
        yield


@contextlib.contextmanager
def _nobody(bed: Bed) -> Iterator[None]:
    """What is sent to the flood's sources costs the client nothing: in earnest they are elsewhere."""
    with programs.written(_DROP, "XDP", ADDRESS=_TARGET) as program:
        with netns.inside(bed.space(GATE)):
            link = bpf.link_create(program, rtnl.links()["eth0"].index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
        try:
            yield
        finally:
            os.close(link)


CONTENDERS: dict[str, tuple[Callable[[Bed], contextlib.AbstractContextManager[None]], bool]] = {
    CALM: (_nothing, False),
    LIMIT: (_dropped, True),
    "synflood, XDP": (_cube("XDP_DRV"), True),
    "synflood, TC": (_cube("TC"), True),
    "the kernel's cookies": (_cookies, True),
    "SYNPROXY": (_synproxy, True),
    BARE: (_nothing, True),
}
