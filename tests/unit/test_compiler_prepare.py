"""Sources become one translation unit: what is rewritten, what is noted, and that no line moves."""
from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from reconciler.compiler.prepare import Prepared, prepare
from reconciler.compiler.sources import BPF, Source, Sources, Unit, gather
from reconciler.errors import CompileError


def prepared(service: str, *, framework: str = "", beside: dict[str, str] | None = None, **macros: str) -> Prepared:
    files = {name: Source(name, f"/srv/{name}", text) for name, text in (beside or {}).items()}
    sources = Sources(Source("pcn.h", "/srv/pcn.h", framework), Source("s.c", "/srv/s.c", service), files)
    return prepare(sources, macros)


def body(unit: Prepared) -> list[str]:
    """The unit's lines as they are numbered: without directives that only number."""
    after = unit.text.split('#line 1 "/virtual/main.c"\n')[1]
    return [line for line in after.split("\n") if not line.startswith("#line ")]


def refused(service: str, **more: str) -> str:
    with pytest.raises(CompileError) as caught:
        prepared(service, **more)
    return str(caught.value)


# ---- lines ----------------------------------------------------------------------------------------------------------

def test_every_line_of_the_unit_is_known_by_file_and_line():
    unit = prepared('a\n#include "x.h"\nb\n', framework="f\n", beside={"x.h": "x1\nx2\n"})
    named = [(source.name, line) for source, line in unit.lines]
    assert named == [("pcn.h", 1), ("pcn.h", 2), ("s.c", 1), ("s.c", 2), ("x.h", 1), ("x.h", 2), ("x.h", 3), ("s.c", 3),
                     ("s.c", 4)]
    assert [line for line in body(unit) if line] == ["f", "a", "x1", "x2", "b"]


def test_numbers_in_the_text_are_indices_of_the_lines():
    unit = prepared("a;\nf(1,\n  2);\nb;\n/* \n */\nc;\n")
    number = 0
    for line in unit.text.split('#line 1 "/virtual/main.c"\n')[1].split("\n")[:-1]:
        if line.startswith("#line "):
            number = int(line.split()[1]) - 1
            continue
        source, at = unit.lines[number]
        assert source.text.split("\n")[at - 1] == line
        number += 1
    assert number == len(unit.lines)


def test_no_number_is_put_between_the_arguments_of_a_macro():
    assert "#line" not in prepared("f(1,\n\n  2);\n").text.split("f(1")[1].split("2)")[0]


def test_a_rewritten_call_over_several_lines_keeps_its_lines():
    unit = prepared('pcn_log(ctx, LOG_INFO, "a"\n  /* more */ "b %d"\n  , 1);\nafter;\n')
    number = zlib.crc32(b"ab %d")
    assert body(unit)[1:5] == [f"pcn_log(ctx, LOG_INFO, {number:#010x}u", "", "  , 1);", "after;"]


def test_a_format_continued_inside_a_macro_keeps_its_backslashes():
    text = '#define WARN(x) pcn_log(ctx, LOG_WARN, "a" \\\n  "b %d", x)\nint y;\n'
    lines = body(prepared(text))
    assert lines[1].endswith("\\")
    assert lines[2] == ", x)"
    assert lines[3] == "int y;"


# ---- includes -------------------------------------------------------------------------------------------------------

def test_a_file_is_included_once_even_if_files_include_each_other():
    beside = {"a.h": '#include "b.h"\nA\n', "b.h": '#pragma once\n#include "a.h"\nB\n'}
    unit = prepared('#include "a.h"\n#include "b.h"\n', beside=beside)
    assert [line for line in body(unit) if line] == ["B", "A"]


def test_the_framework_may_be_included_and_is_there_already():
    assert [line for line in body(prepared('#include "pcn.h"\nx\n', framework="F\n")) if line] == ["F", "x"]


def test_an_include_in_a_comment_is_none():
    assert '"gone.h"' in prepared('/* #include "gone.h"\n#include "gone.h" */\n').text


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "sub/x.h", "..", ".hidden"])
def test_an_include_that_leaves_the_directory_is_refused(name):
    said = refused(f'int x;\n#include "{name}"\n')
    assert said.startswith("/srv/s.c:2: error: ")
    assert "plain file name" in said


def test_a_file_that_is_not_there_is_named_with_the_line_that_asks_for_it():
    assert refused('\n#include "gone.h"\n') == '/srv/s.c:2: error: there is no gone.h beside /srv/s.c\n     2 | #include "gone.h"'


