"""Health checks without a network: what answers come to, what is asked, what is left out, and what is refused."""
from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from cubes.lbrp.slowpath import SlowPath
from cubes.lib import health, maglev
from cubes.lib.balancer import health_key
from cubes.lib.balancer_rows import derive
from cubes.lib.health import Verdict, judged, judged_line, target
from reconciler import facts
from reconciler.check import check as check_documents
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services
from reconciler.slowpath.questions import Answer, Question
from tests.services.lbrp.test_rows import TABLES, services

TO = target({"rise": 2, "fall": 3}, b"key", "one", "10.0.0.1", 80)


def after(*errors, verdict=None):
    verdict = verdict or Verdict(since=5)
    for second, error in enumerate(errors, 10):
        verdict = judged(verdict, TO, error, 0, second)
    return verdict


def test_a_backend_is_left_out_after_so_many_failures_in_a_row_and_there_again_after_so_many_right_answers():
    assert after("REFUSED", "REFUSED").healthy
    assert after("REFUSED", "REFUSED", "NONE", "REFUSED", "TIMEOUT").healthy
    down = after("REFUSED", "REFUSED", "TIMEOUT")
    assert (down.healthy, down.since, down.error) == (False, 12, "TIMEOUT")
    assert not after("NONE", "REFUSED", "NONE", verdict=down).healthy
    up = after("NONE", "NONE", verdict=down)
    assert (up.healthy, up.since, up.error) == (True, 11, "TIMEOUT")


def test_what_is_asked_over_http():
    assert target({"type": "HTTP", "path": "/up", "port": 81}, b"", "", "fd00::1", 80).http.startswith(b"GET /up HTTP/1.1\r\nHost: [fd00::1]:81\r\n")
    assert b"\r\nHost: www\r\n" in target({"type": "HTTP", "host": "www"}, b"", "", "10.0.0.1", 80).http
    assert target({}, b"", "", "10.0.0.1", 80).http == b""


@pytest.mark.parametrize(("line", "found"), [
    (b"HTTP/1.1 200 OK\r", ("NONE", 0)), (b"HTTP/1.0 503 Service Unavailable", ("STATUS", 503)), (b"SSH-2.0-OpenSSH", ("NO_HTTP", 0)),
    (b"HTTP/1.1 2000 OK", ("NO_HTTP", 0)), (b"HTTP/1.1 \xb2\xb2\xb2", ("NO_HTTP", 0)), (b"", ("NO_HTTP", 0)),
])  # fmt: skip
def test_what_the_first_line_of_an_answer_comes_to(line, found):
    assert judged_line(target({"type": "HTTP"}, b"", "", "10.0.0.1", 80), line) == found


def test_a_row_is_read_as_it_was_written():
    for error in health.ERRORS:
        verdict = Verdict(error == "NONE", 77, error, 503 if error == "STATUS" else 0)
        assert health.of_row(health.row_of(verdict)) == verdict


def test_a_fact_holds_the_first_400_that_failed():
    verdicts = {bytes([n >> 8, n & 255]): Verdict(n % 2 == 0, n) for n in range(2000)}
    text = facts.publishable(health.FACT, health.fact_of(verdicts))
    down = health.down_of({health.FACT: json.loads(text)})
    assert down == {health.digest(bytes([n >> 8, n & 255])) for n in range(1, 800, 2)}


def checked(count=40, **said):
    found = services(count)
    for service in found:
        service["health-check"] = said
    return found


def test_a_backend_that_is_left_out_loses_its_row_and_its_slots_and_the_ring_stays_as_long():
    config = {"service": checked()}
    one = config["service"][7]
    before = derive(config, TABLES)
    after = derive(config, TABLES, frozenset({health.digest(health_key(one, one["backend"][1]))}))
    assert before["services"] == after["services"]
    assert len(before["members"].items() - after["members"].items()) == 1
    assert not after["members"].items() - before["members"].items()
    pages = [key for key in before["rings"] if before["rings"][key] != after["rings"][key]]
    assert len(pages) == 1
    slots = [list(memoryview(rows[pages[0]]).cast("I"))[:251] for rows in (before["rings"], after["rings"])]
    moved = [slot for slot in range(251) if slots[0][slot] != slots[1][slot]]
    gone = set(slots[0]) - set(slots[1])
    assert len(gone) == 1
    assert sum(slots[0][slot] not in gone for slot in moved) <= 251 * 0.05
    assert derive(config, TABLES) == before


