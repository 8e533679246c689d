"""C through BCC to objects: what the compiler understands of C, and what it says of C that is wrong."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from reconciler.compiler import Object, Unit, cache, compile_units, driver, toolchain
from reconciler.compiler.sources import BPF, Source, Sources
from reconciler.errors import CompileError

FRAMEWORK = """\
#define pcn_const_ptr(o) ({ const void *_p; asm("%0 = %1 ll" : "=r"(_p) : "i"(0x70636e6300000000ULL | (o))); _p; })
#define PCN_CONST(name) (*(volatile const u32 *)pcn_const_ptr(PCN_OFFSET_##name))
"""
MAIN = "int pcn_main(struct xdp_md *ctx) { return 2; }\n"
HANDLER = "static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) { return RX_DROP; }\n"


def unit(text: str, **beside: str) -> tuple[Unit, Sources]:
    files = {f"{name}.h": Source(f"{name}.h", f"/srv/{name}.h", content) for name, content in beside.items()}
    sources = Sources(Source("pcn.h", "/bpf/pcn.h", FRAMEWORK), Source("s.c", "/srv/s.c", text), files)
    return Unit(Path("/srv/s.c"), "XDP", "ingress"), sources


def build(text: str, **beside: str) -> Object:
    return driver.build([unit(text, **beside)])[0]


def refused(text: str, **beside: str) -> str:
    with pytest.raises(CompileError) as caught:
        build(text, **beside)
    return str(caught.value)


# ---- tables ---------------------------------------------------------------------------------------------------------

def test_every_kind_of_table_is_told_as_the_kernel_knows_it():
    tables = build("""
        struct lpm { u32 prefixlen; __be32 ip; };
        BPF_F_TABLE("lpm_trie", struct lpm, u32, trie, 128, BPF_F_NO_PREALLOC);
        BPF_TABLE("percpu_array", u32, u64, percpu, 4);
        BPF_TABLE("lru_hash", u32, u64, lru, 1024);
        BPF_RINGBUF_OUTPUT(ring, 8);
        BPF_DEVMAP(devices, 8);
        BPF_TABLE("array", u32, u64, inner, 16);
        BPF_ARRAY_OF_MAPS(outer, "inner", 4);
        BPF_TABLE("prog", u32, u32, calls, 32);
        BPF_TABLE_SHARED("hash", u32, u64, together, 9, flows);
        BPF_TABLE_PUBLIC("hash", u32, u64, open, 9);
        BPF_TABLE("extern", u32, struct lpm, far, 0);
        """ + MAIN).tables
    told = {t.name: (t.type_name, t.key_size, t.value_size, t.max_entries, t.flags, t.scope) for t in tables.values()}
    assert told == {
        "trie": ("lpm_trie", 8, 4, 128, 1, "private"), "percpu": ("percpu_array", 4, 8, 4, 0, "private"),
        "lru": ("lru_hash", 4, 8, 1024, 0, "private"), "devices": ("devmap", 4, 4, 8, 0, "private"),
        "ring": ("ringbuf", 0, 0, 8 * os.sysconf("SC_PAGE_SIZE"), 0, "private"),
        "inner": ("array", 4, 8, 16, 0, "private"), "outer": ("array_of_maps", 4, 4, 4, 0, "private"),
        "calls": ("prog", 4, 4, 32, 0, "private"), "together": ("hash", 4, 8, 9, 0, "shared:flows"),
        "open": ("hash", 4, 8, 9, 0, "public"), "far": ("extern", 4, 8, 0, 0, "private")}
    assert tables["outer"].inner == "inner"
    assert tables["far"].extern


STRUCTS = """
    struct in { u8 a; u32 b; };
    struct k {
      u8 mac[6]; u16 vlan; u32 ip[4]; struct in one; struct in two[2]; union { u32 x; u8 y[4]; } u; bool flag; char s[5];
      s64 big; struct { u8 p; u32 q; }; union { u64 w; u16 h; }; struct in *ptr; unsigned __int128 wide; __be16 last;
    };
    BPF_TABLE("hash", struct k, struct in, t, 8);
