"""C that is meant to do harm while it is compiled, or to those who compile it: refused, in bounded time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from pathlib import Path

import pytest

from reconciler.compiler import Unit, compile_units, driver
from reconciler.compiler.sources import gather
from reconciler.errors import CompileError
from reconciler.service.sources import cube_sources
from tests.lib.services import rx

BOMB = "#define A0 x++;\n" + "".join(f"#define A{i} {f'A{i - 1} ' * 10}\n" for i in range(1, 12))
NESTED = "struct a0 { int x; };\n" + "".join(f"struct a{i} {{ struct a{i - 1} q[1000]; }};\n" for i in range(1, 6))
QUICK = {
    "unclosed calls": "BPF_TABLE(" * 25_000, "closed calls": "BPF_TABLE(" * 20_000 + ")" * 20_000,
    "parentheses": rx("int x = " + "(" * 50_000 + "1" + ")" * 50_000 + ";\nreturn RX_OK;"), "braces": "{" * 120_000,
    "comments": "/*" * 120_000, "quotes": '"' * 200_000, "continued lines": "\\\n" * 120_000, "itself": '#include "s.c"\n' + rx("return 0;"),
    "a password file": '#include "/etc/shadow"\n' + rx("return 0;"), "a device": "#include </dev/zero>\n" + rx("return 0;"),
    "a large table": 'BPF_TABLE("hash", u64, u64, big, 1 << 30);\n' + rx("u64 z = 0;\nbig.lookup(&z);\nreturn RX_OK;"),
    "a large type": 'struct s { char a[1ull << 40]; };\nBPF_TABLE("array", u32, struct s, t, 1);\n' + rx("u32 z = 0;\nt.lookup(&z);\nreturn 0;"),
}  # fmt: skip
SLOW = {
    "macros in macros": BOMB + rx("int x = 0;\nA10\nreturn x;"),
    "a loop to unroll": rx("u32 x = 0;\n#pragma unroll\nfor (int i = 0; i < 100000000; i++)\n  x = x * 3 + i;\nreturn x;"),
    "types in types": NESTED + 'BPF_TABLE("array", u32, struct a5, t, 1);\n' + rx("u32 z = 0;\nt.lookup(&z);\nreturn 0;"),
}  # fmt: skip


def refused(tmp_path: Path, text: str) -> str:
    unit = Unit(tmp_path / "s.c", "TC", "ingress", "transparent", {"PCN_SLOWPATH": 0}, text, "cube x, s.c")
    with pytest.raises(CompileError) as caught:
        compile_units([unit])
    assert "cube x, s.c" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("what", QUICK)
def test_it_is_refused(tmp_path: Path, what: str) -> None:
    began = time.process_time()
    said = refused(tmp_path, QUICK[what])
    assert time.process_time() - began < 10  # of this process, which reads the text before the compiler does
    assert "root:" not in said


@pytest.mark.parametrize("what", SLOW)
def test_what_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(driver, "UNIT_SECONDS", 3)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    refused(tmp_path, SLOW[what])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 8
    assert after.ru_maxrss << 10 <= driver.CHILD_BYTES


def test_the_unit_that_takes_too_long_is_named_and_others_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "UNIT_SECONDS", 3)
    texts = {"a.c": rx("return RX_OK;"), "b.c": SLOW["a loop to unroll"], "c.c": rx("return RX_DROP;")}
    units = [Unit(tmp_path / name, "TC", "ingress", "transparent", {"PCN_SLOWPATH": 0}, text, name) for name, text in texts.items()]
    found = driver.outcomes([(unit, gather(unit)) for unit in units])
    assert [isinstance(each, CompileError) for each in found] == [False, True, False]
    assert "more than 3 seconds (SIGXCPU)" in str(found[1])


def test_ten_megabytes_are_refused_before_anybody_reads_them() -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match="no C text of at most 262144 bytes"):
        cube_sources({"ingress": [("ingress.c", "int x;" * 1_700_000)]}, {"ingress": ["dynmon.c"]})
    assert time.process_time() - began < 1


def test_the_compiler_has_two_capabilities_and_no_network(tmp_path: Path) -> None:
    """As the process says of itself: the child is asked while it works on something that takes a while."""
    said: dict[str, str] = {}
    done = threading.Event()

    def look() -> None:
        while not done.is_set() and len(said) < 3:
            children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False)
            for pid in children.stdout.split():
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                    if b"bcc_child" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                        continue
                    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                    if fields["NoNewPrivs"] == "1":
                        said.update(caps=fields["CapPrm"] + fields["CapBnd"], net=os.readlink(f"/proc/{pid}/ns/net"),
                                    root=os.readlink(f"/proc/{pid}/root"))
                except (OSError, KeyError, ValueError):
                    continue

    looker = threading.Thread(target=look)
    looker.start()
    try:
        many = "".join(f"BPF_ARRAY(t{i}, u64, 1);\n" for i in range(400)) + rx(f"return RX_OK; /* {os.urandom(4).hex()} */")
        compile_units([Unit(tmp_path / "s.c", "TC", "ingress", "transparent", {"PCN_SLOWPATH": 0}, many, "s.c")])
    finally:
        done.set()
        looker.join()
    assert said["caps"] == "0000008000001000" * 2
    assert said["net"] != os.readlink("/proc/self/ns/net")
    assert said["root"] != "/"
