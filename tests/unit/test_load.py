"""Files, directories and standard input, and what cannot be read."""
from __future__ import annotations

import io
import os

import pytest

from reconciler.document import load as loading
from reconciler.document.load import load
from reconciler.errors import DocumentError, Position, UsageError


def write(directory, **files):
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)


def refused(*args, **kwargs):
    with pytest.raises(DocumentError) as caught:
        load(*args, **kwargs)
    (problem,) = caught.value.problems
    return problem


def test_a_directory_is_its_yaml_and_json_files_in_order(tmp_path):
    write(tmp_path, b_yml="b: 1", a_yaml="a: 1", c_json='{"c": 1}', readme_md="# no")
    (tmp_path / ".hidden.yaml").write_text("h: 1")
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", d_yaml="d: 1")
    assert [document.data for document in load([str(tmp_path)])] == [{"a": 1}, {"b": 1}, {"c": 1}]


def test_the_mounted_files_of_a_config_map_are_read_once(tmp_path):
    (tmp_path / "..data").mkdir()
    write(tmp_path / "..data", a_yaml="a: 1")
    (tmp_path / "a.yaml").symlink_to(tmp_path / "..data" / "a.yaml")
    assert [document.data for document in load([str(tmp_path)])] == [{"a": 1}]


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    write(tmp_path, a_yaml="a: 1")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    assert len(load([str(tmp_path / "a.yaml"), str(tmp_path), str(tmp_path / "b.yaml")])) == 1


def test_files_are_called_as_they_were_named(tmp_path, monkeypatch):
    write(tmp_path, a_yaml="a: 1")
    monkeypatch.chdir(tmp_path)
    assert [document.file for document in load(["./a.yaml"])] == ["./a.yaml"]


def test_a_dash_is_standard_input():
    sources = {}
    (document,) = load(["-", "-"], stdin=io.BytesIO(b"a: 1"), sources=sources)
    assert (document.data, document.file, sources) == ({"a": 1}, "<stdin>", {"<stdin>": "a: 1"})


def test_the_source_of_a_file_that_is_refused_is_kept_for_the_excerpt(tmp_path):
    write(tmp_path, a_yaml="a: [")
    sources = {}
    refused([str(tmp_path / "a.yaml")], sources=sources)
    assert sources == {str(tmp_path / "a.yaml"): "a: ["}


def test_a_pipe_can_be_a_file():
    reading, writing = os.pipe()
    os.write(writing, b"a: 1")
    os.close(writing)
    assert load([f"/dev/fd/{reading}"])[0].data == {"a": 1}
    os.close(reading)


@pytest.mark.parametrize(("paths", "words"), [
    (["/no/such/file.yaml"], "cannot read /no/such/file.yaml: No such file or directory"),
    (["-"], "there is no standard input to read"),
])
def test_what_cannot_be_read_is_a_wrong_command_line(paths, words):
    with pytest.raises(UsageError, match=words):
        load(paths)


def test_a_directory_without_documents_is_a_wrong_command_line(tmp_path):
    with pytest.raises(UsageError, match="there is no"):
        load([str(tmp_path)])


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_an_error(tmp_path, text):
    write(tmp_path, a_yaml=text)
    problem = refused([str(tmp_path / "a.yaml")])
    assert (problem.where.line, problem.where.column, problem.message) == (1, 1, "there is no document in this file")


def test_empty_documents_beside_others_do_not_count(tmp_path):
    write(tmp_path, a_yaml="---\na: 1\n---\n---\nb: 2\n---\n")
    documents = load([str(tmp_path / "a.yaml")])
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert [document.position(("b",)).line for document in documents[1:]] == [5]


def test_the_problems_of_all_files_are_told(tmp_path):
    write(tmp_path, a_yaml="a: [", b_yaml="", c_yaml="c: 1")
    with pytest.raises(DocumentError) as caught:
        load([str(tmp_path)])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(("data", "line", "column", "byte"), [
    (b"a: b\nc: \xff\n", 2, 4, "0xff"),
    ("é: ".encode() + b"\xe9", 1, 4, "0xe9"),
    (b"\xff\xfea\x00", 1, 1, "0xff"),
])
def test_text_that_is_not_utf_8_is_shown_to_the_byte(tmp_path, data, line, column, byte):
    file = tmp_path / "a.yaml"
    file.write_bytes(data)
    problem = refused([str(file)])
    assert problem.where == Position(str(file), line, column)
    assert problem.message == f"not UTF-8: byte {byte} cannot be here"


def test_a_byte_order_mark_is_no_character(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1")
    (document,) = load([str(file)])
    assert document.data == {"a": 1}
    assert document.position(("a",), key=True) == Position(str(file), 1, 1)


def test_a_file_that_is_too_big_is_not_even_opened_to_its_end(tmp_path):
    file = tmp_path / "a.yaml"
    with file.open("wb") as stream:
        stream.truncate(150 * 1024 * 1024)
    problem = refused([str(file)])
    assert problem.message == "the file has 150.0 MiB; the limit is 128 MiB a file"


def test_an_endless_pipe_is_cut_at_the_limit(monkeypatch):
    monkeypatch.setattr(loading, "MAX_BYTES", 1024 * 1024)

    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            self.taken += size
            return b"x" * size

    endless = Endless()
    assert refused(["-"], stdin=endless).message == "the file has more than 1 MiB; the limit is 1 MiB a file"
    assert endless.taken == 1024 * 1024 + 1