"""


def test_the_compiler_agrees_with_every_offset_and_size():
    key = build(STRUCTS + MAIN).tables["t"].key
    assert len(key.fields) == 16
    claims = [f'_Static_assert(offsetof(struct k, {f.name}) == {f.offset}, "{f.name}");\n'
              f'_Static_assert(sizeof(((struct k *)0)->{f.name}) == {f.size}, "{f.name}");\n' for f in key.fields]
    build(STRUCTS + "".join(claims) + MAIN)
    assert "big" in refused(STRUCTS + '_Static_assert(offsetof(struct k, big) == 1, "big");\n' + MAIN)


def test_a_type_that_bcc_describes_wrongly_is_bytes_of_the_right_size():
    tables = build('BPF_TABLE("array", u32, struct { u8 m[2][3]; u16 x; }, a, 1);\n'
                   'BPF_TABLE("array", u32, struct { u32 x:3; u32 y; }, b, 1);\n' + MAIN).tables
    assert [(t.value.kind, t.value.size, t.value.fields) for t in tables.values()] == [("bytes", 8, ()), ("bytes", 8, ())]


# ---- instructions and lines -----------------------------------------------------------------------------------------

PROGRAM = textwrap.dedent("""\
    #include "more.h"
    BPF_TABLE("array", u32, u64, counts,
              4);
    BPF_TABLE("prog", u32, u32, calls, 4);
    static int count(u32 index) {
      u64 *value = counts.lookup(
          &index);
      if (!value)
        return 1;
      (*value)++;
      return 0;
    }
    int pcn_main(struct xdp_md *ctx) {
      if (count(
              PCN_CONST(ROW)))
        return 0;
      calls.call(ctx,
                 more());
      return PCN_CONST(VERDICT);
    }
    """)
MORE = "\nstatic u32 more(void) {\n  return bpf_get_prandom_u32();\n}\n"


def test_instructions_name_their_tables_and_constants():
    found = build(PROGRAM, more=MORE)
    assert {(r.kind, r.symbol) for r in found.relocations} == {
        ("map", "counts"), ("map", "calls"), ("const", "ROW"), ("const", "VERDICT")}
    for relocation in found.relocations:
        code, registers = found.insns[8 * relocation.index:8 * relocation.index + 2]
        assert (code, registers >> 4) == (0x18, 1 if relocation.kind == "map" else 2)


def test_an_instruction_knows_its_line_however_bcc_has_moved_it():
    found = build(PROGRAM, more=MORE)

    def line(symbol: str) -> tuple[str, int]:
        at = found.line_of(next(r.index for r in found.relocations if r.symbol == symbol))
        assert at is not None
        return at.file, at.line

    assert line("counts") == ("s.c", 6)
    assert line("ROW") in {("s.c", 14), ("s.c", 15)}
    assert line("calls") == ("s.c", 17)
    assert line("VERDICT") == ("s.c", 19)
    assert ("more.h", 3, "return bpf_get_prandom_u32();") in {(at.file, at.line, at.text) for at in found.lines}


def test_the_same_source_gives_the_same_digest_twice():
    assert build(PROGRAM, more=MORE).digest == build(PROGRAM, more=MORE).digest


# ---- errors ---------------------------------------------------------------------------------------------------------

def test_an_error_is_at_its_real_line_after_macros_and_included_files():
    text = '#include "more.h"\n#define ONE \\\n  1\nint pcn_main(struct xdp_md *ctx) {\n  return nothing;\n}\n'
    said = refused(text, more=MORE)
    assert said == ("/srv/s.c:5:10: error: use of undeclared identifier 'nothing'\n"
                    "     5 |   return nothing;\n       |          ^")


def test_an_error_in_an_included_file_names_that_file():
    assert refused('#include "more.h"\n' + MAIN, more="\nint x = y;\n").startswith("/srv/more.h:2:9: error: ")


def test_a_function_that_is_not_declared_is_an_error_and_no_riddle_of_the_verifier():
    assert re.search(r"implicit declaration|undeclared function", refused("int pcn_main(struct xdp_md *ctx) { return bpf_no_such(1); }\n"))


def test_too_much_stack_ends_llvm_but_not_its_message():
    wasteful = "int pcn_main(struct xdp_md *ctx) { volatile char b[700]; for (int i = 0; i < 700; i++) b[i] = i; return b[7]; }\n"
    with pytest.raises(CompileError, match=r"/srv/s\.c.*stack limit"):
        driver.build([unit(wasteful), unit(MAIN), unit(MAIN)])


def test_a_table_that_the_kernel_refuses_is_named():
    assert "t, error: Invalid argument" in refused('BPF_TABLE("array", u64, u64, t, 1);\n' + MAIN)


def test_a_global_variable_is_refused_at_its_use():
    said = refused("static const u32 powers[] = {1, 2, 4, 8, 9, 7, 6, 5, 3};\nint pcn_main(struct xdp_md *ctx) {\n"
                   "  return powers[ctx->ingress_ifindex & 7];\n}\n")
    assert said.startswith("/srv/s.c:3: error: global variables")


def test_a_function_that_is_not_inlined_is_refused_at_its_call():
    said = refused("static __attribute__((noinline)) int f(u32 x) { return x * bpf_get_prandom_u32(); }\n"
                   "int pcn_main(struct xdp_md *ctx) {\n  return f(ctx->ingress_ifindex) + f(3);\n}\n")
    assert said.startswith("/srv/s.c:3: error: this calls a function")


def test_a_library_that_is_not_bcc_is_named(monkeypatch):
    monkeypatch.setattr(toolchain, "library", lambda: Path("/nowhere/libbcc.so.0"))
    said = refused(MAIN).splitlines()
    assert said == ["s.c (XDP, ingress) was not compiled: the compiler's process ended early",
                    "OSError: /nowhere/libbcc.so.0: cannot open shared object file: No such file or directory"]


def test_all_units_that_fail_are_reported_at_once():
    with pytest.raises(CompileError) as caught:
        driver.build([unit("int a = b;\n" + MAIN), unit(MAIN), unit("int c = d;\n" + MAIN)])
    assert [line for line in str(caught.value).splitlines() if "error" in line] == [
        "/srv/s.c:1:9: error: use of undeclared identifier 'b'", "/srv/s.c:1:9: error: use of undeclared identifier 'd'"]


# ---- the compiler as a guest of this machine ------------------------------------------------------------------------

HEADERS = ["errno", "icmp", "icmpv6", "if_arp", "if_ether", "if_link", "if_packet", "if_tunnel", "if_vlan", "igmp", "in", "in6",
           "ip", "ipv6", "mpls", "pkt_cls", "pkt_sched", "seg6", "tcp", "types", "udp", "bpf"]


@pytest.mark.parametrize("prefix", ["linux", "uapi/linux"])
def test_network_headers_compile_on_a_machine_without_kernel_sources_in_either_order(prefix):
    includes = [f"#include <{prefix}/{name}.h>\n" for name in HEADERS]
    use = ("int pcn_main(struct xdp_md *ctx) { return ntohs(ctx->ingress_ifindex) + htonl(ctx->rx_queue_index) + "
           "cpu_to_be64(ctx->ingress_ifindex) + (htons(ETH_P_IP) == 8); }\n")
    driver.build([unit("".join(order) + use) for order in (includes, includes[::-1])])


def test_compiling_leaves_no_process_no_directory_and_no_changed_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # others compile at the same time
    made, here = [], os.getcwd()
    monkeypatch.setattr(os, "mkdir", lambda *given, really=os.mkdir: made.append(str(given[0])) or really(*given))
    build(MAIN)
    refused("int a = b;\n")
    assert [path for path in made if path.startswith(f"{tmp_path}/pcn-compile")], "then this looks in the wrong place"
    assert os.listdir(tmp_path) == []
    assert os.getcwd() == here
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_progress_counts_to_the_end():
    told: list[tuple[int, int, str]] = []
    driver.build([unit(MAIN)] * 3, lambda *call: told.append(call))
    assert told == [(i, 3, "s.c (XDP, ingress)") for i in (1, 2, 3)]


def test_a_hit_starts_no_process_and_loads_no_compiler(tmp_path):
    source = tmp_path / "s.c"
    source.write_text(HANDLER)
    first = compile_units([Unit(source, "TC", "ingress")])
    probe = textwrap.dedent("""
        import sys
        from pathlib import Path
        from reconciler.compiler import Unit, compile_units
        found = compile_units([Unit(Path(sys.argv[1]), "TC", "ingress")])
        loaded = open("/proc/self/maps").read()
        print(found[0].digest, "bcc" in sys.modules, "subprocess" in sys.modules, "libbcc" in loaded, "libLLVM" in loaded)
        """)
    command = [sys.executable, "-c", probe, str(source)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=BPF.parent)
    assert answer.stdout.split() == [first[0].digest, "False", "False", "False", "False"]


def test_the_same_unit_twice_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PCN_CACHE", str(tmp_path))
    source = tmp_path / "s.c"
    source.write_text(HANDLER)
    told: list[int] = []
    one, two, other = compile_units([Unit(source, "TC", direction) for direction in ("ingress", "ingress", "egress")],
                                    progress=lambda _done, total, _name: told.append(total))
    assert told == [2, 2]
    assert one == two != other
    assert len(list(cache.directory().glob("*.json"))) == 2


def test_an_ordinary_user_is_told_that_compiling_takes_root():
    probe = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from reconciler.compiler import driver, Unit
        from reconciler.compiler.sources import Source, Sources
        from reconciler.errors import NotPermitted
        os.setgid(65534), os.setuid(65534)
        text = Source("s.c", "/srv/s.c", sys.stdin.read())
        try:
            driver.build([(Unit(Path("/srv/s.c"), "XDP", "ingress"), Sources(Source("pcn.h", "/p", ""), text, {}))])
        except NotPermitted as error:
            print(error.exit_code, error)
        """)
    text, command = 'BPF_TABLE("array", u32, u64, t, 1);\n' + MAIN, [sys.executable, "-c", probe]
    answer = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=BPF.parent)
    assert answer.stdout.startswith("77 cannot compile s.c (XDP, ingress): Operation not permitted (EPERM)\n")


def test_the_compiler_of_this_machine_is_known_by_its_version():
    assert (toolchain.available() or "").startswith("bcc-0.")
    assert toolchain.missing() == ""
