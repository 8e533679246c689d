"""Objects in a real kernel: they load from nothing but what they say of themselves, run, and shed what is constant."""
from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from reconciler.compiler import Object, Unit, compile_units, driver, verifier_report
from reconciler.compiler.sources import BPF, Source, Sources
from reconciler.errors import VerifierError
from reconciler.kernel import maps, programs
from tests.lib.bare_program import loaded, spec

FRAMEWORK = """\
#define pcn_const_ptr(o) ({ const void *_p; asm("%0 = %1 ll" : "=r"(_p) : "i"(0x70636e6300000000ULL | (o))); _p; })
#define PCN_CONST(name) (*(volatile const u32 *)pcn_const_ptr(PCN_OFFSET_##name))
#if PCN_XDP
#define CTX xdp_md
#else
#define CTX __sk_buff
#endif
"""
PACKET = bytes(64)


def build(text: str, flavour: str = "XDP") -> Object:
    sources = Sources(Source("pcn.h", "/bpf/pcn.h", FRAMEWORK), Source("s.c", "/srv/s.c", text), {})
    return driver.build([(Unit(Path("/srv/s.c"), flavour, "ingress"), sources)])[0]


GUARDED = """
struct row { u32 hits; u8 pad[4]; };
BPF_TABLE("hash", u32, struct row, rows, 16);
BPF_TABLE("percpu_array", u32, u64, total, 1);
int pcn_main(struct CTX *ctx) {
  u32 zero = 0;
  u64 *sum = total.lookup(&zero);
  if (sum)
    (*sum)++;
  if (PCN_CONST(COUNTING)) {
    u32 key = PCN_CONST(KEY);
    struct row fresh = {}, *row = rows.lookup_or_try_init(&key, &fresh);
    if (row)
      __sync_fetch_and_add(&row->hits, 1);
  }
  return PCN_CONST(VERDICT);
}
"""


@pytest.mark.parametrize("flavour", ["XDP", "TC"])
def test_a_program_runs_with_the_constants_it_was_given(flavour):
    obj = build(GUARDED, flavour)
    with loaded(obj, {"COUNTING": 1, "KEY": 7, "VERDICT": 2}) as (program, fds):
        verdict, _, _ = programs.test_run(program, PACKET, repeat=3)
        table = obj.tables["rows"]
        rows = maps.rows(fds["rows"], spec(table))
        sums = maps.rows(fds["total"], spec(obj.tables["total"]))[bytes(4)]
    assert verdict == 2
    hits = table.value.field("hits")
    counted = {key: row[hits.offset:hits.offset + hits.size] for key, row in rows.items()}
    assert counted == {struct.pack("<I", 7): struct.pack("<I", 3)}
    assert sum(struct.unpack(f"<{len(sums) // 8}Q", sums)) == 3


@pytest.mark.parametrize("flavour", ["XDP", "TC"])
def test_a_branch_that_a_constant_rules_out_is_not_in_the_loaded_program(flavour):
    obj = build(GUARDED, flavour)
    sizes = {}
    for counting in (0, 1):
        with loaded(obj, {"COUNTING": counting, "KEY": 7, "VERDICT": 2}) as (program, _):
            sizes[counting] = programs.info(program).xlated
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize("flavour", ["XDP", "TC"])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_the_framework_itself_loads_around_a_service_of_one_line(flavour, direction, tmp_path):
    source = tmp_path / "s.c"
    source.write_text("static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) { return RX_DROP; }\n")
    (obj,) = compile_units([Unit(source, flavour, direction)])
    with loaded(obj, dict.fromkeys(obj.constants, 0)) as (program, _):
        assert programs.test_run(program, PACKET)[0] == (1 if flavour == "XDP" else 2)


def test_tables_of_every_kind_can_be_made_from_what_an_object_says():
    obj = build("""
        struct lpm { u32 prefixlen; u32 ip; };
        BPF_F_TABLE("lpm_trie", struct lpm, u32, trie, 128, BPF_F_NO_PREALLOC);
        BPF_TABLE("lru_percpu_hash", u32, u64, lru, 1024);
        BPF_RINGBUF_OUTPUT(ring, 1);
        BPF_DEVMAP(devices, 8);
        BPF_TABLE("prog", u32, u32, calls, 4);
        int pcn_main(struct CTX *ctx) {
          struct lpm key = {.prefixlen = 32, .ip = 1};
          u32 zero = 0, *found = trie.lookup(&key);
          u64 *seen = lru.lookup(&zero), *record = ring.ringbuf_reserve(8);
          if (record) {
            *record = found ? *found : 1;
            ring.ringbuf_submit(record, 0);
          }
          if (seen)
            return devices.redirect_map(0, 0);
          calls.call(ctx, 3);
          return 2;
        }
        """)
    with loaded(obj, {}) as (program, _):
        assert programs.test_run(program, PACKET)[0] == 2


def test_a_refusal_of_the_verifier_is_shown_with_the_c_line():
    obj = build('BPF_TABLE("hash", u32, u64, t, 1);\n'
                "int pcn_main(struct CTX *ctx) {\n"
                "  u32 zero = 0;\n"
                "  u64 *value = t.lookup(&zero);\n"
                "  return *value;\n"
                "}\n")
    with pytest.raises(VerifierError) as caught, loaded(obj, {}):
        pass
    report = verifier_report(caught.value.detail, obj).splitlines()
    assert report[:2] == ["the verifier refused s.c (XDP, ingress) at s.c:5", "     5 | return *value;"]
    assert report[-1] == "R0 invalid mem access 'map_value_or_null'"
    assert len(report) <= 15


def test_a_loop_without_an_end_is_shown_with_its_line():
    obj = build("int pcn_main(struct CTX *ctx) {\n  u32 last;\n  do {\n    last = bpf_get_prandom_u32();\n"
                "  } while (last != 7);\n  return last;\n}\n")
    with pytest.raises(VerifierError) as caught, loaded(obj, {}):
        pass
    report = verifier_report(caught.value.detail, obj)
    assert "at s.c:4\n" in report
    assert "infinite loop detected" in report
    assert len(report.splitlines()) <= 15


def test_packet_bytes_past_the_end_are_shown_with_their_line():
    obj = build("int pcn_main(struct CTX *ctx) {\n  u8 *data = (u8 *)(long)ctx->data;\n  return data[3];\n}\n")
    with pytest.raises(VerifierError) as caught, loaded(obj, {}):
        pass
    report = verifier_report(caught.value.detail, obj)
    assert "at s.c:3\n" in report
    assert "invalid access to packet" in report


def test_a_hit_takes_less_than_a_twentieth_of_a_compilation(tmp_path, monkeypatch):
    monkeypatch.setenv("PCN_CACHE", str(tmp_path))
    source = BPF / "pcn.h"
    unit = Unit(source.with_name("timed.c"), "TC", "ingress", text="static __always_inline int handle_rx(struct CTXTYPE *ctx, "
                "struct pkt_metadata *md) { return RX_DROP; }\n")
    began = time.perf_counter()
    first = compile_units([unit])
    compiled = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(10):
        assert compile_units([unit]) == first
    assert (time.perf_counter() - began) / 10 < compiled / 20
