"""A graph that was found right is not asked again; one that looks otherwise to the rules is, and says what it always said."""

from __future__ import annotations

import pytest

from reconciler.check import check, rule_cache
from reconciler.check.schema import memo_of
from reconciler.document.incremental_parse import reparse
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services
from tests.unit.test_graph_incremental import HEAD

SERVICES = Services()


def text(**odd: str) -> str:
    """Forwarders in a row; `odd` has other lines in the place of some."""
    lines = {"peer": "    - {name: b, peer: v9}\n", "action": "    - {inport: a, action: DROP}\n", "type": "", "head": HEAD}
    said = lines | odd
    cubes = [
        f"  - name: c{number}\n    service-name: simpleforwarder\n{said['type'] if number == 9 else ''}    ports:\n"
        f"    - {{name: a, peer: v{number}}}\n{said['peer'] if number == 9 else '    - {name: b}' + chr(10)}"
        f"    actions:\n{said['action'] if number == 9 else lines['action']}"
        for number in range(9, 20)
    ]
    return said["head"] + "".join(cubes)


def outcome(documents: list) -> object:
    try:
        return check(documents, SERVICES)
    except DocumentError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    "after",
    [
        text(action="    - {inport: a, action: FORWARD, outport: b}\n", peer="    - {name: b, peer: w9}\n"),
        text(peer="    - {name: b, peer: v10}\n"),
        text(peer="    - {name: b, peer: 'c1:a'}\n"),
        text(peer="    - {name: b, peer: 'c10:b'}\n"),
        text(action="    - {inport: a, action: FORWARD, outport: z}\n"),
        text(type="    type: XDP_SKB\n", peer="    - {name: b, peer: 'c10:b'}\n"),
        text(head=HEAD.replace("name: t}", "name: -t}")),
        text(head=HEAD.replace("  cubes:", "  namespaces: [h]\n  links: [{kind: dummy, name: d, netns: i}]\n  cubes:")),
    ],
)
def test_what_is_wrong_after_an_edit_is_what_is_wrong_with_the_text(after: str) -> None:
    (old,) = parse(text(peer="    - {name: b, peer: w9}\n"), "f")
    assert isinstance(outcome([old]), tuple)
    new = reparse(old, after)
    again = [new] if new is not None else parse(after, "f")
    said = outcome(again)
    memo_of(SERVICES).run(lambda: rule_cache._GRAPHS().clear())
    assert said == outcome(parse(after, "f"))
    assert isinstance(outcome([old]), tuple), "what was right is right"
