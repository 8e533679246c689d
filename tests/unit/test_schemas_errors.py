"""A model that makes no sense is refused with file, line and a sentence; all that is wrong is told at once."""
from __future__ import annotations

from pathlib import Path

import pytest

from schemas.generate.__main__ import main

HEAD = """module toy { yang-version 1.1; namespace "http://example.org/toy"; prefix "toy";
  import polycube-base { prefix "base"; } import polycube-pcn { prefix "pcn"; } import pcn-inet-types { prefix "inet"; }
  import polycube-standard-base { prefix "std"; } import polycube-transparent-base { prefix "tr"; }
"""
STANDARD = HEAD + 'base:service-name "toy"; uses std:standard-base-yang-module;\n'
TRANSPARENT = HEAD + 'base:service-name "toy"; uses tr:transparent-base-yang-module;\n'
OWNER = 'list o { key "k"; pcn:table "o"; leaf k { type uint8; pcn:key "k"; } } '


def complaints(directory: Path, capsys: pytest.CaptureFixture[str], text: str) -> list[str]:
    """The sentences about the model `text`, each without the path of its directory."""
    (directory / "toy.yang").write_text(text)
    assert main(["--services", str(directory)]) == 2
    assert list(directory.glob("*.json")) == []
    return capsys.readouterr().err.replace(f"{directory}/", "").splitlines()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('leaf a { type string; pcn:table "t"; pcn:value ""; }',
         "toy.yang:5: nothing says how 'a' (a string) becomes bytes: it needs a pcn:encoding"),
        ('leaf a { type uint8; pcn:table "t"; pcn:value ""; pcn:encoding "mac"; }',
         "toy.yang:5: the encoding 'mac' does not suit 'a', a uint8"),
        ('leaf a { type uint8; pcn:table "t"; pcn:value ""; pcn:encoding "hex"; }',
         "toy.yang:5: pcn:encoding 'hex' is not one of uint, be, bool, enum, port, ipv4, ip, mac, prefix4, prefix, age"),
        ('leaf a { type int8; pcn:const "A"; }', "toy.yang:5: 'a' can be negative, which no encoding can write"),
        ('leaf a { type uint8; pcn:encoding "uint"; }',
         "toy.yang:5: 'a' has a pcn:encoding, but no pcn:key, pcn:value or pcn:const: it never becomes bytes"),
        ('leaf a { type uint32; pcn:table "t"; pcn:value ""; pcn:encoding "age"; }',
         "toy.yang:5: 'a' is configuration: the encoding 'age' is for what the programs have seen (config false)"),
        ('leaf a { type uint8; pcn:value "a"; }',
         "toy.yang:5: 'a' has a pcn:value, but there is no pcn:table around it"),
        ('container c { pcn:table "t"; list l { key "k"; leaf k { type uint8; } leaf a { type uint8; pcn:value "a"; } } }',
         "toy.yang:5: 'a' has a pcn:value, but there is no pcn:table around it"),
        ('list l { key "k"; leaf k { type uint8; } leaf a { type uint8; pcn:table "t"; pcn:value ""; } }',
         "toy.yang:5: 'a' would be the row with key 0 of 't' for every entry of 'l'"),
        ('leaf a { type uint8; pcn:table "t"; pcn:key ""; }', "toy.yang:5: pcn:key is for the keys of a list, and 'a' is none"),
        ('list l { key "k"; leaf k { type uint8; pcn:key "k"; } }',
         "toy.yang:5: 'k' has a pcn:key, but neither its list 'l' nor a list in it has a pcn:table"),
        ('list l { key "k"; pcn:table "t"; leaf k { type uint8; } }',
         "toy.yang:5: the rows of 't' are the entries of 'l', but its key 'k' has no pcn:key"),
        ('list l { key "k j"; pcn:table "t"; leaf k { type uint8; pcn:key ""; } leaf j { type uint8; pcn:key "j"; } }',
         "toy.yang:5: 't' has more than one key, so pcn:key '' (the whole key) cannot be one of them"),
        ('container c { pcn:table "t"; leaf a { type uint8; pcn:value "x"; } leaf b { type uint8; pcn:value "x"; } }',
         "toy.yang:5: the field 'x' of 't' is taken twice"),
        ('container c { pcn:table "t"; leaf a { type uint8; pcn:value ""; } leaf b { type uint8; pcn:value "x"; } }',
         "toy.yang:5: pcn:value '' is the whole value of 't', which has other fields too"),
        ('list l { config false; pcn:table "t"; leaf a { type uint8; pcn:value "a"; } }',
         "toy.yang:5: the rows of 't' are the entries of 'l', which has no key to tell them apart"),
        (OWNER + 'list l { key "k"; pcn:table "t"; pcn:owned-by "o"; leaf k { type uint8; pcn:key "k"; } }',
         "toy.yang:5: 'l' is no state in a table: pcn:owned-by is for a list with config false and a pcn:table"),
        ('list l { config false; key "k"; pcn:table "t"; pcn:owned-by "o"; leaf k { type uint8; pcn:key "k"; } }',
         "toy.yang:5: pcn:owned-by 'o' is no configured list with a pcn:table"),
        (OWNER + 'list l { config false; key "j"; pcn:table "t"; pcn:owned-by "o"; leaf j { type uint8; pcn:key "k"; } }',
         "toy.yang:5: the rows of 'l' do not tell their owner: no leaf 'k' with a pcn:key or pcn:value"),
        (OWNER + 'list l { config false; key "k"; pcn:table "t"; pcn:owned-by "o"; leaf k { type boolean; pcn:key "k"; } }',
         "toy.yang:5: 'k' becomes other bytes here than in its owner 'o'"),
        ('list l { key "k"; pcn:learned "t"; leaf k { type uint8; } }', "toy.yang:5: 'l' has a pcn:learned but no pcn:table"),
        ('list l { key "k"; pcn:table "t"; pcn:learned "t"; leaf k { type uint8; pcn:key ""; } }',
         "toy.yang:5: 't' cannot hold what is configured and what is learned: these are two tables"),
        ('leaf-list a { type uint8; pcn:table "t"; }',
         "toy.yang:5: the leaf-list 'a' needs both a pcn:table and a pcn:key, or none of them"),
        ('leaf-list a { type string; pcn:table "t"; pcn:key ""; }',
         "toy.yang:5: nothing says how 'a' (a string) becomes bytes: it needs a pcn:encoding"),
        ('leaf-list a { type uint8; pcn:const "A"; }',
         "toy.yang:5: pcn:const does not belong here, in 'leaf-list': it is for leaf"),
        ('base:name-metric "m"; base:type-metric "GAUGE"; base:path-metric "$.a"; leaf a { type uint8; }',
         "toy.yang:5: a metric stands in the leaf, list or container that it is of, not at the top of the model"),
        ('leaf a { type uint8; base:name-metric "m"; }', "toy.yang:5: this metric has no type-metric and no path-metric"),
        ('leaf a { type uint8; base:name-metric "m"; base:type-metric "SUM"; base:path-metric "$.a"; }',
         "toy.yang:5: type-metric 'SUM' is not COUNTER or GAUGE"),
        ('leaf a { type enumeration { enum A { pcn:value "x"; } } }',
         "toy.yang:5: pcn:value does not belong here, in 'enum': it is for leaf"),
        ('leaf a { type uint8; pcn:table "t"; pcn:table "u"; }', "toy.yang:5: pcn:table is here twice"),
        ('leaf a { type uint8; pcn:table "no table"; }', "toy.yang:5: pcn:table 'no table' is not the name of a C table"),
        ('leaf a { type uint8; pcn:ref "port"; }', "toy.yang:5: 'a' is a uint8: pcn:ref is for names"),
        ('leaf a { type string; pcn:ref "cube"; }', "toy.yang:5: pcn:ref 'cube' is not 'port'"),
        ('leaf a { type inet:ipv4-address; pcn:const "A"; }',
         "toy.yang:5: 'a' cannot be a constant: that is an unsigned integer, a boolean or an enumeration"),
        ('leaf a { type uint64; pcn:const "A"; }', "toy.yang:5: 'a' cannot be a constant: it may need more than 32 bits"),
        ('pcn:max-ports "0";', "toy.yang:5: pcn:max-ports '0' is not a number from 1 to 256"),
        ('pcn:max-ports "257";', "toy.yang:5: pcn:max-ports '257' is not a number from 1 to 256"),
        ('pcn:ingress "dir/toy.c";', "toy.yang:5: pcn:ingress 'dir/toy.c' is not the name of a C file, such as bridge.c"),
        ('base:service-min-kernel-version "new";', "toy.yang:5: 'new' is not a kernel version such as 5.15.0"),
        ('leaf a { type string { pattern "a{2,1}"; } }', "toy.yang:5: 'a{2,1}' is not an XSD regular expression"),
        ('leaf a { type uint8; pcn:tabel "t"; }', 'toy.yang:5: extension "tabel" is not defined in module polycube-pcn'),
        ('leaf a { type uint7; }', 'toy.yang:5: type "uint7" not found in module "toy"'),
    ],
)
def test_a_mistake_is_told_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, sentence: str) -> None:
    [complaint] = complaints(tmp_path, capsys, f"{STANDARD}{body}\n}}")
    assert complaint.startswith(sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('pcn:floods "true";', "toy.yang:5: pcn:floods is for standard cubes: this service has no ports"),
        ('pcn:max-ports "4";', "toy.yang:5: pcn:max-ports is for standard cubes: this service has no ports"),
        ('leaf a { type string; pcn:ref "port"; }', "toy.yang:5: 'a' names a port, but this service has none"),
    ],
)
def test_a_transparent_cube_has_no_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, sentence: str) -> None:
    assert complaints(tmp_path, capsys, f"{TRANSPARENT}{body}\n}}") == [sentence]


