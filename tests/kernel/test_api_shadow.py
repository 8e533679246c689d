"""`shadow` and `span` over the API, as Polycube's command sends them."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite, netns
from tests.lib.api_process import ApiProcess
from tests.lib.commands import pcn


@pytest.fixture
def api(own_root: str, tmp_path: Path) -> Iterator[ApiProcess]:
    linkwrite.set_link("lo", up=True)
    with ApiProcess(own_root, tmp_path) as process:
        yield process
    pcn("delete", "rest")


def test_a_router_with_a_shadow_is_made_seen_and_changed(api: ApiProcess) -> None:
    assert api("POST", "/router/shr1/", {"shadow": True, "type": "TC"}).status == 201
    assert netns.exists("pcn-shr1")
    api.ok("POST", "/router/shr1/ports/p1/", {"ip": "10.0.0.1/24"})
    assert {leaf: api.get("/router/shr1/")[leaf] for leaf in ("shadow", "span")} == {"shadow": True, "span": False}
    api.ok("PATCH", "/router/shr1/span/", True)
    (brief,) = api.get("/cubes/")["router"]
    assert (brief["name"], brief["shadow"], brief["span"]) == ("shr1", True, True)
    assert api.get("/router/shr1/")["span"] is True
    assert api("PATCH", "/router/shr1/shadow/", False).status == 400  # span needs it
    api.ok("DELETE", "/router/shr1/")
    assert not netns.exists("pcn-shr1")


def test_span_alone_is_refused_and_says_why(api: ApiProcess) -> None:
    answer = api("POST", "/simplebridge/shb1/", {"span": True})
    assert answer.status == 400
    assert "span copies packets into the namespace of a shadow" in answer.error["error-message"]
