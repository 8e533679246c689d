"""How long whoever asks waits, in the CPU time of the process, which does not depend on who else works on the machine; and that
a write which goes on from what was read for the one before finds what others have written meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.api import routes, store
from reconciler.api.picture import picture
from reconciler.api.request import Request
from reconciler.api.saved import SavedTopology
from reconciler.engine.apply import Options, drift
from reconciler.engine.session import Reconciler
from reconciler.kernel import bpffs, linkwrite, maps
from tests.lib.api_process import ApiProcess
from tests.lib.commands import pcn

ONE_APPEND, ALL_CUBES = 0.1, 0.5  # seconds of CPU, of machines of which some take twice as long as others


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")


def seconds(api: ApiProcess, ask: Callable[[], object]) -> float:
    before = cpu(api)
    ask()
    return cpu(api) - before


def cpu(api: ApiProcess) -> float:
    """The seconds that the process's threads ran."""
    tasks = Path(f"/proc/{api.process.pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def rules(count: int) -> dict[str, Any]:
    found = [
        {"id": number, "src": f"10.{number >> 8}.{number & 255}.1", "l4proto": "TCP", "dport": number % 60000 + 1, "action": "DROP"}
        for number in range(count)
    ]
    return {"chain": [{"name": "INGRESS", "rule": found}]}


@pytest.mark.slow
def test_rules_are_appended_to_ten_thousand(api):
    """A quarter of the appends may be as slow as they like: a look at everything is among them, once a second."""
    api.ok("POST", "/firewall/fw/", rules(10_000))
    took = []
    for number in range(60):
        rule = {"src": f"11.0.{number}.1", "action": "DROP"}
        took.append(seconds(api, lambda rule=rule: api.ok("POST", "/fw/chain/INGRESS/append/", rule)))
    took.sort()
    assert took[len(took) // 4] < ONE_APPEND
    assert len(api.get("/fw/chain/INGRESS/rule/")) == 10_060
    assert drift(Options(root=api.root)) == []


@pytest.mark.slow
def test_a_thousand_cubes_are_listed(api):
    api.ok("POST", "/cubes/", [{"name": f"c{number}", "service-name": "helloworld"} for number in range(1000)])
    assert min(seconds(api, lambda: api.get("/cubes/")) for _ in range(3)) < ALL_CUBES
    assert len(api.get("/cubes/")["helloworld"]) == 1000


@pytest.fixture
def own(own_root: str, tmp_path: Path) -> Iterator[store.Store]:
    """The store alone, in this process."""
    made = store.Store(Options(root=own_root), "rest", SavedTopology(str(tmp_path / "rest.yaml")))
    yield made
    pcn("delete", "rest")


def append(own: store.Store, **rule: Any) -> int:
    path = ("fw", "chain", "INGRESS", "append")
    return routes.answer(Request("POST", path, {}, json.dumps(rule).encode()), own).status


def make_firewall(own: store.Store) -> None:
    assert routes.answer(Request("POST", ("firewall", "fw"), {}, json.dumps(rules(50)).encode()), own).status == 201
    assert append(own, src="11.0.0.1") == 201


def test_writes_one_after_the_other_read_the_kernel_once_each(own, monkeypatch):
    monkeypatch.setattr(store, "_FRESH", 60.0)  # whatever else the machine does meanwhile
    make_firewall(own)
    looks = []
    live = Reconciler.live
    monkeypatch.setattr(Reconciler, "live", lambda self, **how: looks.append(how) or live(self, **how))
    assert append(own, src="11.0.0.2") == 201
    assert [set(how) for how in looks] == [{"known", "since"}], "the rows written are read back, and nothing before"
    monkeypatch.setattr(store, "_FRESH", 0.0)
    assert append(own, src="11.0.0.3") == 201
    assert len(looks) == 3
    assert drift(own.options) == []


def test_what_another_wrote_meanwhile_is_found_and_mended(own):
    make_firewall(own)
    path = f"{own.options.root}/cubes/fw/tables/rules"
    fd = bpffs.open_pin(path)
    spec = maps.info(fd).spec
    key, row = next(iter(maps.rows(fd, spec).items()))
    try:
        maps.update(fd, key, bytes(len(row)))
        assert append(own, src="11.0.0.2") == 201
        assert drift(own.options) == []
        assert maps.rows(fd, spec)[key] == row
    finally:
        os.close(fd)


def test_a_write_that_changes_nothing_is_answered_by_what_is_there(own):
    make_firewall(own)
    fd = bpffs.open_pin(f"{own.options.root}/cubes/fw/tables/rules")
    spec = maps.info(fd).spec
    key, row = next(iter(maps.rows(fd, spec).items()))
    try:
        maps.update(fd, key, bytes(len(row)))
        own._recent = time.monotonic(), own._recent[1]
        assert own._recent[1] is not None
        assert routes.answer(Request("PATCH", ("fw",), {}, json.dumps({"loglevel": "INFO"}).encode()), own).status == 204
        assert maps.rows(fd, spec)[key] == row
    finally:
        os.close(fd)


def test_a_table_that_was_removed_meanwhile_is_made_anew(own):
    make_firewall(own)
    os.unlink(f"{own.options.root}/cubes/fw/tables/rules")
    own._recent = time.monotonic(), own._recent[1]
    assert append(own, src="11.0.0.2") == 201
    assert drift(own.options) == []


@pytest.mark.parametrize("path", [("fw",), ("fw", "chain", "INGRESS"), ("cubes", "fw"), ()])
def test_an_answer_has_the_revision_at_which_it_was_read(own, monkeypatch, path):
    """Else whoever sends it back with If-Match would undo what another has written meanwhile."""
    make_firewall(own)
    before, look = own.revision("rest"), store.Store.look

    def slowly(self):
        seen = look(self)
        monkeypatch.setattr(store.Store, "look", look)
        assert append(self, src="11.0.0.7") == 201
        return seen

    monkeypatch.setattr(store.Store, "look", slowly)
    if path:
        said = routes.answer(Request("GET", path, {}, b""), own).headers["ETag"].strip('"')
    else:
        said = picture(own)["topologies"]["rest"]
    assert (said, own.revision("rest") != before) == (before, True)