# ---- constants ------------------------------------------------------------------------------------------------------

def test_constants_of_all_files_get_offsets_in_the_order_of_their_names():
    unit = prepared("if (PCN_CONST(ZEBRA) || PCN_CONST( APE )) ;\nPCN_CONST(APE);\n", framework="#define L PCN_CONST(LOGLEVEL)\n")
    assert unit.constants == {"APE": 0, "LOGLEVEL": 4, "ZEBRA": 8}
    assert "#define PCN_OFFSET_ZEBRA 8\n" in unit.text.split('"/virtual/main.c"')[0]


def test_a_constant_in_a_comment_a_string_or_its_own_definition_is_none():
    unit = prepared('// PCN_CONST(A)\n"PCN_CONST(B)";\n', framework="#define PCN_CONST(name) name\n")
    assert unit.constants == {}


def test_a_constant_is_named_by_one_word():
    assert "name of a constant" in refused("PCN_CONST(a + b);\n")


def test_macros_are_defined_before_everything():
    assert prepared("x\n", PCN_XDP="1").text.startswith('#line 1 "<defines>"\n#define PCN_XDP 1\n')


def test_a_unit_says_its_flavour_direction_and_kind_in_macros():
    unit = Unit(Path("x.c"), "XDP", "egress", "transparent", {"N": 3})
    assert unit.macros() == {"PCN_XDP": "1", "PCN_EGRESS": "1", "PCN_TRANSPARENT": "1", "N": "3"}
    assert Unit(Path("x.c"), "TC", "ingress").macros() == {"PCN_XDP": "0", "PCN_EGRESS": "0", "PCN_TRANSPARENT": "0"}


# ---- log formats ----------------------------------------------------------------------------------------------------

def test_a_format_becomes_the_checksum_of_its_text():
    unit = prepared('pcn_log(ctx, LOG_INFO, "from %I: " "100%%\\n", ip);\n')
    number = zlib.crc32(b"from %I: 100%%\n")
    assert unit.log_formats == {number: "from %I: 100%%\n"}
    assert body(unit)[1] == f"pcn_log(ctx, LOG_INFO, {number:#010x}u, ip);"


def test_a_format_that_looks_like_code_is_left_in_one_piece():
    unit = prepared('pcn_log(ctx, LOG_INFO, "BPF_TABLE(a, b) /* x */ pcn_log(\\"");\n')
    assert list(unit.log_formats.values()) == ['BPF_TABLE(a, b) /* x */ pcn_log("']


def test_four_arguments_are_the_most():
    assert prepared('pcn_log(c, L, "%d %d %d %d", 1, 2, 3, (4, 5));\n').log_formats
    said = refused('\npcn_log(c, L, "%d %d %d %d %d",\n 1, 2, 3, 4, 5);\n')
    assert said.startswith("/srv/s.c:2: error: pcn_log takes at most 4 arguments after its format, not 5\n     2 | pcn_log(c, L")


@pytest.mark.parametrize("call", ['"%d"', '"", x', '"%02x:%llu", x', '"%%", x'])
def test_a_format_and_its_arguments_must_agree(call):
    assert "asks for" in refused(f"pcn_log(c, L, {call});\n")


def test_a_format_that_is_no_literal_is_refused_in_a_service_and_left_alone_in_the_framework():
    assert "string literal" in refused("pcn_log(c, L, text);\n")
    assert "pcn_log(c, L, text);" in prepared("", framework="pcn_log(c, L, text);\n").text


# ---- tables ---------------------------------------------------------------------------------------------------------

def test_a_shared_table_becomes_a_plain_one_and_its_namespace_is_noted():
    unit = prepared('BPF_TABLE_SHARED("hash", u32, u64, flows, 10, conntrack);\n'
                    'BPF_TABLE_SHARED("hash", u32, u64, t, 1, "n s");\n')
    assert unit.scopes == {"flows": "shared:conntrack", "t": "shared:n s"}
    assert body(unit)[1:3] == ['BPF_TABLE("hash", u32, u64, flows, 10);', 'BPF_TABLE("hash", u32, u64, t, 1);']


def test_a_public_table_becomes_a_plain_one():
    unit = prepared('BPF_TABLE_PUBLIC("array", u32, u64, counters, 4 * (2));\n')
    assert unit.scopes == {"counters": "public"}
    assert body(unit)[1] == 'BPF_TABLE("array", u32, u64, counters, 4 * (2));'


