"""Clang's and the verifier's words, turned into places that people know. Logs are as Linux 6.18 and clang 14 wrote them."""
from __future__ import annotations

from dataclasses import replace

from reconciler.compiler import Line, Object, verifier_report
from reconciler.compiler.prepare import Prepared, prepare
from reconciler.compiler.report import diagnostics
from reconciler.compiler.sources import Source, Sources

OBJECT = replace(Object("", "s.c", "XDP", "ingress", b"", (), {}, {}, 0, (), {}, "GPL", "bcc-1"), lines=(
    Line(0, "pcn.h", 12, "u32 k = 0;"), Line(8, "s.c", 5, "return *value;")))


def unit() -> Prepared:
    return prepare(Sources(Source("pcn.h", "/bpf/pcn.h", "one\ntwo"), Source("s.c", "/srv/s.c", "  foo = 3;\nbar(1);\n"), {}), {})


def test_an_error_is_shown_at_its_real_place_with_its_caret():
    said = "/virtual/main.c:3:3: error: use of undeclared identifier 'foo'\n  foo = 3;\n  ^\n1 error generated.\n"
    assert diagnostics(said, unit()) == (
        "/srv/s.c:1:3: error: use of undeclared identifier 'foo'\n     1 |   foo = 3;\n       |   ^")


def test_the_gutter_that_newer_clangs_draw_is_no_part_of_the_line():
    said = "/virtual/main.c:3:3: error: use of undeclared identifier 'foo'\n    3 |   foo = 3;\n      |   ^\n1 error generated.\n"
    assert diagnostics(said, unit()) == (
        "/srv/s.c:1:3: error: use of undeclared identifier 'foo'\n     1 |   foo = 3;\n       |   ^")


def test_a_column_of_a_rewritten_line_is_left_out():
    said = "/virtual/main.c:4:9: error: no\n({ bpf_bar(1); });\n        ^\n"
    assert diagnostics(said, unit()) == "/srv/s.c:2: error: no\n     2 | bar(1);"


def test_warnings_are_left_out_and_notes_stay_with_their_error():
    said = ("/virtual/main.c:1:1: warning: w\none\n^\n/virtual/main.c:2:1: note: of the warning\ntwo\n^\n"
            "/virtual/main.c:2:1: error: e\ntwo\n^\n/virtual/main.c:1:1: note: n\none\n^\n1 warning and 1 error generated.\n")
    assert diagnostics(said, unit()).splitlines()[::3] == ["/bpf/pcn.h:2:1: error: e", "/bpf/pcn.h:1:1: note: n"]


def test_an_error_that_clang_repeats_is_shown_once():
    assert diagnostics("/virtual/main.c:1:1: error: e\none\n^\n" * 9, unit()).count("error: e") == 1


def test_only_so_many_errors_are_shown():
    said = "".join(f"/virtual/main.c:1:1: error: e{i}\none\n^\n" for i in range(30))
    assert diagnostics(said, unit()).endswith("and 10 more")


def test_an_error_in_a_kernel_header_keeps_its_place():
    said = "include/uapi/linux/x.h:9:14: error: no\n  MSG,\n  ^\n"
    assert diagnostics(said, unit()) == said.strip()


def test_words_without_a_place_are_given_the_service():
    said = "error: /virtual/main.c:0:0: in function pcn_main: Looks like the BPF stack limit is exceeded.\n\n"
    assert diagnostics(said, unit()) == "error: /srv/s.c: in function pcn_main: Looks like the BPF stack limit is exceeded."
    assert diagnostics("", unit()) == "/srv/s.c: the compiler gave up without a word"


LOG = """\
0: R1=ctx() R10=fp0
0: (b7) r6 = 0                        ; R6_w=0
8: (79) r0 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
verification time 42 usec
stack depth 8
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_a_refusal_shows_the_c_line_the_instruction_and_the_last_words():
    assert verifier_report(LOG, OBJECT) == (
        "the verifier refused s.c (XDP, ingress) at s.c:5\n"
        "     5 | return *value;\n"
        "instruction 8: r0 = *(u64 *)(r0 +0)\n"
        "R0 invalid mem access 'map_value_or_null'")


def test_an_instruction_that_is_named_in_the_last_words_is_the_one():
    report = verifier_report("8: (05) goto pc-9\nback-edge from insn 8 to 0\ninfinite loop detected at insn 0\n", OBJECT)
    assert report.startswith("the verifier refused s.c (XDP, ingress) at pcn.h:12\n    12 | u32 k = 0;\nback-edge")


def test_a_log_without_instructions_is_shown_as_it_is():
    report = verifier_report("last insn is not an exit or jmp\nprocessed 0 insns\n", OBJECT)
    assert report == "the verifier refused s.c (XDP, ingress)\nlast insn is not an exit or jmp"


def test_a_report_is_short_however_long_the_log_is():
    assert len(verifier_report("8: (79) r0 = 0\n" * 5000 + "words\n" * 5000, OBJECT).splitlines()) <= 15


def test_no_log_is_no_error():
    assert verifier_report("", OBJECT) == "the verifier refused s.c (XDP, ingress)"
