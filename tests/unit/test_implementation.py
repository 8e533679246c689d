"""A module as a `ServiceImpl`: what it leaves out is answered for it."""
from __future__ import annotations

from types import ModuleType

from reconciler.service.implementation import ActionCall, ActionDone, ModuleImpl, ServiceImpl
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import TableRows


def test_without_a_module_nothing_is_derived_and_all_is_answered() -> None:
    half: ServiceImpl = ModuleImpl()
    assert (half.derives, half.reads, half.checks, half.acts) == (False,) * 4
    assert (half.facts, half.imports, half.migrations, half.slow_path) == ((), {}, {}, None)
    assert half.programs({}) is None
    assert half.constants({}) == half.tables({}, Env(), {}) == half.config({}, Env(), {}) == half.state({}, Env(), {}) == {}
    assert tuple(half.check({}, Env())) == ()
    assert half.actions(ActionCall("x", {}, {}, {}, Env(), {})) == ActionDone()


def test_what_a_module_has_is_asked_of_it() -> None:
    module = ModuleType("half")
    module.FACTS = ["netdevs"]  # type: ignore[attr-defined]
    module.tables = lambda config, env, tables: {"t": TableRows({b"k": config["v"]})}  # type: ignore[attr-defined]
    module.check = lambda config, env: iter([(("v",), "bad", "error")])  # type: ignore[attr-defined]
    half = ModuleImpl(module)
    assert (half.derives, half.reads, half.checks, half.acts) == (True, False, True, False)
    assert half.facts == ("netdevs",)
    assert half.tables({"v": b"v"}, Env(), {})["t"].rows == {b"k": b"v"}
    assert list(half.check({}, Env())) == [(("v",), "bad", "error")]