@pytest.mark.parametrize(("declaration", "scope"), [
    ('BPF_TABLE("extern", u32, u64, t, 0);', None),
    ('BPF_TABLE_PUBLIC("extern", u32, u64, t, 0);', "public"),
    ('BPF_TABLE_SHARED("extern", u32, u64, t, 0, ns);', "shared:ns"),
])
def test_an_extern_table_is_given_a_type_that_compiles_and_is_noted(declaration, scope):
    unit = prepared(declaration)
    assert unit.externs == {"t"}
    assert unit.scopes.get("t") == scope
    assert body(unit)[1] == 'BPF_TABLE("hash", u32, u64, t, 1);'


def test_tables_in_comments_strings_and_definitions_are_none():
    unit = prepared('// BPF_TABLE_PUBLIC("hash", a, b, c, 1)\nx("BPF_TABLE_PUBLIC(1)");\n',
                    framework="#define BPF_TABLE_PUBLIC(a) a\n")
    assert unit.scopes == {}
    assert 'x("BPF_TABLE_PUBLIC(1)");' in unit.text


def test_a_declaration_over_several_lines_keeps_its_lines():
    unit = prepared('BPF_TABLE_SHARED("extern",\n  u32,\n  u64, t,\n  0 /* a\n  b */, ns\n);\nafter;\n')
    assert body(unit)[7] == "after;"
    assert unit.scopes == {"t": "shared:ns"}


def test_the_inner_table_of_a_map_of_maps_is_noted():
    unit = prepared('BPF_ARRAY_OF_MAPS(a, "x", 4);\nBPF_HASH_OF_MAPS(b, u32, "y", 4);\n'
                    'BPF_TABLE("hash_of_maps$z", u32, u32, c, 4);\n')
    assert unit.inner == {"a": "x", "b": "y", "c": "z"}


@pytest.mark.parametrize(("declaration", "reason"), [
    ('BPF_TABLE_SHARED("hash", u32, u64, t, 1);', "namespace"),
    ('BPF_TABLE("hash", u32, u64, t);', "5 arguments"),
    ('BPF_TABLE_PINNED("hash", u32, u64, t, 1, "/sys/fs/bpf/x");', "pin"),
    ('BPF_TABLE("hash:/sys/fs/bpf/x", u32, u64, t, 1);', "pin"),
    ('BPF_TABLE("hash", u32, u64, pcn_mine, 1);', "framework's"),
    ('#define T(n) BPF_TABLE_PUBLIC("hash", u32, u64, n, 1)', "inside a macro"),
    ('BPF_TABLE_PUBLIC("hash", u32, u64, t, 1);\nBPF_TABLE_SHARED("hash", u32, u64, t, 1, n);', "elsewhere"),
])
def test_a_declaration_that_pcn_could_not_honour_is_refused_with_its_line(declaration, reason):
    said = refused(f"\n{declaration}\n")
    assert said.startswith(("/srv/s.c:2: error: ", "/srv/s.c:3: error: "))
    assert reason in said


# ---- gathering ------------------------------------------------------------------------------------------------------

def beside(sources: Sources) -> set[str]:
    """Names of the files that a source brings, without the framework's own."""
    return {name for name, source in sources.beside.items() if BPF not in Path(source.path).parents}


def test_files_beside_a_source_are_found_and_what_they_include_too(tmp_path):
    (tmp_path / "s.c").write_text('#include "a.h"\n#include <linux/ip.h>\n#include "../b.h"\n')
    (tmp_path / "a.h").write_bytes(b'#include "c.h"\r\nint a;\r\n')
    (tmp_path / "c.h").write_text("int c;\n")
    (tmp_path.parent / "b.h").write_text("outside\n")
    sources = gather(Unit(tmp_path / "s.c", "TC", "ingress"))
    assert beside(sources) == {"a.h", "c.h"}
    assert sources.beside["a.h"].text == '#include "c.h"\nint a;\n'
    assert sources.framework.name == "pcn.h"


def test_a_source_may_be_given_as_text(tmp_path):
    (tmp_path / "a.h").write_text("int a;\n")
    sources = gather(Unit(tmp_path / "remote.c", "TC", "ingress", text='#include "a.h"\n'))
    assert sources.service.text == '#include "a.h"\n'
    assert beside(sources) == {"a.h"}


def test_a_source_that_is_not_there_is_a_compile_error(tmp_path):
    with pytest.raises(CompileError, match=r"cannot read .*gone\.c: No such file"):
        gather(Unit(tmp_path / "gone.c", "TC", "ingress"))
