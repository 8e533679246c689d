"""Where each object of a cube is pinned, relative to the bpffs root. Pure; the kernel room resolves and guards them.

    cubes/<cube>/about            symlink: {"service", "topology", "type"}
    cubes/<cube>/current          symlink: the generation in force, g<N>
    cubes/<cube>/g<N>/            about (symlink: objects and tags), ingress_<i>, egress_<i>, and <program>_const
    cubes/<cube>/tables/<table>   the service's tables, which outlive generations; <namespace>:<table> for shared ones
    cubes/<cube>/entry            PROG_ARRAY: row i is ingress program i, row 32 + i egress program i, row 64 `inject`
    cubes/<cube>/hops, next       where packets go next (bpf/pcn.h)
    cubes/<cube>/in/<i>_<port>    stub, or chain of cubes, by which packets enter at port i; out/<i>_<port>: by which they leave
    cubes/<cube>/slowpath         RINGBUF: packets that its programs hand to its slow path
    cubes/<cube>/slow/0_cube      stub by which packets of the slow path come back
    cubes/<cube>/ports/<port>     symlink: the peer
    cubes/<cube>/told/<port>      symlink, of a cube with a shadow: what its namespace was told of the port last, as JSON
    cubes/<cube>/shadow_hops      the netdevs that lead into its namespace, by port
    cubes/<cube>/facts/<name>     symlink: what its worker published last, as JSON (reconciler/facts)
    cubes/<cube>/waits            symlink, of a transparent cube that no packet can reach yet: its place and the netdev or port
    cubes/<cube>/twin/            entry, hops, next, out: the same again for the TC twin of an XDP cube's egress side; flood, in:
                                  of its ingress side, if it floods groups of ports
    links/<netdev>/<hook>         bpf_link
    promiscuous/<netdev>          symlink: index and topology, of a netdev that was made to hear all frames
    shared/<table>                the framework's tables of the entire host
    format                        symlink: the number of this layout; without one it is 1
    shared/needs-a-newer-pcn      symlink: keeps code away that knows no format (see `KEEP_OUT`)
    public/<table>                tables that services declare for the entire host

Names: the kernel refuses a dot in a bpffs name, so names are percent-encoded ('eth0.100' is 'eth0%2E100').
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from urllib.parse import quote, unquote

# The newest layout that this code knows, and makes. It grows with whatever code that knows the one before would remove or
# misread, such as a table that a service did not have. 1: before there were formats; 2: tables that format 1 does not know.
FORMAT = 2
FORMAT_PIN = "format"
# The code of format 1 looks for no format. It reads whatever is in shared/, and a symlink there whose target no path can be ends
# what it does, before it has done anything, with an error that says this name. (Its slow paths do not look there, and go on.)
KEEP_OUT = "shared/needs-a-newer-pcn"
KEEP_OUT_TEXT = "this-needs-a-newer-pcn-" * 12  # longer than any name may be (255)

PROMISCUOUS = "promiscuous"

MAIN, TWIN = "", "twin/"
SHADOW = "shadow_"  # what `hops` is called that lead into a cube's namespace
EGRESS_ROWS = 32  # first row of egress programs in `entry` (PCN_MAX_PROGRAMS)
INJECT_ROW = 64  # row of the program by which packets of the slow path come back
INJECT = "inject"  # the direction that it has, beside ingress and egress
AFTER_EGRESS = 128  # the bit by which `hops` has what follows a port's egress program; no port's number has it (PCN_AFTER_EGRESS)
MOST_PORTS = 256  # of a cube
MOST_PLACES = 128  # of a transparent cube: each takes two of its hops' 256 rows

# The framework's tables of pcn.h, by where they live.
PER_SIDE = {"pcn_hops": "hops", "pcn_next": "next", "pcn_entry": "entry"}
OF_A_SIDE = {*PER_SIDE.values(), "flood"}  # pins that each side of a cube may have
PER_CUBE = {
    "pcn_drops": "drops", "pcn_flood_tc": "flood", "pcn_flood_xdp": "flood", "pcn_reenter": "reenter",
    "pcn_slowpath": "slowpath", "pcn_shadow": "shadow_hops",
}  # fmt: skip
PER_GENERATION = {"pcn_calls": "calls"}
SHARED = {"pcn_arrival": "arrival", "pcn_log_ring": "log"}
SHARED_SLOWPATH = "shared/slowpath"  # the one ring that programs of pcn 0.1.0 and before write to
GLUE = ("pcn_next", "pcn_drops")  # what the linker needs of a program that looks into pcn_hops
TRAMPOLINES = {"ingress": "in", "egress": "out", INJECT: "slow"}  # a direction's directory of stubs


def escape(name: str) -> str:
    """A name as bpffs takes it; `unescape` is the inverse. A tilde, too, is kept for names of our own."""
    if name.isascii() and name.replace("-", "a").replace("_", "a").isalnum():  # as most are, and an apply asks 50 times a cube
        return name
    return quote(name, safe=":").replace(".", "%2E").replace("~", "%7E")


def unescape(name: str) -> str:
    return unquote(name)


def cube(name: str) -> str:
    return f"cubes/{escape(name)}"


def promiscuous(netdev: str) -> str:
    return f"{PROMISCUOUS}/{escape(netdev)}"


def side_of(path: str) -> str:
    """Which side of its cube a pin is on. (A cube may be called 'twin'.)"""
    return TWIN if path.split("/")[2:3] == [TWIN.rstrip("/")] else MAIN


def generation(cube_name: str, number: int) -> str:
    return f"{cube(cube_name)}/g{number}"


def program(direction: str, index: int) -> str:
    return f"{direction}_{index}"


def entry_row(direction: str, index: int = 0) -> int:
    """A program's row in its cube's entry."""
    return INJECT_ROW if direction == INJECT else index + (EGRESS_ROWS if direction == "egress" else 0)


def trampoline(cube_name: str, side: str, direction: str, index: int, port: str) -> str:
    return f"{cube(cube_name)}/{side}{TRAMPOLINES[direction]}/{index}_{escape(port)}"


def port(cube_name: str, port_name: str) -> str:
    return f"{cube(cube_name)}/ports/{escape(port_name)}"


def port_numbers(most: int) -> Iterator[int]:
    """The numbers that the ports of a cube of at most `most` can have, in order."""
    return islice((number for number in count() if not number & AFTER_EGRESS), most)


def ports_below(most: int) -> int:
    """What they are all below, as C has it: PCN_MAX_PORTS."""
    return AFTER_EGRESS if most <= AFTER_EGRESS else 512


def hook(netdev: str, point: str) -> str:
    return f"links/{escape(netdev)}/{point}"


def fact(cube_name: str, name: str) -> str:
    return f"{facts(cube_name)}/{escape(name)}"


def facts(cube_name: str) -> str:
    return f"{cube(cube_name)}/facts"


def waits(cube_name: str) -> str:
    return f"{cube(cube_name)}/waits"


def topology(name: str) -> str:
    return f"topologies/{escape(name)}"


def namespace(name: str) -> str:
    return f"namespaces/{escape(name)}"


def table(cube_name: str, table_name: str, scope: str = "private", side: str = MAIN) -> str:
    """The pin of a table that a cube's programs use, by the name it has in C (per-generation tables excepted)."""
    home = cube(cube_name)
    if table_name in PER_SIDE:
        return f"{home}/{side}{PER_SIDE[table_name]}"
    if table_name in PER_CUBE:
        own = side if table_name == "pcn_flood_tc" else MAIN
        return f"{home}/{own}{PER_CUBE[table_name]}"
    if table_name in SHARED:
        return f"shared/{SHARED[table_name]}"
    if scope == "public":
        return f"public/{table_name}"
    namespace = scope.partition(":")[2]
    return f"{home}/tables/{escape(namespace).replace(':', '%3A')}:{table_name}" if namespace else f"{home}/tables/{table_name}"


