"""A service elsewhere answers as it does here: each function of the contract, through JSON and back, against the module itself."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ServiceAway, ServiceRefused
from reconciler.rpc.contract import decode, encode
from reconciler.service.implementation import ActionCall
from reconciler.service.model.codec import Env
from reconciler.service.registry import Services
from reconciler.service.remote.impl import RemoteImpl
from reconciler.service.remote.kept import Answers, Kept
from reconciler.service.remote.manifest import read
from reconciler.service.remote.offer import Offer
from reconciler.service.remote.places import absent
from tests.lib.services import Tree, rx

HALF = '''
from reconciler.service.sdk import ActionDone, TableRows
TABLES = ("numbers",)
FACTS = ("netdevs",)
SCRATCH = ("desk",)
LIVE = True
def sources(config):
    return {"ingress": [("user.c", "int x = %d;" % config["level"])]}
def programs(config):
    return {"ingress": [0] if config["level"] else []}
def constants(config):
    return {"LEVEL": config["level"]}
def sizes(config):
    return {"numbers": 2 + config["level"]}
def tables(config, env, tables):
    assert tables["numbers"].key.size == 4 and tables["numbers"].value.fields[0].name == "low"
    before = len(env.live.get("numbers", {}))
    facts = len(env.facts.get("netdevs", {}))
    row = config["level"].to_bytes(4, "little") + before.to_bytes(2, "little") + facts.to_bytes(2, "little")
    return {"numbers": TableRows({bytes(4): row}, b"\\xff" * 6 + bytes(2), sparse=True, staged=True)}
def config(rows, env, tables):
    return {"level": int.from_bytes(row[:4], "little") for row in rows["numbers"].values()}
def state(rows, env, tables):
    return {"ports": sorted(env.ports), "seen": len(rows), "at": env.now}
def check(config, env):
    return [(("level",), "more than 9", "error")] if config["level"] > 9 else [(("ports", 0), "odd", "warning")]
def actions(call):
    if call.name == "fail":
        raise ValueError("no")
    return ActionDone({"was": call.state["seen"], "said": call.input["word"], "level": call.config["level"]},
                      {"desk": {b"k": None, b"l": b"v"}})
'''
ENV = Env({"p1": 0, "p2": 1}, 77, "c1", {"netdevs": {"eth0": {"up": True}}}, {"numbers": {bytes(4): bytes(8)}})


class _Layout:
    def __init__(self, size: int, *fields: tuple[str, int, int]) -> None:
        self.size, self.kind = size, "struct"
        self.fields = tuple(_Field(*each) for each in fields)


class _Field:
    def __init__(self, name: str, offset: int, size: int) -> None:
        self.name, self.offset, self.size = name, offset, size


class _Table:
    name, type, max_entries = "numbers", 1, 8
    key, value = _Layout(4), _Layout(8, ("low", 0, 4), ("high", 4, 4))


TABLES: Any = {"numbers": _Table()}


class Wire:
    """A contact that goes through JSON and nothing else; `is_away` from some time on."""

    def __init__(self, offer: Offer) -> None:
        self.functions, self.calls, self.is_away, self.place = offer.functions(), [], False, absent("own")  # type: ignore[var-annotated]

    def ask(self, function: str, said: Any = None, method: str = "POST", seconds: float | None = None) -> Any:
        if self.is_away:
            raise ServiceAway("away")
        self.calls.append(function)
        try:
            return decode(encode(self.functions[f"{method} /{function}"](decode(encode(said)))))
        except ValueError as error:
            raise ServiceRefused(str(error)) from None

    def reach(self) -> None:
        self.ask("service", method="GET")


class Both:
    def __init__(self, here: Any, there: RemoteImpl, wire: Wire) -> None:
        self.here, self.there, self.wire = here, there, wire


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    monkeypatch.setenv("PCN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    tree = Tree(tmp_path / "services")
    tree.add("own", [rx("return RX_OK;")], implementation=HALF, leaves={"level": {"type": "integer"}})
    service = Services([tree.directory]).get("own")
    assert service is not None
    wire = Wire(Offer(service))
    manifest, kept = read(wire.ask("service", method="GET"), "own"), Kept("own")
    kept.believe(manifest)
    return Both(service.implementation, RemoteImpl(manifest, wire, Answers(kept, manifest.digest), None), wire)  # type: ignore[arg-type]


def plain(found: Any) -> Any:
    return {name: [list(each) for each in entries] for name, entries in found.items()}


@pytest.mark.parametrize("level", [0, 1, 7, 12])
def test_each_function_says_there_what_it_says_here_and_again_when_nobody_is_there(both: Both, level: int) -> None:
    here, there, config = both.here, both.there, {"level": level}
    call = ActionCall("greet", {"word": "hello"}, config, {"seen": 3}, ENV, TABLES)

    def same() -> None:
        assert plain(there.sources(config)) == plain(here.sources(config))
        assert dict(there.programs(config) or {}) == here.programs(config)
        assert there.constants(config) == here.constants(config)
        assert there.sizes(config) == here.sizes(config)
        assert list(there.check(config, ENV)) == list(here.check(config, ENV))
        rows = there.tables(config, ENV, TABLES)["numbers"]
        assert rows == here.tables(config, ENV, TABLES)["numbers"]
        assert there.config({"numbers": rows.rows}, ENV, TABLES) == here.config({"numbers": rows.rows}, ENV, TABLES) == config

    same()
    assert (there.facts, there.scratch, there.chooses, there.derives, there.reads, there.checks, there.acts) == (
        here.facts, here.scratch, here.chooses, here.derives, here.reads, here.checks, here.acts)  # fmt: skip
    assert there.state({"numbers": {bytes(4): bytes(8)}}, ENV, TABLES) == here.state({"numbers": {bytes(4): bytes(8)}}, ENV, TABLES)
    done, wanted = there.actions(call), here.actions(call)
    assert (done.output, done.rows) == (wanted.output, wanted.rows)
    asked = list(both.wire.calls)
    both.wire.is_away = True
    same()
    assert both.wire.calls == asked, "what was asked before needs nobody"
    for question in (lambda: there.state({}, ENV, TABLES), lambda: there.actions(call), lambda: there.sizes({"level": level + 1})):
        with pytest.raises(ServiceAway):
            question()


def test_an_action_that_fails_says_why(both: Both) -> None:
    with pytest.raises(ServiceRefused, match="no"):
        both.there.actions(ActionCall("fail", {}, {}, {}, ENV, TABLES))
