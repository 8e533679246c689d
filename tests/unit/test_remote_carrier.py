"""A worker's half that carries packets to a service elsewhere: what waits, what is too old, and what the service may not do."""
from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.errors import ServiceAway, ServiceRefused
from reconciler.rpc.contract import MOST_PACKETS, RpcError, from_bytes
from reconciler.service.remote import slowpath as module
from reconciler.service.remote.slowpath import MAX_AGE, carrier
from reconciler.slowpath.handle import ServedCube

FUNCTIONS = frozenset({"cubes", "packet_in", "tick"})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Cube:
    """Keeps what its half does to it."""

    EGRESS = "EGRESS"

    def __init__(self, name: str) -> None:
        self.name, self.done = name, []  # type: ignore[var-annotated]
        fields = dict.fromkeys(ServedCube.__dataclass_fields__, ())
        self.cube = ServedCube(**fields | {"name": name})  # type: ignore[arg-type]

    def table(self, name: str) -> Any:
        return SimpleNamespace(set=lambda key, value: self.done.append(("set", name, key, value)), delete=lambda key: self.done.append(("delete", name, key)))

    def send_packet_out(self, packet: bytes, port: str, direction: str) -> None:
        self.done.append(("out", packet, port, direction))

    def log(self, level: str, text: str) -> None:
        self.done.append((level, text))

    def notify(self, name: str, value: Any) -> None:
        self.done.append(("notification", name, value))

    def publish_fact(self, name: str, value: Any) -> None:
        self.done.append(("fact", name, value))


