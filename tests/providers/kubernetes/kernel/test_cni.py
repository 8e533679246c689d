"""The verbs of CNI on a node: idempotent, without an agent, after kills, with namespaces that are gone."""
from __future__ import annotations

import signal
import threading

import pytest

from reconciler.kernel import netns, rtnl
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import NodeLab
from tests.providers.kubernetes.stubs import LANGUAGES, stub

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]


def pod_netdevs() -> set[str]:
    return {name for name in rtnl.links() if name.startswith("pod")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_verbs_of_cni_and_what_can_go_wrong_with_them(tmp_path, language):
    plugin = stub(language, tmp_path)
    with NodeLab(tmp_path, slots=4) as lab:
        lab.plugin = plugin
        a = lab.add("a")
        code, again = lab.cni("ADD", "a", a.container, a.netns)
        assert code == 0
        assert again["ips"][0]["address"] == f"{a.ip}/32", "the same container again: the same address"
        code, _ = lab.cni("CHECK", "a", a.container, a.netns, config={"prevResult": again})
        assert code == 0
        code, said = lab.cni("CHECK", "a", a.container, a.netns, config={"prevResult": {"ips": [{"address": "10.244.1.99/32"}]}})
        assert (code, said["code"]) == (1, 7)
        assert lab.cni("STATUS", version="1.1.0") == (0, None)
        assert lab.cni("VERSION")[1]["supportedVersions"][-1] == "1.1.0"
        code, old = lab.cni("ADD", "a", a.container, a.netns, version="0.3.1")
        assert old["ips"][0]["version"] == "4"
        code, new = lab.cni("ADD", "a", a.container, a.netns, version="1.1.0")
        assert new["interfaces"][1]["mtu"] == 1500

        code, said = lab.cni("ADD", "x", "cx", "no-such-namespace")
        assert (code, said["code"]) == (1, 3)
        code, said = lab.cni("ADD", "x", "../x", a.netns)
        assert (code, said["code"]) == (1, 4)
        assert len(pod_netdevs()) == 1

        others = [lab.add(f"b{number}") for number in range(3)]
        assert len({pod.ip for pod in (a, *others)}) == 4
        lab.api.put("pods", objects.pod("full", "n1"))
        space = lab.world.namespace("full")
        code, said = lab.cni("ADD", "full", "cfull", space)
        assert (code, said["code"]) == (1, 101), "a full node says so"
        assert lab.cni("STATUS", version="1.1.0")[0] == 1

        lab.remove(others[0])
        assert lab.cni("DEL", "b0", others[0].container, others[0].netns)[0] == 0, "DEL twice"
        netns.delete(others[1].netns)
        lab.within(10, lambda: len(pod_netdevs()) == 2)  # the kernel frees what was in it
        assert lab.cni("DEL", "b1", others[1].container, others[1].netns)[0] == 0, "DEL of a namespace that is gone"
        valid = {"cni.dev/valid-attachments": [{"containerID": a.container, "ifname": "eth0"}]}
        assert lab.cni("GC", version="1.1.0")[0] == 1, "GC without a list removes nothing"
        assert len(pod_netdevs()) == 2
        assert lab.cni("GC", version="1.1.0", config=valid)[0] == 0
        assert len(pod_netdevs()) == 1

        lab.provider.send_signal(signal.SIGKILL)
        lab.provider.wait(10)
        code, said = lab.cni("ADD", "full", "cfull", space)
        assert (code, said["code"]) == (1, 11), "try again later"
        with lab.serving(a.netns, 8080, "a"):
            assert lab.ask(None, a.ip, 8080).startswith("a"), "the datapath outlives the provider"
            loads = lab.agent.status()["done"]["program_loads"]
            lab.start_provider()
            assert lab.ask(None, a.ip, 8080).startswith("a")
        assert lab.status()["attached"] == 1, "pods that are there are adopted"
        assert lab.agent.status()["done"]["program_loads"] == loads
        assert lab.cni("ADD", "a", a.container, a.netns)[1]["ips"] == again["ips"]
        lab.provider.send_signal(signal.SIGKILL)
        lab.provider.wait(10)
        assert lab.cni("DEL", "a", a.container, "")[0] == 0, "DEL without a provider"
        assert pod_netdevs() == set()


@pytest.mark.exhaustive
def test_a_provider_killed_in_the_middle_of_an_add_loses_no_address(tmp_path):
    with NodeLab(tmp_path, slots=4) as lab:
        for number in range(4):
            lab.api.put("pods", objects.pod(f"k{number}", "n1"))
            space = lab.world.namespace(f"k{number}")
            adding = threading.Thread(target=lab.cni, args=("ADD", f"k{number}", f"ck{number}", space))
            adding.start()
            if number % 2:
                lab.within(10, lambda: bool(pod_netdevs()))
            lab.provider.send_signal(signal.SIGKILL)
            lab.provider.wait(10)
            adding.join()
            lab.start_provider()
            code, said = lab.cni("ADD", f"k{number}", f"ck{number}", space)
            assert code == 0, said
            assert lab.cni("DEL", f"k{number}", f"ck{number}", space)[0] == 0
            assert pod_netdevs() == set()