def test_six_backends_have_a_ring_of_4093_also_when_one_of_them_is_left_out():
    config = {"service": [{**services(1, 6)[0], "health-check": {}}]}
    one = config["service"][0]
    after = derive(config, TABLES, frozenset({health.digest(health_key(one, one["backend"][0]))}))
    assert maglev.size_for([1] * 5) == 251
    assert len(after["rings"]) == 16


def test_when_all_are_left_out_there_is_no_ring_and_what_is_published_of_a_service_without_checks_means_nothing():
    config = {"service": checked(1)}
    one = config["service"][0]
    down = frozenset(health.digest(health_key(one, backend)) for backend in one["backend"])
    assert derive(config, TABLES, down)["rings"] == derive(config, TABLES, down)["members"] == {}
    del one["health-check"]
    assert derive(config, TABLES, down) == derive(config, TABLES)


def test_only_cubes_with_checks_are_served():
    assert SlowPath.serves({"service": checked(2)})
    assert not SlowPath.serves({"service": services(2)})
    assert not SlowPath.serves({})


TEXT = """\
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: x}
spec:
  cubes:
    - name: lb
      service-name: lbrp
      service:
        - vip: 192.0.2.1
          vport: 80
          proto: %s
          backend: [{ip: 10.0.0.1, port: 80}]
          health-check: {%s}
"""


@pytest.mark.parametrize(("proto", "said", "sentence"), [
    ("TCP", "interval: 2, timeout: 3", "file.yaml:13:"), ("TCP", "interval: 1", "asked again after 1 s"), ("UDP", "", "it needs the port"),
    ("TCP", "path: /x", "path"), ("TCP", "type: HTTP, path: x", "begins with /"), ("TCP", "type: HTTP, path: '/a b'", "begins with /"),
    ("TCP", "interval: 0", "interval"), ("TCP", "fall: 0", "fall"), ("TCP", "type: PING", "type"), ("TCP", "type: HTTP, status: 99", "status"),
])  # fmt: skip
def test_bad_checks_are_errors_with_their_line(proto, said, sentence):
    with pytest.raises(DocumentError) as caught:
        check_documents(parse(TEXT % (proto, said), "file.yaml"), Services())
    assert "file.yaml:13:" in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("proto", "said"), [("TCP", ""), ("UDP", "port: 53"), ("TCP", "type: HTTP, path: /up, status: 204, interval: 1, timeout: 1")])
def test_good_checks_are_accepted(proto, said):
    check_documents(parse(TEXT % (proto, said), "file.yaml"), Services())


class FakeCube:
    """A cube whose backends all answer at once."""

    def __init__(self, config):
        self.config, self.asked, self.rows = config, [], {}

    def ask(self, of, address, port, seconds, send=b""):
        self.asked.append(Question(of, address, port, seconds, send))
        return True

    def answers(self):
        found, self.asked = [Answer(question, "") for question in self.asked], []
        return found

    def table(self, name):
        return SimpleNamespace(items=self.rows.items, delete=self.rows.pop, set=self.rows.__setitem__)

    def publish_fact(self, name, value):
        pass


def test_a_check_that_is_taken_away_and_back_or_that_was_late_asks_as_often_as_before():
    config, cube = {"service": checked(3, interval=5)}, FakeCube({})
    half, asked = SlowPath(cube), 0
    for turn in range(7):
        cube.config = {} if turn % 2 else config
        half.changed()
        half.tick(turn)
    for second in range(100, 200):
        half.tick(second)
        asked += len(cube.asked)
    assert asked == 100 // 5 * sum(len(service["backend"]) for service in config["service"])
