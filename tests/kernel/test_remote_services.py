"""Services elsewhere: made, edited, shown and healed; away and back; and what they may not do."""
from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.document.load import parse
from reconciler.engine.apply import apply
from reconciler.errors import DocumentError, PcnError, ServiceAway, ServiceRefused
from reconciler.kernel import netns
from reconciler.rpc import blocking
from reconciler.rpc.contract import Bounds, from_bytes
from reconciler.service.registry import Services
from tests.lib import remote_services as remote
from tests.lib.agent_process import AgentProcess
from tests.lib.api_process import ApiProcess
from tests.lib.lab import Lab
from tests.lib.packets import Sniffer
from tests.lib.slowpaths import SlowPaths
from tests.upgrade.traffic import Traffic, udp

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: gate1, service-name: gate, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
  - {name: hw1, service-name: helloworld, action: DROP, ports: [{name: p1}, {name: p2}]}
"""
NOBODY = "02:00:00:00:00:77"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("cache")
    found.chmod(0o755)
    return found


@pytest.fixture
def lab(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("PCN_CACHE", str(cache))
    monkeypatch.setenv("PCN_SERVICES", str(tmp_path / "etc"))
    (tmp_path / "etc").mkdir(mode=0o755)
    shutil.rmtree(cache / "remote", ignore_errors=True)
    with Lab(SCENARIO) as found:
        found.options.services = Services()
        yield found


def anew(lab: Lab) -> None:
    """As another command begins: nothing is remembered but what is on disk."""
    lab.options.services = Services()


def refused(lab: Lab) -> tuple[str, int, float]:
    """What an apply says, its exit code, and how long it took; the kernel is as it was."""
    before, began = lab.live(), time.monotonic()
    with pytest.raises(PcnError) as caught:
        apply([lab.document()], lab.options)
    took = time.monotonic() - began
    assert lab.live() == before
    return str(caught.value), caught.value.exit_code, took


@contextmanager
def traffic_of(lab: Lab) -> Iterator[None]:
    """Packets from h1 to h2, all of which arrive."""
    traffic = Traffic([udp(lab.space("h1"), lab.space("h2"), "10.0.0.2")])
    with closing(traffic):
        traffic.start()
        yield
        traffic.stop()
        assert traffic.losses() == []


def question(lab: Lab) -> bytes:
    mac = [bytes.fromhex(lab.mac(host).replace(":", "")) for host in ("h1", "h2")]
    return mac[1] + mac[0] + b"\x88\xb5" + b"who is there?".ljust(50)


def answered(lab: Lab, slow: SlowPaths, seen: Sniffer, seconds: float = 5.0) -> bool:
    """Whether a frame of ours comes back turned round."""
    sent, deadline = question(lab), time.monotonic() + seconds
    lab.send("h1", sent)
    wanted = sent[6:12] + sent[:6] + sent[12:]
    while time.monotonic() < deadline:
        slow.drain()
        slow.tick()
        if seen.next(0.02, lambda frame: frame == wanted) is not None:
            return True
    return False


@pytest.mark.parametrize("server", [remote.python, remote.node], ids=["python", "node"])
def test_a_gate_elsewhere_is_made_edited_shown_and_answers_and_its_death_costs_no_packet(lab: Lab, server: Any) -> None:
    with server() as served:
        lab.cube("gate1")["denied"] = [NOBODY]
        lab.apply()
        assert lab.live_cube("gate1")["denied"] == [NOBODY]
        assert lab.plan().plan.steps == ()
        assert lab.ok("h1", "10.0.0.2")
        lab.cube("gate1")["denied"] = [lab.mac("h1"), NOBODY]
        lab.apply()
        assert lab.fails("h1", "10.0.0.2")
        lab.cube("gate1")["denied"] = [NOBODY]
        lab.apply()
        slow = SlowPaths(lab.root, lab.options.services)
        slow.refresh()
        with traffic_of(lab):
            with lab.sniff("h1") as seen:
                assert answered(lab, slow, seen)
            served.kill()
            assert not lab.drift()
            anew(lab)
            assert lab.live_cube("gate1")["denied"] == [NOBODY]
            assert lab.plan().plan.steps == ()
            lab.write("gate1", "denied", bytes.fromhex("020000000055") + bytes(2), b"\1\0\0\0")  # healing needs nobody
            assert len(lab.drift()) == 1
            lab.apply()
            lab.cube("gate1")["denied"] = ["02:00:00:00:00:78"]
            words, code, took = refused(lab)
            assert re.search(r"service gate at unix:/run/pcn/services/gate.sock is away since .* \(Connection refused\)", words)
            assert (code, took < 2) == (1, True), took
            lab.cube("gate1")["denied"] = [NOBODY]
            lab.cube("hw1")["action"] = "FORWARD"  # everything else goes on
            lab.apply()
            served.start()
            lab.cube("gate1")["denied"] = ["02:00:00:00:00:78"]
            lab.apply()
            assert lab.live_cube("gate1")["denied"] == ["02:00:00:00:00:78"]
            with lab.sniff("h1") as seen:
                assert answered(lab, slow, seen)
        slow.close()


def test_another_code_at_the_same_socket_takes_the_place_of_the_old_one_and_no_packet_is_lost(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(remote.GATE, other)
    text = (other / "gate.c").read_text()
    (other / "gate.c").write_text(text.replace("kind[1] == 0xb5", "kind[1] == 0xb6"))
    with remote.python() as served:
        lab.cube("gate1")["denied"] = [NOBODY]
        lab.apply()
        with traffic_of(lab):
            served.kill()
            served.command = (*served.command[:2], str(other), *served.command[3:])
            served.start()
            steps = [step.operation.kind for step in lab.plan().plan.steps]
            assert "load_program" in steps or "load_chain" in steps, steps
            lab.apply()
            assert lab.plan().plan.steps == ()
    assert lab.live_cube("gate1")["denied"] == [NOBODY]


def test_a_service_elsewhere_needs_a_pin_a_certificate_and_its_own_name_and_its_death_and_new_code_cost_no_packet(lab: Lab, tmp_path: Path) -> None:
    pki = remote.Pki(tmp_path / "pki")
    (cert, key), (ours, our_key), (old, old_key), (other, other_key) = pki.issue("gate"), pki.issue("pcn"), pki.issue("gate", days=-1), pki.issue("door")
    space = lab.world.namespace("far")
    lab.world.wire("far0", "eth9", space)
    remote.run_ip("far0", "10.77.0.1/24", None)
    remote.run_ip("eth9", "10.77.0.2/24", space)
    file = tmp_path / "etc" / "gate.yaml"

    def serve(port: int, cert: str, key: str, directory: Path = remote.GATE) -> remote.Served:
        return remote.Served(remote.PCN, "serve-service", str(directory), "--only", "gate", "--listen", f"10.77.0.2:{port}", "--ca", str(pki.ca),
                             "--cert", cert, "--key", key, space=space)  # fmt: skip

    def say(port: int, digest: str = "", cert: str = ours, key: str = our_key) -> None:
        file.write_text(f"url: https://10.77.0.2:{port}\nca: {pki.ca}\ncert: {cert}\nkey: {key}\n" + (f"digest: {digest}\n" if digest else ""))
        anew(lab)

    lab.cube("gate1")["denied"] = [NOBODY]
    with serve(7443, cert, key):
        say(7443)
        words, code, _ = refused(lab)
        digest = re.search(r"is now (sha256:[0-9a-f]{64}): it is used once .*gate.yaml says digest:", words)
        assert digest is not None
        assert code == 65
        say(7443, digest[1])
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        assert lab.plan().plan.steps == ()
        lab.cube("gate1")["denied"] = ["02:00:00:00:00:79"]
        say(7443, f"sha256:{'0' * 64}")
        words, code, _ = refused(lab)
        assert f"is now {digest[1]} (was sha256:{'0' * 64}): it is used once" in words
        assert code == 65
        say(7443, digest[1], old, old_key)
        words, code, _ = refused(lab)
        assert f"does it accept {old}?" in words or "certificate expired" in words
        assert code == 1
    for port, shown, why in ((7444, (old, old_key), "certificate has expired"), (7445, (other, other_key), "certificate is not valid for 'gate'")):
        with serve(port, *shown):
            say(port, digest[1])
            words, code, _ = refused(lab)
            assert why in words
            assert code == 1
    changed = tmp_path / "changed"
    shutil.copytree(remote.GATE, changed)
    (changed / "gate.c").write_text((changed / "gate.c").read_text() + "\n")
    with serve(7446, cert, key, changed) as served, traffic_of(lab):
        say(7446, digest[1])
        words, code, _ = refused(lab)
        now = re.search(r"is now (sha256:\w+) \(was (sha256:\w+)\)", words)
        assert now is not None
        assert (now[2], code) == (digest[1], 65)
        say(7446, now[1])
        lab.apply()
        served.kill()
        anew(lab)
        lab.cube("gate1")["denied"] = ["02:00:00:00:00:7a"]
        words, code, _ = refused(lab)
        assert (code, "is away since" in words) == (1, True)
        served.start()
        anew(lab)
        lab.apply()
        lab.cube("gate1")["denied"] = ["02:00:00:00:00:79"]
        lab.apply()
    assert lab.live_cube("gate1")["denied"] == ["02:00:00:00:00:79"]
    file.unlink()
    anew(lab)
    assert lab.plan().plan.steps == ()


def _late(seconds: float) -> Any:
    def answer(_: Any) -> dict[str, Any]:
        time.sleep(seconds)
        return {}

    return answer


def _row(key: bytes, value: bytes) -> dict[str, Any]:
    return {"denied": {"rows": [[from_bytes(key), from_bytes(value)]]}}


def _other_each_time(_: Any) -> dict[str, Any]:
    return _row(os.urandom(6) + bytes(2), b"\1\0\0\0")


def _deep(_: Any) -> Any:
    found: Any = 1
    for _n in range(100):
        found = [found]
    return {"denied": found}


FAULTS = {
    "slow": ("tables", _late(2.4), ServiceAway, r"is away since .* \(it did not answer tables within 2 s\)"),
    "lying": ("config", lambda _: {"denied": [NOBODY]}, ServiceRefused, r"is not loaded: config\(tables\(c\)\) is not c: denied/0 is .*, and was "),
    "forgetful": ("config", lambda _: {"denied": []}, ServiceRefused, r"config\(tables\(c\)\) is not c: denied has 0 entries, and had 1"),
    "fickle": ("tables", _other_each_time, ServiceRefused, "tables gives other rows when it is asked again"),
    "too short": ("tables", lambda _: _row(b"\1\2", b"\1"), DocumentError, "rows of denied do not fit a key of 8 and a value of 4 bytes"),
    "somebody else's": ("tables", lambda _: {"pcn_hops": {"rows": []}}, ServiceRefused, "gives rows of pcn_hops, which is none of the tables"),
    "gigantic": ("tables", lambda _: "x" * (2 << 20), ServiceAway, "it answers with more than 1048576 bytes"),
    "deep": ("tables", _deep, ServiceRefused, "nested more than 64 deep"),
    "raising": ("tables", lambda _: 1 / 0, ServiceRefused, "service gate: tables: ZeroDivisionError"),
    "no object": ("tables", lambda _: [1], ServiceRefused, "tables must give an object"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_service_may_not_do_is_said_and_the_kernel_is_as_it_was(lab: Lab, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, instead, kind, sentence = FAULTS[fault]
    ill: set[str] = set()
    monkeypatch.setattr(blocking, "BOUNDS", Bounds(body=1 << 20))  # of 64 MiB, which take a while to make

    def changed(own: dict[str, Any]) -> dict[str, Any]:
        well = own[f"POST /{function}"]
        return {f"POST /{function}": lambda said: instead(said) if ill else well(said)}

    with remote.functions(changed):
        lab.apply()
        before = lab.live()
        for met in (Path(os.environ["PCN_CACHE"]) / "remote" / "gate").glob("*/answers/met"):
            met.unlink()
        ill.add(fault)
        anew(lab)
        lab.cube("gate1")["denied"] = ["02:00:00:00:00:80"]
        began = time.monotonic()
        with pytest.raises(PcnError) as caught:
            apply([lab.document()], lab.options)
        took = time.monotonic() - began
        assert re.search(sentence, str(caught.value)), caught.value
        assert caught.value.exit_code == (1 if kind is ServiceAway else 65)
        assert kind is not ServiceAway or took < 4.5  # 2 s are the call's
        ill.clear()
        anew(lab)
        assert lab.live() == before
        assert lab.ok("h1", "10.0.0.2")


def test_the_api_registers_a_directory_and_a_place_and_lets_go_of_neither_while_it_is_used(lab: Lab, tmp_path: Path) -> None:
    directory = tmp_path / "own"
    shutil.copytree(remote.GATE, directory)
    cube = {"name": "gate1", "denied": [NOBODY], "ports": [{"name": "p1", "peer": "v1"}, {"name": "p2", "peer": "v2"}]}
    lab.spec["cubes"] = []  # the hosts alone
    lab.apply()
    netns.raise_loopback()
    with ApiProcess(lab.root, tmp_path) as api:
        assert api("POST", "/services", {"name": "gate", "type": "lib", "uri": str(tmp_path / "nowhere")}).status == 400
        assert api("POST", "/services", {"name": "../gate", "type": "lib", "uri": str(directory)}).status == 400
        assert api("POST", "/services", {"name": "gate", "type": "lib", "uri": str(directory)}).status == 201
        assert (tmp_path / "etc" / "gate.yaml").read_text() == f'directory: "{directory}"\n'
        assert api("POST", "/gate/gate1", cube).status == 201
        assert api.get("/gate/gate1/denied") == [NOBODY]
        said = api("DELETE", "/services/gate")
        assert (said.status, said.error["error-message"]) == (409, "gate is the service of gate1")
        assert api("POST", "/helloworld/hw9", {"name": "hw9", "action": "DROP"}).status == 201
        before, other = lab.loaded("gate1"), lab.loaded("hw9")
        with traffic_of(lab):
            (directory / "gate.c").write_text((directory / "gate.c").read_text().replace("kind[1] == 0xb5", "kind[1] == 0xb6"))
            assert api("PUT", "/gate/gate1/denied", [NOBODY, "02:00:00:00:00:78"]).status < 300
        assert lab.loaded("gate1") != before
        assert lab.loaded("hw9") == other, "its cubes, and no others"
        assert api("DELETE", "/helloworld/hw9").status == 204
        assert api("DELETE", "/gate/gate1").status == 204
        assert api("DELETE", "/services/gate").status == 204
        assert not (tmp_path / "etc" / "gate.yaml").exists()
        assert api("POST", "/services", {"name": "gate", "type": "grpc", "uri": "127.0.0.1:1"}).status == 201
        assert (tmp_path / "etc" / "gate.yaml").read_text().startswith('url: "https://127.0.0.1:1"\nca: "/etc/pcn/tls/ca.pem"\n')
        refused = api("POST", "/gate/gate1", cube)
        assert refused.status == 404
        assert re.fullmatch("service gate at https://127.0.0.1:1 is away.*/etc/pcn/tls/ca.pem.*cannot be used.*|service gate at .* is away .*a certificate, key.*", refused.error["error-message"])
        assert api("DELETE", "/services/gate").status == 204
    lab.pcn("delete", "rest")


def test_an_agent_carries_questions_to_a_service_elsewhere_and_applies_what_waited_for_it(lab: Lab, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    spec = lab.document().data
    other = {**spec, "metadata": {"name": f"{spec['metadata']['name']}-other"}, "spec": {"cubes": [spec["spec"]["cubes"].pop()]}}
    first, second = files / "gate.yaml", files / "other.yaml"

    def write(denied: list[str], action: str) -> None:
        spec["spec"]["cubes"][0]["denied"], other["spec"]["cubes"][0]["action"] = denied, action
        first.write_text(yaml.safe_dump(spec))
        second.write_text(yaml.safe_dump(other))

    write([NOBODY], "DROP")
    with remote.python() as served, AgentProcess(lab.root, tmp_path / "log", str(files)) as agent, lab.sniff("h1") as seen:
        agent.until(lambda said: said["healthy"], 20)
        sent = question(lab)
        turned = sent[6:12] + sent[:6] + sent[12:]
        with traffic_of(lab):
            lab.send("h1", sent)
            assert seen.next(5, lambda frame: frame == turned) is not None
            served.kill()
            write([NOBODY, "02:00:00:00:00:78"], "FORWARD")
            agent.until(lambda said: "is away since" in str(said["problems"]), 10)
            agent.until(lambda _: lab.table("hw1", "action_map")[bytes(4)] == b"\2\0\0\0", 10)  # everything else goes on
            assert lab.live_cube("gate1")["denied"] == [NOBODY]
            lab.send("h1", sent)  # it waits in its ring
            time.sleep(1.0)
            served.start()
            assert seen.next(8, lambda frame: frame == turned) is not None
            agent.until(lambda said: said["healthy"] and len(lab.live_cube("gate1")["denied"]) == 2, 10)
    apply(parse(second.read_text(), "other"), lab.options, delete=True)
