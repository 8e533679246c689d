"""A backend that is deleted: flows that it served go on at another one, and those of others notice nothing."""
from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import ROOT, NodeLab, Pod

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(300)]
FLOWS = (sys.executable, str(ROOT / "scripts/kubernetes/flows.py"))
VIP, PORT = "10.96.0.10", 9000
LONGEST = 2.0  # seconds: a busy machine's. Alone it is about 0.03


def inside(pod: Pod, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["ip", "netns", "exec", pod.netns, *FLOWS, *words], stdout=subprocess.PIPE)


@contextmanager
def serving(*pods: Pod) -> Iterator[None]:
    processes = [inside(pod, "serve", str(PORT), pod.name) for pod in pods]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def endpoints(*pods: Pod, **conditions: bool) -> dict[str, object]:
    return objects.slices("moving", PORT, *(objects.endpoint(each.ip, "n1", **conditions) for each in pods), protocol="UDP")


def test_the_flows_of_a_backend_that_is_deleted_move_and_lose_nothing(tmp_path):
    with NodeLab(tmp_path) as lab:
        client, gone, stays = lab.add("client"), lab.add("gone"), lab.add("stays")
        lab.api.put("services", objects.service("moving", VIP, ports=[{"port": 53, "targetPort": PORT, "protocol": "UDP"}]))
        lab.api.put("slices", endpoints(gone, stays))
        with serving(gone, stays):
            for pod in (gone, stays):
                lab.within(20, lambda pod=pod: lab.ask(client.netns, pod.ip, PORT, 0.3, udp=True) == f"?{pod.name}")
            lab.within(20, lambda: bool(lab.ask(client.netns, VIP, 53, 0.3, udp=True)))
            asking = [inside(client, "ask", VIP, "53", "6") for _ in range(12)]
            time.sleep(3)
            terminating = objects.pod("gone", "n1", ips=gone.ips)
            terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            lab.api.put("pods", terminating)  # the order in which a cluster tells
            told_at = time.monotonic()
            lab.api.put("slices", endpoints(stays))
            time.sleep(LONGEST)
            lab.remove(gone)
            told = [json.loads(each.communicate()[0]) for each in asking]
        moved = [each for each in told if "gone" in each["first"]]
        assert 0 < len(moved) < len(told), "both had flows"
        took = max(each["first"]["stays"] - told_at for each in moved)
        assert took < LONGEST, f"moved after {1000 * took:.0f} ms"
        assert [each["lost"] for each in told] == [0] * len(told)
