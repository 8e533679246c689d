"""10,000 rules are loaded and checked while somebody waits."""
from __future__ import annotations

import subprocess
import sys
import time

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from tests.unit.data.documents import StandIns, topology

pytestmark = pytest.mark.serial

COUNT = 10_000


def rules(count: int, action: str = "DROP") -> str:
    lines = [f"    - {{id: {n}, src: 10.{n >> 8 & 255}.{n & 255}.0/24, dst: 192.168.0.0/16, l4proto: TCP, sport: {n % 60000}, "
             f"dport: 80, conntrack: NEW, action: {action if n == count - 1 else 'DROP'}}}" for n in range(count)]
    head = ["cubes:", "- name: w", "  service-name: wall", "  chain:", "  - name: INGRESS", "    rule:"]
    return topology("\n".join(head + lines))


def seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def best(work) -> float:
    return min(seconds(work) for _ in range(3))


def load_and_check(text: str) -> None:
    (found,), warnings = check(parse(text, "f"), StandIns())
    assert len(found.cubes[0].config["chain"][0]["rule"]) == COUNT
    assert warnings == []


def test_ten_thousand_rules_are_loaded_and_checked_in_a_second():
    text = rules(COUNT)
    assert best(lambda: load_and_check(text)) < 1.0


def test_time_grows_with_the_number_of_rules_and_not_faster():
    check(parse(rules(10), "f"), StandIns())
    small, big = rules(COUNT // 10), rules(COUNT)
    once = best(lambda: check(parse(small, "f"), StandIns()))
    assert best(lambda: load_and_check(big)) < 30 * max(once, 0.005)


def test_an_error_in_ten_thousand_rules_is_found_and_placed_in_seconds():
    text = rules(COUNT, action="DENY")

    def refused() -> None:
        with pytest.raises(DocumentError) as caught:
            check(parse(text, "f"), StandIns())
        (problem,) = caught.value.problems
        assert problem.where is not None
        assert (problem.where.line, problem.path) == (COUNT + 10, f"/spec/cubes/w/chain/INGRESS/rule/{COUNT - 1}/action")

    assert seconds(refused) < 5.0


def test_a_good_document_does_not_even_import_jsonschema():
    program = (
        "import sys\n"
        "from reconciler.document.load import parse\n"
        "from reconciler.check import check\n"
        "from tests.unit.data.documents import StandIns, topology\n"
        "check(parse(topology('cubes: [{name: c, service-name: hub}]'), 'f'), StandIns())\n"
        "sys.exit('jsonschema' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
