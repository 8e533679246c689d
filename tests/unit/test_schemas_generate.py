"""A service of somebody else's, with all of YANG that a later service may want, becomes a schema that means the same."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.generate.__main__ import main

HEAD = """
module toy {
  yang-version 1.1;
  namespace "http://example.org/toy";
  prefix "toy";
  import polycube-base { prefix "base"; }
  import polycube-standard-base { prefix "std"; }
  import polycube-pcn { prefix "pcn"; }
  import pcn-inet-types { prefix "inet"; }
  import toy-types { prefix "tt"; }
  description "A toy:
     two lines.";
  base:service-name "toy";
  pcn:ingress "toy_parse.c";
  pcn:ingress "toy_match.c";
  uses std:standard-base-yang-module {
    augment "ports" {
      leaf ip { type inet:ipv4-prefix; base:init-only-config; }
      list secondaryip {
        key "ip";
        leaf ip { type inet:ipv4-prefix; }
      }
    }
  }
"""

TYPES = """
module toy-types {
  yang-version 1.1;
  namespace "http://example.org/toy-types";
  prefix "tt";
  identity fruit;
  typedef percent { type uint8 { range "0..100"; } units "%"; default "50"; description "A share."; }
}
"""

BODY = """
  identity apple { base tt:fruit; }
  identity pippin { base apple; }

  leaf bytes { type uint64 { range "1..18446744073709551615"; } default "0x10"; pcn:table "limits"; pcn:value "bytes"; }
  leaf signed { type int64; }
  leaf share { type tt:percent; }
  leaf hole { type uint16 { range "1..10 | 20 | 30..max"; } }
  leaf rate { type decimal64 { fraction-digits 2; range "0..10.50"; } default "1.25"; }
  leaf word { type string { length "2..4"; pattern "[a-z]+"; pattern "x.*" { modifier invert-match; } } }
  leaf flags { type bits { bit syn; bit fin { position 4; } } }
  leaf on { type empty; }
  leaf fruit { type identityref { base tt:fruit; } }
  leaf port-or-any { type union { type uint16; type enumeration { enum any; } } default "any"; }
  leaf uplink { type leafref { path "../std-ports/name"; } }
  leaf main { type leafref { path "../ports/name"; } pcn:table "main_port"; pcn:value ""; }
  leaf many { type uint8; mandatory true; }
  leaf-list blocked { type inet:ip-address; pcn:table "blocked"; pcn:key "addr"; pcn:const-any "BLOCKED"; }
  leaf-list tags { type string; min-elements 1; max-elements 3; ordered-by user; }
  container std-ports { leaf name { type string; } }
  container wanted { description "Has a leaf that must be there."; leaf inside { type uint8; mandatory true; } }
  container optional { presence "Says something by being there."; leaf inside { type uint8; mandatory true; } }
  container counters { config false; leaf pkts { type uint64; pcn:table "cnt"; pcn:value "pkts"; } }

  choice how {
    mandatory true;
    case slow { leaf queue { type uint8; mandatory true; } leaf depth { type uint8; default "3"; } }
    case fast { leaf batch { type uint8; } }
    leaf off { type boolean; }
  }

  leaf mode { type enumeration { enum a; enum b; enum c; } default "a"; pcn:const "MODE"; }
  leaf only-b { when "../mode = 'b'"; type uint8; mandatory true; }
  leaf only-a { when "../mode = 'a' or ../mode = 'c'"; type uint8; }
  leaf odd { when "count(../ports) > 1"; type uint8; must ". != 3" { error-message "not 3"; } }

