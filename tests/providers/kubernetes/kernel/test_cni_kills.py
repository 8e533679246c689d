"""The provider and the plugin killed at each of their calls of the kernel in ADD and DEL: nothing is lost, nothing is left."""
from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import NodeLab
from tests.providers.kubernetes.kernel.test_cni import pod_netdevs
from tests.providers.kubernetes.stubs import LANGUAGES, stub

pytestmark = [
    pytest.mark.kernel, pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace kills at a given call, and is not here"),
]  # fmt: skip
CALLS = "sendto,setns"  # requests of netlink and what is said to the agent and the plugin; into the pod's namespace and back
SLOTS = 4


@contextlib.contextmanager
def killed_at(process: int, call: int, calls: str = CALLS) -> Iterator[None]:
    """Meanwhile that process dies before its call of this number, over all its threads."""
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={call}", "-p", str(process)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
        status = Path(f"/proc/{process}/status")
        while "TracerPid:\t0" in status.read_text() and tracer.poll() is None:
            time.sleep(0.005)
        try:
            yield
        finally:
            tracer.terminate()
            try:
                tracer.wait(10)
            except subprocess.TimeoutExpired:  # it waits for a thread that it has killed, and now and then for ever
                tracer.kill()


def attach(lab: NodeLab, number: int) -> tuple[str, str, str]:
    """A pod's name, container and namespace."""
    lab.api.put("pods", objects.pod(f"k{number}", "n1"))
    return f"k{number}", f"ck{number}", lab.world.namespace(f"k{number}")


def collected(lab: NodeLab, *containers: str) -> set[str]:
    """Netdevs of pods that are left once those of all other containers were collected."""
    valid = {"cni.dev/valid-attachments": [{"containerID": each, "ifname": "eth0"} for each in containers]}
    assert lab.cni("GC", version="1.1.0", config=valid)[0] == 0
    return pod_netdevs()


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
@pytest.mark.parametrize("then", ["GC", "again"])
def test_the_provider_is_killed_at_each_call(tmp_path, verb, then):
    with NodeLab(tmp_path, slots=SLOTS) as lab:
        for call in count(1):
            pod = attach(lab, call)
            if verb == "DEL":
                assert lab.cni("ADD", *pod)[0] == 0
            with killed_at(lab.provider.pid, call):
                code, said = lab.cni(verb, *pod)
            survived = lab.provider.poll() is None
            assert verb == "ADD" or code == 0, said
            if not survived:
                lab.provider.wait(10)
                lab.start_provider()
            if then == "again":
                code, said = lab.cni(verb, *pod)
                assert code == 0, f"{said} at call {call}\n{lab.log()}"
                assert lab.cni("DEL", *pod)[0] == 0
                assert pod_netdevs() == set(), call
            assert collected(lab) == set(), call
            if survived:
                break
        assert call > 2, "it was killed at least at two of them"
        pods = [attach(lab, 100 + number) for number in range(SLOTS)]
        found = [lab.cni("ADD", *pod) for pod in pods]
        assert [code for code, _ in found] == [0] * SLOTS, f"no address is lost: {found}"
        assert len({said["ips"][0]["address"] for _, said in found}) == SLOTS
        for pod in pods:
            assert lab.cni("DEL", *pod)[0] == 0
        assert pod_netdevs() == set()


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_plugin_is_killed_at_each_call(tmp_path, verb, language):
    plugin = stub(language, tmp_path)
    with NodeLab(tmp_path, slots=SLOTS) as lab:
        lab.plugin = plugin
        for call in ("socket", "connect", "sendto", "shutdown", "recvfrom"):
            pod = attach(lab, sum(map(ord, call)))
            if verb == "DEL":
                assert lab.cni("ADD", *pod)[0] == 0
            code, _ = lab.cni(verb, *pod, under=("strace", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when=1"))
            assert code != 0
            assert lab.cni("DEL", *pod)[0] == 0, "what a runtime does after an ADD or a DEL that failed"
            assert collected(lab) == set()
            lab.within(10, lambda: lab.status()["attached"] == 0)