def test_all_mistakes_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = 'leaf a { type string; pcn:table "t"; pcn:value ""; }\nleaf b { type uint8; pcn:value "b"; }\npcn:floods "maybe";\n}'
    assert sorted(line.split(": ")[0] for line in complaints(tmp_path, capsys, STANDARD + body)) == [
        "toy.yang:5", "toy.yang:6", "toy.yang:7"]


def test_a_service_is_called_as_its_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STANDARD.replace('service-name "toy"', 'service-name "tox"') + "}"
    assert complaints(tmp_path, capsys, text) == [
        "toy.yang:4: the service is called 'tox' but its module 'toy': the names must be the same"]


@pytest.mark.parametrize("uses", ["", "uses std:standard-base-yang-module; uses tr:transparent-base-yang-module;"])
def test_a_service_is_standard_or_transparent(tmp_path: Path, capsys: pytest.CaptureFixture[str], uses: str) -> None:
    assert any("toy.yang:" in line for line in complaints(tmp_path, capsys, f'{HEAD} base:service-name "toy"; {uses} }}'))


def test_what_is_no_yang_and_what_is_no_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaints(tmp_path, capsys, "module toy {")[0].startswith("toy.yang:1: ")
    assert complaints(tmp_path, capsys, HEAD + "}") == [f"{tmp_path}: no file *.yang with a polycube-base:service-name"]
