"""Guards against getting slower that do not look at a clock: see figures.yaml, which says how to change one on purpose."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.compiler.stack import stack_of
from reconciler.document.load import parse
from reconciler.engine.apply import ApplyResult, Options, apply
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader
from reconciler.plan.steps import MAP_WRITES
from tests.budget.counting import OF_BPF, counted
from tests.unit.test_imports import HEAVY

FIGURES: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "figures.yaml").read_text("utf-8"))
HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n"
pytestmark = pytest.mark.kernel


def must_be(what: str, figure: object, found: object) -> None:
    assert found == figure, f"{what}: it was {figure}, and is {found} now; if that is meant, change tests/budget/figures.yaml"


def hellos(count: int, odd: str = "FORWARD") -> str:
    """Cubes of which the first has another action."""
    return HEAD + "".join(
        f"  - {{name: c{number}, service-name: helloworld, action: {'FORWARD' if number else odd}, ports: [{{name: a}}, {{name: b}}]}}\n"
        for number in range(count)
    )


def applied(text: str, options: Options | None = None, **named: Any) -> ApplyResult:
    return apply(parse(text, "f"), options or Options(), **named)


def settle() -> None:
    """Long enough for a directory's time of change to tell of every further change."""
    time.sleep(0.1)


def of_an_apply(count: int) -> Counter[str]:
    with counted() as calls:
        applied(hellos(count))
    return calls


def of_a_no_op(count: int) -> Counter[str]:
    applied(hellos(count))
    with counted() as calls:
        applied(hellos(count))
    return calls


def of_an_edit(count: int) -> Counter[str]:
    options = Options()
    applied(hellos(count), options)
    settle()
    applied(hellos(count), options)
    with counted() as calls:
        applied(hellos(count, "DROP"), options)
    return calls


def of_a_look(count: int) -> Counter[str]:
    options = Options()
    applied(hellos(count), options)
    settle()
    glance = UnchangedCheck(options, applied(hellos(count), options))
    assert glance.is_unchanged()
    with counted() as calls:
        assert glance.is_unchanged()
    return calls


@pytest.mark.parametrize(("what", "measure"), list(zip(
    FIGURES["kernel_calls_per_cube"], (of_an_apply, of_a_no_op, of_an_edit, of_a_look), strict=True)))
def test_each_cube_costs_the_same_calls_of_the_kernel(what: str, measure: Callable[[int], Counter[str]]) -> None:
    applied(hellos(1))  # compiles
    found = {}
    for count in (1, 10, 100):
        applied(hellos(1), delete=True)
        found[count] = measure(count)
    applied(hellos(1), delete=True)
    each = {word: (found[100][word] - found[10][word]) / 90 for word in found[100]}
    assert {word: (found[10][word] - found[1][word]) / 9 for word in found[100]} == each, "the calls do not grow with the cubes"
    must_be(f"calls of the kernel for each cube: {what}", FIGURES["kernel_calls_per_cube"][what], {w: n for w, n in each.items() if n})


def blacklist(odd: int) -> str:
    head = f"{HEAD}  - name: d\n    service-name: ddosmitigator\n    blacklist-src:\n"
    return head + "".join(f"    - {{ip: 10.0.{number >> 8}.{number & 255}}}\n" for number in [*range(999), odd])


def routes(odd: int) -> str:
    head = (f"{HEAD}  - name: r\n    service-name: router\n    ports:\n    - {{name: a, ip: 10.1.0.1/24, mac: '02:00:00:00:00:01'}}\n"
            "    route:\n")  # fmt: skip
    return head + "".join(f"    - {{network: 10.{2 + (n >> 8)}.{n & 255}.0/24, nexthop: 10.1.0.2}}\n" for n in [*range(999), odd])


EDITS = ((hellos(100), hellos(100, "DROP")), (blacklist(1000), blacklist(1001)), (routes(1000), routes(1001)))


@pytest.mark.parametrize(("what", "edit"), list(zip(FIGURES["rows_per_edit"], EDITS, strict=True)), ids=list(FIGURES["rows_per_edit"]))
def test_an_edit_writes_no_more_rows_than_it_must(what: str, edit: tuple[str, str]) -> None:
    before, after = edit
    applied(before)
    plan = applied(after).plan
    applied(after, delete=True)
    must_be(f"rows written: {what}", FIGURES["rows_per_edit"][what], plan.total(MAP_WRITES))


def test_many_rows_are_written_and_deleted_in_few_calls() -> None:
    most = FIGURES["calls_of_many_rows"]
    head = f"{HEAD}  - {{name: d, service-name: ddosmitigator, blacklist-src: ["
    many = head + ", ".join(f"{{ip: 10.0.{number >> 8}.{number & 255}}}" for number in range(most["rows"])) + "]}\n"
    one, options, found = head + "{ip: 10.0.0.0}]}\n", Options(), {}
    applied(one, options)  # compiles
    applied(one, options, delete=True)
    for what, text in (("written", many), ("deleted", one)):
        with counted() as calls:
            rows = applied(text, options).plan.total(MAP_WRITES)
        assert rows >= most["rows"] - 1
        found[what] = sum(number for call, number in calls.items() if call in OF_BPF)
    applied(one, options, delete=True)
    assert {what: calls for what, calls in found.items() if calls > most[what]} == {}, f"calls of bpf(2), at most {most}"


def forwarders(hook: str, count: int) -> str:
    """In a row, from port a of the first one."""
    each = (
        f"  - name: f{number}\n    service-name: simpleforwarder\n    type: {hook}\n    ports:\n"
        + (f"    - {{name: a, peer: 'f{number - 1}:b'}}\n" if number else "    - {name: a}\n")
        + (f"    - {{name: b, peer: 'f{number + 1}:a'}}\n" if number < count - 1 else "    - {name: b}\n")
        + "    actions: [{inport: a, action: FORWARD, outport: b}]\n"
        for number in range(count)
    )
    return HEAD + "".join(each)