  list chain {
    key "name";
    leaf name { type enumeration { enum IN { value 4; } enum OUT { value 7; } } pcn:key "chain"; }
    list rule {
      key "id proto";
      unique "src";
      pcn:table "rules";
      must "count(*) > 2";
      leaf id { type uint32; pcn:key "id"; }
      leaf proto { type uint8; pcn:key "proto"; }
      leaf src { type inet:ipv4-prefix; pcn:value "src"; }
      leaf pkts { type uint64; config false; pcn:value "pkts"; }
    }
    action reset { pcn:zero "hits"; input { leaf id { type uint32; mandatory true; } } }
  }
}
"""


def generate(directory: Path, body: str = BODY) -> dict[str, Any]:
    (directory / "toy.yang").write_text(HEAD + body)
    (directory / "toy-types.yang").write_text(TYPES)
    assert main(["--services", str(directory)]) == 0
    assert [path.name for path in directory.glob("*.json")] == ["toy.schema.json"]
    return json.loads((directory / "toy.schema.json").read_text())


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return generate(tmp_path_factory.mktemp("services"))


CUBE = {"name": "t", "service-name": "toy", "many": 1, "tags": ["x"], "wanted": {"inside": 1}, "off": True}


def errors(schema: dict[str, Any], without: tuple[str, ...] = (), **leaves: Any) -> list[tuple[str, str]]:
    cube = {key: value for key, value in {**CUBE, **leaves}.items() if key not in without}
    jsonschema.Draft7Validator.check_schema(schema)
    found = jsonschema.Draft7Validator(schema).iter_errors(cube)
    return sorted(("/".join(map(str, error.absolute_path)), str(error.validator)) for error in found)


def test_the_cube_of_these_tests_is_valid(toy: dict[str, Any]) -> None:
    assert errors(toy) == []


@pytest.mark.parametrize(
    ("leaf", "good", "bad"),
    [
        ("bytes", [1, 2**64 - 1, "18446744073709551615"], [0, 2**64, -1, "0x1", "1.5", 1.5, True]),
        ("signed", [-1, "-9223372036854775808"], ["+1", "--1", 2**63]),
        ("share", [0, 100], [101, -1, "5"]),
        ("hole", [1, 10, 20, 30, 65535], [0, 11, 25, 65536]),
        ("rate", [0, 10.5, "3.14", "7"], ["3.141", 10.51, -1, "x"]),
        ("word", ["ab", "abcd"], ["a", "abcde", "xab", "A1"]),
        ("flags", ["", "syn", "syn fin"], ["syn  fin", "ack", "syn "]),
        ("on", [[None]], [None, [], True]),
        ("fruit", ["apple", "pippin"], ["fruit", "pear"]),
        ("port-or-any", [80, "any"], ["some", 70000]),
        ("main", ["p1"], [1]),
        ("tags", [["b", "a"]], [[], ["a", "a"], ["a", "b", "c", "d"], "a"]),
    ],
)
def test_a_type_takes_its_values_and_no_others(toy: dict[str, Any], leaf: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if errors(toy, **{leaf: value})] == []
    assert [value for value in bad if not errors(toy, **{leaf: value})] == []


@pytest.mark.parametrize("missing", ["many", "tags", "wanted", "off"])
def test_what_the_model_wants_must_be_there(toy: dict[str, Any], missing: str) -> None:
    expected = "anyOf" if missing == "off" else "required"
    assert errors(toy, without=(missing,)) == [("", expected)]


def test_a_presence_container_may_be_away_but_not_half_there(toy: dict[str, Any]) -> None:
    assert toy["properties"]["optional"]["x-yang-presence"] is True
    assert errors(toy, optional={}) == [("optional", "required")]


def test_defaults_are_values_of_their_type(toy: dict[str, Any]) -> None:
    leaves = toy["properties"]
    assert {name: leaves[name]["default"] for name in ("bytes", "share", "rate", "port-or-any", "mode")} == {
        "bytes": 16, "share": 50, "rate": "1.25", "port-or-any": "any", "mode": "a"}
    assert "default" not in leaves["many"]


def test_a_choice_is_flat_and_its_cases_exclude_each_other(toy: dict[str, Any]) -> None:
    assert toy["x-yang-choice"] == {"how": {
        "mandatory": True, "cases": {"slow": ["queue", "depth"], "fast": ["batch"], "off": ["off"]}}}
    assert errors(toy, without=("off",), queue=1, depth=2) == []
    assert errors(toy, without=("off",), depth=2) == [("", "required")]
    assert errors(toy, without=("off",), queue=1, batch=1) == [("batch", "not"), ("queue", "not")]


def test_a_default_case_is_named(tmp_path: Path) -> None:
    schema = generate(tmp_path, "choice c { default one; leaf one { type uint8; } leaf two { type uint8; } } }")
    assert schema["x-yang-choice"]["c"] == {"mandatory": False, "default": "one", "cases": {"one": ["one"], "two": ["two"]}}


def test_choices_within_choices(tmp_path: Path) -> None:
    schema = generate(tmp_path, """
      choice outer {
        case one {
          leaf a { type uint8; }
          choice inner { mandatory true; leaf b { type uint8; } leaf c { type uint8; } }
        }
        leaf d { type uint8; }
      }
    }""")
    cube = {"name": "t", "service-name": "toy"}

    def broken(**leaves: int) -> list[str]:
        return sorted("/".join(map(str, error.path)) for error in jsonschema.Draft7Validator(schema).iter_errors(cube | leaves))

    assert schema["x-yang-choice"]["outer"] == {"mandatory": False, "cases": {"one": ["a", "b", "c"], "d": ["d"]}}
    assert broken() == []
    assert broken(a=1, b=1) == []
    assert broken(a=1) == [""]
    assert broken(b=1, c=1) == ["b", "c"]
    assert broken(c=1, d=1) == ["c", "d"]


def test_a_simple_when_is_enforced_and_says_why(toy: dict[str, Any]) -> None:
    assert toy["properties"]["only-b"]["x-yang-when"] == {"xpath": "../mode = 'b'", "leaf": "mode", "in": ["b"]}
    assert errors(toy, mode="b") == [("", "required")]
    assert errors(toy, mode="b", **{"only-b": 1}) == []
    assert errors(toy, **{"only-b": 1}) == [("only-b", "not")]
    assert errors(toy, mode="b", **{"only-b": 1, "only-a": 1}) == [("only-a", "not")]
    assert errors(toy, **{"only-a": 1}) == []  # mode is absent, and 'a' by default
    [reason] = jsonschema.Draft7Validator(toy).iter_errors({**CUBE, "only-b": 1})
    assert reason.schema["errorMessage"] == "'only-b' is only for mode b"


def test_conditions_beyond_that_are_kept_as_xpath(toy: dict[str, Any]) -> None:
    odd = toy["properties"]["odd"]
    assert odd["x-yang-when"] == {"xpath": "count(../ports) > 1"}
    assert odd["x-yang-must"] == [{"xpath": ". != 3", "message": "not 3"}]
    assert toy["properties"]["chain"]["items"]["properties"]["rule"]["items"]["x-yang-must"] == [{"xpath": "count(*) > 2"}]


def test_nested_lists_each_have_their_keys_and_table(toy: dict[str, Any]) -> None:
    chain = toy["properties"]["chain"]
    rule = chain["items"]["properties"]["rule"]
    assert (chain["x-yang-key"], rule["x-yang-key"], rule["x-yang-unique"]) == (["name"], ["id", "proto"], [["src"]])
    assert "x-pcn-table" not in chain
    assert rule["x-pcn-table"] == "rules"
    name = chain["items"]["properties"]["name"]
    assert (name["x-pcn-key"], name["x-pcn-enum"]) == ("chain", {"IN": 4, "OUT": 7})
    assert rule["items"]["required"] == ["id", "proto"]
    assert rule["items"]["x-state"]["pkts"]["x-pcn-value"] == "pkts"
    assert chain["items"]["x-actions"]["reset"]["input"]["required"] == ["id"]
    assert chain["items"]["x-actions"]["reset"]["output"] is None


def test_a_leaf_can_be_a_constant(toy: dict[str, Any]) -> None:
    mode = toy["properties"]["mode"]
    assert (mode["x-pcn-const"], mode["x-pcn-encoding"], mode["x-pcn-enum"]) == ("MODE", "enum", {"a": 0, "b": 1, "c": 2})


def test_a_leaf_list_can_be_a_table_of_keys(toy: dict[str, Any]) -> None:
    blocked = toy["properties"]["blocked"]
    assert {key: value for key, value in blocked.items() if key.startswith("x-pcn-")} == {
        "x-pcn-table": "blocked", "x-pcn-key": "addr", "x-pcn-encoding": "ip", "x-pcn-const-any": "BLOCKED"}


def test_state_is_apart_from_configuration_whole_containers_too(toy: dict[str, Any]) -> None:
    assert "counters" not in toy["properties"]
    assert toy["x-state"]["counters"]["properties"]["pkts"]["x-pcn-value"] == "pkts"
    assert errors(toy, counters={}) == [("", "additionalProperties")]


def test_leaves_of_the_service_join_those_of_every_port(toy: dict[str, Any]) -> None:
    ports = toy["properties"]["ports"]
    assert list(ports["items"]["properties"]) == ["name", "peer", "tcubes", "ip", "secondaryip"]
    assert ports["items"]["properties"]["ip"]["x-init-only"] is True
    assert errors(toy, ports=[{"name": "p", "ip": "10.0.0.1/33"}]) == [("ports/0/ip", "pattern")]


def test_a_leafref_has_the_type_of_its_target_and_one_to_a_port_names_a_port(toy: dict[str, Any]) -> None:
    leaves = toy["properties"]
    assert leaves["uplink"] == {"type": "string", "x-yang-leafref": "/std-ports/name"}
    main_port = leaves["main"]
    assert (main_port["x-yang-leafref"], main_port["x-pcn-ref"], main_port["x-pcn-encoding"]) == ("/ports/name", "port", "port")


def test_the_order_of_everything_is_that_of_the_model(toy: dict[str, Any]) -> None:
    assert list(toy["properties"])[:11] == ["name", "service-name", "type", "loglevel", "fuse", "ports", "shadow", "span", "bytes", "signed", "share"]
    assert toy["x-pcn-service"]["ingress"] == ["toy_parse.c", "toy_match.c"]
    assert toy["description"] == "A toy: two lines."


def test_check_says_which_schema_of_a_service_is_out_of_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(tmp_path)
    assert main(["--services", str(tmp_path), "--check"]) == 0
    (tmp_path / "toy.yang").write_text(HEAD + BODY.replace("leaf many", "leaf more"))
    assert main(["--services", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().out == f"{tmp_path}/toy.schema.json: out of date, run python -m schemas.generate\n"


@pytest.mark.parametrize(
    ("type_", "encoding"),
    [
        ("enumeration { enum A; }", "enum"), ("boolean;", "bool"), ("uint8;", "uint"), ("uint64;", "uint"),
        ('int32 { range "0..5"; }', "uint"), ("inet:port-number;", "uint"),
        ("inet:ipv4-address;", "ipv4"), ("inet:ip-address;", "ip"), ("inet:ipv6-address;", "ip"),
        ("inet:ipv4-prefix;", "prefix4"), ("inet:ip-prefix;", "prefix"), ("rfc:ipv4-address;", "ipv4"),
        ("rfcy:mac-address;", "mac"), ('leafref { path "../ports/name"; }', "port"),
    ],
)
def test_the_encoding_follows_from_the_type(tmp_path: Path, type_: str, encoding: str) -> None:
    """With the standard modules of RFC 6991 too, as a model of Polycube's own imports them."""
    (tmp_path / "toy-types.yang").write_text(TYPES)
    standard = 'import ietf-inet-types { prefix "rfc"; } import ietf-yang-types { prefix "rfcy"; }'
    leaf = f'leaf x {{ type {type_} pcn:table "t"; pcn:value "x"; }}'
    (tmp_path / "toy.yang").write_text(f"{HEAD.replace('import toy-types', standard + ' import toy-types')} {leaf} }}")
    assert main(["--services", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "toy.schema.json").read_text())["properties"]["x"]["x-pcn-encoding"] == encoding
