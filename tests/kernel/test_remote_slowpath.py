"""The slow path of a service elsewhere by TLS: through an agent's worker, over its death and over certificates that are renewed."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from reconciler.service.registry import Services
from tests.kernel.test_remote_services import NOBODY, cache, lab, question, traffic_of
from tests.lib import remote_services as remote
from tests.lib.agent_process import AgentProcess
from tests.lib.lab import Lab
from tests.lib.packets import Sniffer
from tests.lib.services import Tree, rx

pytestmark = pytest.mark.timeout(180)
__all__ = ["cache", "lab"]


def answered(lab: Lab, seen: Sniffer, tries: int = 30) -> bool:
    """Whether a frame of ours comes back turned round, in the end: a worker that begins anew, or a machine with much to do, takes its time."""
    sent = question(lab)
    turned = sent[6:12] + sent[:6] + sent[12:]
    for _ in range(tries):
        lab.send("h1", sent)
        if seen.next(1.0, lambda frame: frame == turned) is not None:
            return True
    return False


def test_packets_go_to_a_service_by_tls_and_come_back_whatever_becomes_of_it_and_of_certificates(lab: Lab, tmp_path: Path) -> None:
    pki, own = remote.Pki(tmp_path / "pki"), tmp_path / "own"
    own.mkdir(mode=0o700)
    shown, space = pki.issue("gate"), lab.world.namespace("far")
    lab.world.wire("far0", "eth9", space)
    remote.run_ip("far0", "10.77.0.1/24", None)
    remote.run_ip("eth9", "10.77.0.2/24", space)

    def renew(edition: str) -> None:
        for kind, path in zip(("key", "cert"), reversed(pki.issue("pcn", edition=edition)), strict=True):
            shutil.copy(path, own / "fresh")
            os.replace(own / "fresh", own / kind)

    renew("first")
    file = tmp_path / "etc" / "gate.yaml"
    place = {"url": "https://10.77.0.2:7443", "ca": str(pki.ca), "cert": str(own / "cert"), "key": str(own / "key")}
    file.write_text(yaml.safe_dump(place))
    command = [remote.PCN, "serve-service", str(remote.GATE), "--only", "gate", "--listen", "10.77.0.2:7443", "--ca", str(pki.ca), "--cert", shown[0], "--key", shown[1]]
    files = tmp_path / "files"
    files.mkdir()
    with remote.Served(*command, space=space) as served:
        services = Services()
        assert services.get("gate") is None
        file.write_text(yaml.safe_dump(place | {"digest": services.why_not("gate").rpartition("digest: ")[2]}))
        lab.cube("gate1")["denied"] = [NOBODY]
        (files / "gate.yaml").write_text(yaml.safe_dump(lab.document().data))
        with AgentProcess(lab.root, tmp_path / "log", str(files)) as agent, lab.sniff("h1") as seen:
            agent.until(lambda said: said["healthy"], 40)
            with traffic_of(lab):
                assert answered(lab, seen)
                served.kill()
                assert not answered(lab, seen, 1)
                served.start()
                assert answered(lab, seen)
                workers = agent.status()["slow_path"]["workers"]
                renew("second")
                agent.until(lambda said: said["slow_path"]["workers"].keys() not in (workers.keys(), set()), 60)
                assert answered(lab, seen)
    lab.pcn("delete", "rest")


SENDER = '''
import threading
import time
SENDS = True
class SlowPath:
    def __init__(self, cube):
        self.cube = cube
        threading.Thread(target=self.work, daemon=True).start()
    def work(self):
        for number in range(100000):
            time.sleep(0.2)
            self.cube.log("INFO", f"number {number}")
            self.cube.send_packet_out(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(50), "p1", self.cube.EGRESS)
    def packet_in(self, packet, md, reason):
        pass
'''


def test_what_a_service_sends_of_its_own_accord_goes_out_and_does_so_again_after_its_death(lab: Lab, tmp_path: Path) -> None:
    Tree(tmp_path).add("herald", [rx("return RX_OK;")], implementation=SENDER)
    files, at = tmp_path / "files", remote.socket_of("herald")
    files.mkdir()
    lab.spec["cubes"][:] = [{"name": "he1", "service-name": "herald", "ports": [{"name": "p1", "peer": "v1"}, {"name": "p2", "peer": "v2"}]}]
    served = remote.Served(remote.PCN, "serve-service", str(tmp_path), "--only", "herald", at=at)
    with served:
        (files / "herald.yaml").write_text(yaml.safe_dump(lab.document().data))
        with AgentProcess(lab.root, tmp_path / "log", str(files)) as agent, lab.sniff("h1") as seen:
            agent.until(lambda said: said["healthy"], 40)

            def heard() -> bool:
                return seen.next(30, lambda frame: frame[6:14] == bytes.fromhex("02000000000188b5")) is not None

            assert heard()
            served.kill()
            while seen.next(1.0, lambda frame: frame[12:14] == b"\x88\xb5") is not None:
                pass
            served.start()
            assert heard(), agent.text()
            assert "number 0" in agent.text()
    lab.pcn("delete", "rest")
