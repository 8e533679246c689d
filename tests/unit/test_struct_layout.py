"""Offsets from BCC's description of a type. The descriptions are as libbcc 0.26 gave them."""
from __future__ import annotations

import json

import pytest

from reconciler.compiler.struct_layout import StructLayout, is_laid_out_alike, layout, leaves

PADDED = '["a1", [["a","unsigned char"], ["__pad_1","char",[7]], ["b","unsigned long long"] ], "struct_packed"]'
NESTED = ('["a5", [["a","unsigned char"], ["__pad_1","char",[7]], ["y",["a2", [["a","unsigned char"], ["__pad_1","char",[3]], '
          '["", [["w","unsigned int"], ["h","unsigned short"] ], "union"], ["b","long long"] ], "struct_packed"], [3]], '
          '["z","unsigned long long"] ], "struct_packed"]')


def places(found: StructLayout) -> dict[str, tuple[int, int, int]]:
    return {field.name: (field.offset, field.size, field.count) for field in found.fields}


@pytest.mark.parametrize(("name", "size", "signed"), [
    ("_Bool", 1, False), ("unsigned char", 1, False), ("unsigned short", 2, False), ("int", 4, True), ("unsigned int", 4, False),
    ("long", 8, True), ("unsigned long long", 8, False), ("unsigned __int128", 16, False),
])
def test_a_scalar_has_a_size_a_sign_and_no_fields(name, size, signed):
    assert layout(json.dumps(name), size) == StructLayout("scalar", size, name, (), signed)


def test_paddings_take_space_and_are_no_fields():
    assert places(layout(PADDED, 16)) == {"a": (0, 1, 1), "b": (8, 8, 1)}


def test_an_array_is_one_field_of_all_its_bytes():
    found = layout('["k", [["mac","unsigned char", [6]], ["v","short"], ["ip","unsigned int", [4]] ], "struct_packed"]', 24)
    assert places(found) == {"mac": (0, 6, 6), "v": (6, 2, 1), "ip": (8, 16, 4)}
    assert [field.signed for field in found.fields] == [False, True, False]


def test_an_array_of_structs_keeps_the_layout_of_one():
    found = layout(NESTED, 64)
    assert places(found) == {"a": (0, 1, 1), "y": (8, 48, 3), "z": (56, 8, 1)}
    inner = found.field("y").nested
    assert inner is not None
    assert (inner.kind, inner.size) == ("struct", 16)


def test_members_of_an_anonymous_union_are_fields_of_the_struct_around_it():
    inner = layout(NESTED, 64).field("y").nested
    assert inner is not None
    assert places(inner) == {"a": (0, 1, 1), "w": (4, 4, 1), "h": (4, 2, 1), "b": (8, 8, 1)}


def test_a_named_union_is_a_field_whose_members_share_its_bytes():
    described = '["in6", [["u",["", [["b","unsigned char", [16]], ["w","unsigned int", [4]] ], "union"]] ], "struct_packed"]'
    found = layout(described, 16)
    union = found.field("u").nested
    assert union is not None
    assert union.kind == "union"
    assert places(union) == {"b": (0, 16, 16), "w": (0, 16, 4)}


def test_a_description_that_does_not_add_up_is_not_believed():
    two_dimensions = '["b1", [["m","unsigned char", [2]], ["x","unsigned short"] ], "struct_packed"]'  # u8 m[2][3]
    assert layout(two_dimensions, 8) == StructLayout("bytes", 8, "b1")


@pytest.mark.parametrize("description", [
    '["a3", [["a","unsigned char"], ["bf","unsigned int", 3], ["b","unsigned long long"] ], "struct"]',
    '"some __new_type"', "", "not json",
])
def test_what_is_not_understood_is_bytes(description):
    assert layout(description, 16) == StructLayout("bytes", 16)


def test_a_layout_survives_json():
    found = layout(NESTED, 64)
    assert StructLayout.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_field_that_is_not_there_is_a_key_error():
    with pytest.raises(KeyError):
        layout(PADDED, 16).field("c")


def test_leaves_are_the_scalars_with_their_places():
    assert leaves(layout(NESTED, 64)) == (
        ("a", 0, 1, 1), ("y.a", 8, 1, 3), ("y.w", 12, 4, 3), ("y.h", 12, 2, 3), ("y.b", 16, 8, 3), ("z", 56, 8, 1))
    assert leaves(layout('"unsigned int"', 4)) == (("", 0, 4, 1),)


def struct_of(*members: str) -> StructLayout:
    """Members like 'a u32'; all of 8 bytes."""
    types = {"u32": "unsigned int", "s32": "int", "u16": "unsigned short", "u64": "unsigned long long"}
    fields = [[words[0], types[words[1]], *([[int(words[2])]] if len(words) > 2 else [])] for words in map(str.split, members)]
    return layout(json.dumps(["s", fields, "struct_packed"]), 8)


@pytest.mark.parametrize(("old", "new", "alike"), [
    (["a u32", "b u32"], ["a u32", "b u32"], True),
    (["a u32", "b u32"], ["a u32", "c u32"], True),  # renamed
    (["a u32", "b u32"], ["b u32", "a u32"], False),  # exchanged
    (["a u32", "b u32"], ["a u32", "b u16", "c u16"], False),
    (["a u32", "b u32"], ["a u32", "b u16 2"], False),
    (["a u32", "b u32"], ["a s32", "b u32"], True),
    (["a u32", "b u32"], ["a u64"], False),
])
def test_rows_are_read_as_they_were_written_if_all_fields_are_where_they_were(old, new, alike):
    assert is_laid_out_alike(struct_of(*old), struct_of(*new)) is alike


def test_of_a_type_whose_inside_is_not_known_nothing_is_said():
    assert is_laid_out_alike(StructLayout("bytes", 8), struct_of("a u32", "b u32"))
