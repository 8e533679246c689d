"""What a source can read while root compiles it: the files beside it and the kernel's headers, and not a line of any other."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.compiler import Unit, compile_units, prepare
from reconciler.errors import CompileError

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2_is_the_password"
HANDLER = """
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  %s
  return RX_OK;
}
"""
TEXTS = {
    "by an absolute path": '#include "{0}"\n', "in angle brackets": "#include <{0}>\n",
    "by the way up": "#include <../../../../../../../../../../..{0}>\n",
    "by the way up from a directory": "#include <linux/../../../../../../../../../..{0}>\n",
    "by a macro": '#define FILE "{0}"\n#include FILE\n', "by a macro in angle brackets": "#define FILE <{0}>\n#include FILE\n",
    "as the next one": '#include_next "{0}"\n', "as an import": '#import "{0}"\n', "embedded": 'char x[] = {{\n#embed "{0}"\n}};\n',
    "with a space": '# include "{0}"\n', "with a comment": '#/* */include/* */<{0}>\n', "in pieces": '#inc\\\nlude "{0}"\n',
    "in pieces with a path": '#include \\\n"{0}"\n', "by a digraph": '%:include "{0}"\n', "by a trigraph": '??=include "{0}"\n',
    "behind a carriage return": '// a comment\r#include "{0}"\r\n', "behind a raw string": 'char *x = R"(")" "/*";\n#include "{0}" //*/\n',
    "as where lines are from": '#line 1 "{0}"\nint x = nonsense;\n', "as a line marker": '# 1 "{0}"\nint x = nonsense;\n',
    "in an assembler's words": 'asm(".include \\"{0}\\"");\n', "as an assembler's bytes": 'asm(".incbin \\"{0}\\"");\n',
    "in a pragma": '#pragma GCC dependency "{0}"\nint x = nonsense;\n', "in two directives": '#if 1 //\\\n\n#include "{0}"\n#endif\n',
}  # fmt: skip
INSIDE = ("in an assembler's words", "as an assembler's bytes")  # a function, where the program is


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "secret.h"
    path.parent.mkdir()
    path.write_text(f"{SECRET}\n{SECRET} {SECRET};\n")
    path.chmod(0o600)
    return path


def said_of(tmp_path: Path, text: str) -> str:
    """All that comes of compiling a text, printed or kept."""
    source = tmp_path / "here" / "s.c"
    source.parent.mkdir(exist_ok=True)
    source.write_text(text, newline="")
    try:
        return "".join(str(made) for made in compile_units([Unit(source, "TC", "ingress")]))
    except CompileError as error:
        return str(error)


def _text(how: str, secret: Path) -> str:
    line = TEXTS[how].format(secret)
    return HANDLER % line if how in INSIDE else line + HANDLER % ""


@pytest.mark.parametrize("how", TEXTS)
def test_no_line_of_another_file_is_shown(how: str, tmp_path: Path, secret: Path) -> None:
    said = said_of(tmp_path, _text(how, secret))
    assert SECRET not in said
    assert SECRET.encode().hex() not in said


@pytest.mark.parametrize("how", TEXTS)
def test_not_even_where_the_text_is_not_looked_through(
    how: str, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child that compiles can open no such file."""
    monkeypatch.setattr(prepare, "refuse_other_files", lambda *_: None)
    said = said_of(tmp_path, _text(how, secret))
    assert SECRET not in said
    assert SECRET.encode().hex() not in said


def test_a_symlink_beside_a_source_leads_no_further_than_its_directory(tmp_path: Path, secret: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "own.h").write_text("#define OWN 1\n")
    (here / "link.h").symlink_to("own.h")
    (here / "away.h").symlink_to(secret)
    assert SECRET not in said_of(tmp_path, '#include "away.h"\n' + HANDLER % "")
    assert "there is no away.h beside" in said_of(tmp_path, '#include "away.h"\n' + HANDLER % "")
    assert "error" not in said_of(tmp_path, '#include "link.h"\n#include <linux/if_ether.h>\n' + HANDLER % "int x = OWN;")


def test_a_source_that_is_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.c")
    with pytest.raises(CompileError, match="no regular file"):
        compile_units([Unit(tmp_path / "s.c", "TC", "ingress")])


@pytest.mark.parametrize(("text", "line"), [
    ("#include </etc/shadow>\n", 1), ("int x;\n# include <a/../b.h>\n", 2), ("#define F <x.h>\n#include F\n", 2), ("\n#import <x.h>\n", 2),
])  # fmt: skip
def test_it_is_said_where_and_why(tmp_path: Path, text: str, line: int) -> None:
    assert f"s.c:{line}: error: " in said_of(tmp_path, text)


CONFINED = """
import ctypes, json, os, socket, struct, sys
from reconciler.compiler import bcc_child
directory = sys.argv[1]
job = {"directory": directory, "headers": directory + "/headers", "binds": []}
bcc_child.confine(job)
libc = ctypes.CDLL(None, use_errno=True)
sets = ctypes.create_string_buffer(24)
assert libc.capget(struct.pack("=Ii", 0x20080522, 0), sets) == 0
words = struct.unpack("=6I", sets.raw)
found = {"effective": words[0] | words[3] << 32, "permitted": words[1] | words[4] << 32, "inheritable": words[2] | words[5] << 32}
found["bounding"] = sum(1 << number for number in range(64) if libc.prctl(23, number, 0, 0, 0) == 1)
found["root"], found["netdevs"] = sorted(os.listdir("/")), [name for _, name in socket.if_nameindex()]
for what, path in (("headers", "/headers/new"), ("own", "/new")):
    try:
        open(path, "w").close()
        found[what] = "written"
    except OSError as error:
        found[what] = error.strerror
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    try:
        sock.connect(("192.0.2.1", 9))
        found["network"] = "there"
    except OSError as error:
        found["network"] = error.strerror
print(json.dumps(found))
"""


def test_what_compiles_has_bpf_and_net_admin_no_network_and_headers_that_it_can_only_read(tmp_path: Path) -> None:
    (tmp_path / "headers").mkdir()
    (tmp_path / "headers" / "a.h").write_text("\n")
    done = subprocess.run([sys.executable, "-c", CONFINED, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout)
    wanted = 1 << 12 | 1 << 39  # CAP_NET_ADMIN, CAP_BPF
    assert (found["effective"], found["permitted"], found["inheritable"], found["bounding"]) == (wanted, wanted, 0, wanted)
    assert found["root"] == ["headers"], "no file of the host's is there"
    assert (found["headers"], found["own"]) == ("Read-only file system", "written")
    assert set(found["netdevs"]) <= {"lo"}
    assert found["network"] == "Network is unreachable"
    assert not (tmp_path / "headers" / "new").exists()
