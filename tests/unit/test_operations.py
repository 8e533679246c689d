"""Operations of a plan are values: one type an action, each with something that performs it."""
from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reconciler.kernel.bpffs import Bpffs
from reconciler.live.execute import Executor
from reconciler.model import Link, LinkEnd
from reconciler.plan import operations
from reconciler.plan.operations import (
    AttachHook,
    ConfigureEnd,
    CreateLink,
    CreateNamespace,
    DeleteLinks,
    DeleteNamespace,
    DetachHook,
    Grace,
    LoadStub,
    MakeDirectory,
    MoveHook,
    Operation,
    Remove,
    RemoveCube,
    Rename,
    SetHop,
    SetLink,
)
from reconciler.plan.steps import Rank, Step, cubes_of

END, OTHER = LinkEnd("v1", mtu=1500), LinkEnd("v1", mtu=9000)
NAMES = """adopt_map attach_hook claim_link clear_slot configure_end create_link create_map create_namespace delete_links
delete_namespace delete_rows detach_hook flush_rows grace keep_program load_chain load_program load_stub make_directory migrate_rows
move_hook purge_rows record_generation remove remove_cube rename set_document set_hop set_link set_member set_offload set_promiscuous
set_slot tell_end update_hook write_rows zero_rows"""
ALL = [each for each in vars(operations).values() if isinstance(each, type) and issubclass(each, Operation) and each is not Operation]


@pytest.mark.parametrize("kind", ALL)
def test_each_is_frozen_and_is_performed_by_its_type(kind: type[Operation], tmp_path: Any) -> None:
    executor = Executor(Bpffs(str(tmp_path)), {})
    assert kind in executor.performers
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    executor.close()


@pytest.mark.parametrize(
    ("operation", "inverse"),
    [
        (MakeDirectory("a"), Remove("a")),
        (Rename("a", "b"), Rename("b", "a")),
        (MoveHook("a", "b"), MoveHook("b", "a")),
        (LoadStub("a", "TC", 0, 0, "e"), Remove("a")),
        (AttachHook("v1", "xdp", "links/v1/xdp", "stub", "skb"), DetachHook("v1", "xdp", "links/v1/xdp")),
        (CreateNamespace("h1", "t"), DeleteNamespace("h1")),
        (CreateLink(Link("dummy", END), "t"), DeleteLinks((Link("dummy", END),))),
        (ConfigureEnd(END, OTHER), ConfigureEnd(OTHER, END)),
    ],
)  # fmt: skip
def test_one_that_says_all_that_it_takes_has_an_inverse(operation: Any, inverse: Operation) -> None:
    assert operation.inverse() == inverse


def test_the_names_in_json_stay_what_they_are() -> None:
    assert {each.kind for each in ALL} == set(NAMES.split())


def test_two_are_equal_only_if_they_do_the_same() -> None:
    assert Remove("a") == Remove("a") != RemoveCube("a")
    assert MoveHook("a", "b") != Rename("a", "b")
    assert Grace() == Grace()


def test_each_has_a_name_and_a_sentence() -> None:
    assert str(SetLink("cubes/br1/about", "{}")) == "set link cubes/br1/about"
    assert str(DetachHook("v1", "xdp", "")) == "detach hook v1"
    assert str(DeleteLinks((Link("dummy", END), Link("dummy", LinkEnd("v2"))))) == "delete links v1, v2"
    assert str(Grace()) == "grace"


def test_the_cubes_that_a_step_names_are_those_of_all_its_paths() -> None:
    def step(operation: Operation) -> Step:
        return Step(Rank.HOP, "", "", "", operation)

    found = cubes_of([step(SetHop("cubes/br1/", 0, "program", "cubes/r1/in/0_p1")), step(AttachHook("v1", "xdp", "links/v1/xdp", "cubes/fw"))])
    assert found == {"cubes/br1", "cubes/r1", "cubes/fw"}
