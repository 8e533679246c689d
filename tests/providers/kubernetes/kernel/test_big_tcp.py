"""BIG TCP: streams of pods in segments of more than 64 KiB arrive as they were sent, wherever they lead; with real packets."""
from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from providers.kubernetes.main import main
from reconciler.kernel import netns
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import OUTSIDE, OUTSIDE6, NodeLab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]
AMOUNT = 64 << 20  # bytes of a stream


def stream(lab: NodeLab, source: str | None, target: str | None, address: str, port: int, listens: int) -> bool:
    """Whether what is sent to `address` is what arrives at `target`, byte for byte."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside(target):
        server = socket.socket(family, socket.SOCK_STREAM)
    with netns.inside(source):
        client = socket.socket(family, socket.SOCK_STREAM)
    got = hashlib.sha256()

    def receive() -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(1 << 20):
                got.update(data)

    with server, client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", listens))
        server.listen(1)
        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        sent, block = hashlib.sha256(), os.urandom(1 << 20)
        client.settimeout(20.0)
        client.connect((address, port))
        for _ in range(AMOUNT >> 20):
            client.sendall(block)
            sent.update(block)
        client.close()
        thread.join(20.0)
    return got.digest() == sent.digest()


def mean_sizes() -> list[float]:
    """Bytes of a packet that came in by each pod's netdev, on average."""
    lines = [line.replace(":", " ").split() for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]]
    return [int(received) / int(packets) for name, received, packets, *_ in lines if name.startswith("pod")]


def test_a_stream_in_long_segments_arrives_as_it_was_sent(tmp_path):
    with NodeLab(tmp_path, more=("--big-tcp",)) as lab:
        a, b = lab.add("a"), lab.add("b")
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        lab.api.put("services", objects.service("web", "10.96.0.10", "fd00:96::10", ports=ports))
        lab.api.put("slices", objects.slices("web", 8080, objects.endpoint(b.ip, "n1"), port_name="http"))
        lab.api.put("slices", objects.slices("web", 8080, objects.endpoint(b.ips[1], "n1"), port_name="http", family="IPv6"))
        with lab.serving(b.netns, 8080, "b"):
            lab.within(10, lambda: lab.ask(a.netns, "10.96.0.10", 80, 0.5).startswith("b"))
        for address, port in ((b.ip, 8080), (b.ips[1], 8080), ("10.96.0.10", 80), ("fd00:96::10", 80)):
            assert stream(lab, a.netns, b.netns, address, port, 8080), address
        for address in (OUTSIDE, OUTSIDE6):  # the uplink has 64 KiB: the kernel cuts what is longer
            assert stream(lab, a.netns, lab.outside, address, 9000, 9000), address
        for address in a.ips:
            assert stream(lab, None, a.netns, address, 9001, 9001), address
        assert max(mean_sizes()) > 65536


def test_segments_are_as_usual_without_it(tmp_path):
    with NodeLab(tmp_path) as lab:
        a, b = lab.add("a"), lab.add("b")
        assert stream(lab, a.netns, b.netns, b.ip, 8080, 8080)
        assert 1500 < max(mean_sizes()) < 65600


def test_it_is_refused_with_an_overlay(tmp_path, capsys):
    config = tmp_path / "config"
    config.write_text("{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: "
                      "{server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}")  # fmt: skip
    assert main(["run", "--node", "n", "--kubeconfig", str(config), "--big-tcp", "--overlay", "vxlan", "--bpffs", str(tmp_path)]) == 64
    assert "--big-tcp: not with an overlay" in capsys.readouterr().err