def is_hidden(netdev: str) -> bool:
    """Whether a name is that of an end of a hidden veth pair, which carries a cube's copies and nobody requested by name."""
    digits = netdev[3:-1]
    return len(netdev) == 12 and netdev[:3] == "pcn" and netdev[-1] in "nf" and all(c in "0123456789abcdef" for c in digits)


def tap(process: int, index: int = 0) -> str:
    """The name of a cube that is a tap (model.Tap), the so-manieth of that process: no document can have it."""
    return f"tap+{process}-{index}" if index else f"tap+{process}"


def shadow(cube_name: str) -> str:
    """The name of the transparent cube by which a cube's namespace sends and sees packets: no document can have it."""
    return f"shadow+{cube_name}"


def shadow_namespace(cube_name: str) -> str:
    return f"pcn-{cube_name}"


def told(cube_name: str, port_name: str) -> str:
    return f"{cube(cube_name)}/told/{escape(port_name)}"


def is_shadow(cube_name: str) -> bool:
    """Whether a cube is a part of another one's shadow, and so keeps nothing."""
    return cube_name.startswith("shadow+")


def is_of_no_document(cube_name: str) -> bool:
    """Whether a cube is a tap, or a part of another one's shadow."""
    return cube_name.startswith("tap+") or is_shadow(cube_name)