class Bench:
    """One service with cubes `names`. `answer` is what it answers to `packet_in`, or raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.clock, self.calls = Clock(), []  # type: ignore[var-annotated]
        self.answer: Callable[[Any], Any] = lambda said: {}
        self.ticking: Callable[[Any], Any] = lambda said: {}
        monkeypatch.setattr(module, "time", self.clock)
        manifest = SimpleNamespace(name="gate", functions=FUNCTIONS, facts=("mine",))
        half = carrier(self, manifest)  # type: ignore[arg-type]
        self.cubes = {name: Cube(name) for name in names}
        self.halves = {name: half(cube) for name, cube in self.cubes.items()}

    def ask(self, function: str, said: Any) -> Any:
        self.calls.append((function, said))
        return self.answer(said) if function == "packet_in" else self.ticking(said) if function == "tick" else {}

    def packet(self, cube: str, data: bytes = b"x") -> None:
        md = SimpleNamespace(port="p1", direction="INGRESS", length=len(data), time=0, metadata=(0, 0, 0))
        self.halves[cube].packet_in(data, md, 1)

    def tick(self) -> None:
        for half in self.halves.values():
            half.tick(self.clock.now)

    def asked(self, function: str) -> list[Any]:
        return [said for name, said in self.calls if name == function]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch, "a", "b")


def away(_: Any) -> Any:
    raise ServiceAway("service gate is away")


def test_packets_of_all_its_cubes_go_in_one_call_and_what_it_answers_is_done(bench: Bench) -> None:
    bench.answer = lambda said: {
        "out": [{"cube": "b", "packet": from_bytes(b"back"), "port": "p2"}], "log": [{"cube": "a", "name": "INFO", "value": "seen"}],
        "rows": [{"cube": "a", "table": "t", "key": from_bytes(b"k"), "value": from_bytes(b"v")}, {"cube": "a", "table": "t", "key": from_bytes(b"k"), "value": None}],
        "notification": [{"cube": "a", "name": "n", "value": 1}], "fact": [{"cube": "a", "name": "mine", "value": 2}, {"cube": "a", "name": "others", "value": 3}],
    }  # fmt: skip
    bench.packet("a", b"one")
    bench.packet("b", b"two")
    bench.halves["a"].drained()
    (said,) = bench.asked("packet_in")
    assert [(each["cube"], each["packet"]) for each in said["packets"]] == [("a", from_bytes(b"one")), ("b", from_bytes(b"two"))]
    assert {each["name"] for each in bench.asked("cubes")[0]["cubes"]} == {"a", "b"}, "it was told its cubes first"
    assert bench.cubes["b"].done == [("out", b"back", "p2", "EGRESS")]
    assert bench.cubes["a"].done == [
        ("set", "t", b"k", b"v"), ("delete", "t", b"k"), ("INFO", "seen"), ("notification", "n", 1), ("fact", "mine", 2),
    ], "a fact that its model does not have is none of its business"  # fmt: skip


@pytest.mark.parametrize("entry", [
    {"out": [{"cube": "c", "packet": "eA==", "port": "p1"}]}, {"rows": [{"cube": "c", "table": "t", "key": "eA==", "value": "eA=="}]},
    {"log": [{"cube": "c", "name": "INFO", "value": "x"}]}, {"fact": [{"cube": "c", "name": "mine", "value": 1}]},
])  # fmt: skip
def test_a_service_does_nothing_to_cubes_that_are_not_its_own(bench: Bench, entry: Any) -> None:
    bench.answer = lambda said: entry
    bench.packet("a")
    with pytest.raises(RpcError, match="service gate speaks of cube c, which it does not serve"):
        bench.halves["a"].drained()
    assert bench.cubes["a"].done == bench.cubes["b"].done == []


@pytest.mark.parametrize("answer", [None, [], 7, "x", {}, {"out": None}, {"out": 7}, {"rows": {"a": 1}}])
def test_an_answer_that_says_nothing_is_none(bench: Bench, answer: Any) -> None:
    bench.answer = lambda said: answer
    bench.packet("a")
    bench.halves["a"].drained()
    assert bench.cubes["a"].done == []


def test_packets_wait_for_a_service_that_is_away_for_five_seconds_and_are_handed_over_when_it_is_back(bench: Bench) -> None:
    bench.answer = away
    bench.packet("a", b"old")
    bench.halves["a"].drained()
    assert bench.halves["a"].held() == 1
    assert bench.cubes["a"].done == [("ERR", "service gate is away")]
    bench.clock.now += MAX_AGE - 1
    bench.packet("b", b"young")
    bench.tick()
    assert (bench.halves["a"].held(), bench.halves["b"].held()) == (1, 1)
    bench.clock.now += 1.5
    with pytest.raises(ServiceAway, match="1 packets have waited for their service in vain"):
        bench.tick()
    bench.clock.now += 1
    bench.answer = lambda said: {"out": [{"cube": each["cube"], "packet": each["packet"], "port": "p2"} for each in said["packets"]]}
    bench.tick()
    assert ("out", b"young", "p2", "EGRESS") in bench.cubes["b"].done
    assert not any(each[0] == "out" for each in bench.cubes["a"].done)
    assert ("INFO", "service gate is back") in bench.cubes["a"].done
    assert len(bench.asked("cubes")) >= 2, "who was away may have forgotten its cubes"


def test_who_is_away_takes_no_more_than_a_lot_from_the_rings_and_holds_the_worker_up_for_a_second_at_most(bench: Bench) -> None:
    bench.answer = away
    for _ in range(MOST_PACKETS):
        bench.packet("a")
    began = bench.clock.now
    with pytest.raises(ServiceAway, match="in vain"):
        bench.packet("a")
    assert bench.clock.now - began < 1.5
    assert bench.halves["a"].held() == MOST_PACKETS - 1


def test_a_function_that_fails_costs_its_packets_and_no_others(bench: Bench) -> None:
    def refuses(_: Any) -> Any:
        raise ServiceRefused("service gate: packet_in: ZeroDivisionError")

    bench.answer = refuses
    bench.packet("a")
    bench.halves["a"].drained()
    assert bench.halves["a"].held() == 0
    bench.clock.now += 1
    bench.answer = lambda said: {"out": [{"cube": "a", "packet": from_bytes(b"2"), "port": "p1"}]}
    bench.packet("a")
    bench.halves["a"].drained()
    assert ("out", b"2", "p1", "EGRESS") in bench.cubes["a"].done


def test_it_is_told_its_cubes_anew_when_one_of_them_changes(bench: Bench) -> None:
    bench.tick()
    assert len(bench.asked("cubes")) == 1
    bench.tick()
    assert len(bench.asked("cubes")) == 1
    bench.halves["b"].changed()
    bench.tick()
    assert len(bench.asked("cubes")) == 2