@pytest.mark.parametrize("hook", FIGURES["instructions"])
def test_a_hop_has_no_more_instructions(hook: str, own_root: str) -> None:
    def loaded(count: int, pin: str) -> int:
        applied(forwarders(hook, count))
        program = Reader(Bpffs(own_root)).program(pin)
        assert program is not None
        applied(forwarders(hook, count), delete=True)
        return program.xlated // 8

    stub, alone = loaded(1, "cubes/f0/in/0_a"), loaded(1, "cubes/f0/g1/ingress_0")
    linked = loaded(3, "cubes/f0/in/0_a") - loaded(2, "cubes/f0/in/0_a")
    found = {"stub": stub, "simpleforwarder": alone, "a further one in a chain": linked}
    must_be(f"instructions of a {hook} hop", FIGURES["instructions"][hook], found)


FIREWALL = (
    f"{HEAD}  - name: c\n    service-name: firewall\n    type: HOOK\n    chain:\n"
    "    - {name: INGRESS, rule: [{id: 1, src: 10.0.0.0/8, action: REJECT}, {id: 2, src: 'fd00::/8'}]}\n"
    "    - {name: EGRESS, rule: [{id: 1, src: 10.0.0.0/8, action: REJECT}, {id: 2, src: 'fd00::/8'}]}\n"
)


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_the_largest_program_leaves_room_for_other_compilers_and_kernels(hook: str, own_root: str) -> None:
    done = applied(FIREWALL.replace("HOOK", hook))
    stack = max(stack_of(compiled.insns) for built in done.session.built.values() for compiled in built.objects.values())
    walked = max(verified(Bpffs(own_root), pin) for pin in (f"cubes/c/g1/{way}_{place}" for way in ("ingress", "egress") for place in range(6)))
    applied(FIREWALL.replace("HOOK", hook), delete=True)
    most = FIGURES["largest_program"]["firewall"]
    assert (stack <= most["stack"], walked <= most["walked"]) == (True, True), f"at most {most}, and is {stack} and {walked} now"


def verified(root: Bpffs, pin: str) -> int:
    """How many instructions the verifier walked."""
    fd = root.open(pin)
    try:
        said = Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)
    return next(int(line.split()[1]) for line in said.splitlines() if line.startswith("verified_insns"))


def layer_2_and_3(hook: str) -> str:
    return (f"{HEAD}  - {{name: r, service-name: router, type: {hook}, ports: [{{name: a, ip: 10.1.0.1/24, ipv6: 'fd00::1/64'}}]}}\n"
            f"  - {{name: b, service-name: simplebridge, type: {hook}, ports: [{{name: a}}, {{name: b}}]}}\n")  # fmt: skip


@pytest.mark.parametrize("hook", FIGURES["program_instructions"])
def test_a_router_and_a_bridge_have_no_more_instructions(hook: str, own_root: str) -> None:
    applied(layer_2_and_3(hook))
    root = Bpffs(own_root)
    found = {}
    for cube, programs in (("r", 4), ("b", 1)):
        for number in range(programs):
            program = Reader(root).program(f"cubes/{cube}/g1/ingress_{number}")
            assert program is not None
            found[f"{cube}{number}"] = program.xlated // 8
    applied(layer_2_and_3(hook), delete=True)
    must_be(f"instructions under {hook}", FIGURES["program_instructions"][hook], found)


WAYS = {"known": (0, 1), "first": (0, 1, 9, 2, 4)}
"""The firewall's programs that a packet of TCP over IPv4 passes: of a connection that is known, and the first of one."""


@pytest.mark.parametrize("hook", FIGURES["firewall_instructions"])
def test_a_known_connection_and_a_first_packet_pass_no_more_instructions(hook: str, own_root: str) -> None:
    applied(FIREWALL.replace("HOOK", hook))
    sizes = {number: Reader(Bpffs(own_root)).program(f"cubes/c/g1/ingress_{number}").xlated // 8 for number in WAYS["first"]}
    applied(FIREWALL.replace("HOOK", hook), delete=True)
    found = {way: sum(sizes[number] for number in programs) for way, programs in WAYS.items()}
    must_be(f"instructions of a firewall's programs under {hook}", FIGURES["firewall_instructions"][hook], found)


def test_a_command_imports_what_it_needs(tmp_path: Path) -> None:
    plain, edited = tmp_path / "plain.yaml", tmp_path / "edited.yaml"
    plain.write_text(hellos(3))
    edited.write_text(hellos(3, "DROP"))
    applied(hellos(3))
    commands = (["--version"], ["validate", plain], ["plan", plain], ["apply", plain], ["apply", edited], ["show"], ["drift"])
    found = {what: imported(list(map(str, command))) for what, command in zip(FIGURES["modules"], commands, strict=True)}
    applied(hellos(3), delete=True)
    assert {what: modules & set(HEAVY) for what, modules in found.items() if modules & set(HEAVY)} == {}
    more = {what: len(modules) for what, modules in found.items() if len(modules) > FIGURES["modules"][what]}
    must_be("modules imported, at most", {what: FIGURES["modules"][what] for what in more}, more)


def imported(command: list[str]) -> set[str]:
    pcn = [sys.executable, "-X", "importtime", str(Path(sys.executable).parent / "pcn")]
    done = subprocess.run([*pcn, *command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 2), done.stderr[-2000:]
    return {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
