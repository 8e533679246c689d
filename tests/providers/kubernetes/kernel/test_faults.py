"""What goes wrong around a node that has pods: the API server, the agent, the clock, a boot. Traffic goes on, and nothing is lost."""
from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite, netns, rtnl
from tests.lib.agent_process import AgentProcess
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import NodeLab
from tests.providers.kubernetes.kernel.test_cni import pod_netdevs
from tests.providers.kubernetes.kernel.test_cni_kills import attach, killed_at

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]
TRY_LATER = 11
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  long jump = 0;
  FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("PCN_TEST_JUMP"), "r") : 0;
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  if (file) { if (fscanf(file, "%ld", &jump) != 1) jump = 0; fclose(file); }
  int code = real(clock, now);
  now->tv_sec += jump;
  return code;
}
"""


def begin_agent(lab: NodeLab) -> None:
    lab.agent = AgentProcess(lab.root, lab.directory / "agent.log", str(lab.directory / "files"), patience=120)
    lab.agent.until(lambda said: bool(said["looks"] or said["problems"]), 120)


def serve(lab: NodeLab, name: str, vip: str, address: str) -> None:
    lab.api.put("services", objects.service(name, vip, ports=[{"port": 80, "targetPort": 8080}]))
    lab.api.put("slices", objects.slices(name, 8080, objects.endpoint(address, "n1")))


def test_the_api_server_is_away_and_then_has_forgotten_all_versions(tmp_path):
    with NodeLab(tmp_path) as lab:
        a, b = lab.add("a"), lab.add("b")
        serve(lab, "old", "10.96.0.10", a.ip)
        name, container, space = attach(lab, 1)  # a pod that is known, and has no network yet
        with lab.serving(a.netns, 8080, "a"):
            lab.within(10, lambda: lab.ask(b.netns, "10.96.0.10", 80, 0.5) == f"a {b.ip}")
            loads = lab.agent.status()["done"]["program_loads"]
            lab.api.is_away = True
            lab.api.cut()
            lab.api.delete("services", "default", "old")
            serve(lab, "new", "10.96.0.11", a.ip)
            lab.api.compact()
            time.sleep(1)
            assert lab.ask(b.netns, "10.96.0.10", 80) == f"a {b.ip}", "what is known stays in force"
            code, said = lab.cni("ADD", name, container, space)
            assert code == 0, said
            code, said = lab.cni("ADD", "unheard-of", "cx", lab.world.namespace("x"))
            assert (code, said["code"]) == (1, TRY_LATER)
            assert len(pod_netdevs()) == 3, "nothing is left of it"
            lab.api.is_away = False
            lab.within(20, lambda: lab.ask(b.netns, "10.96.0.11", 80, 0.5) == f"a {b.ip}")
            lab.within(20, lambda: not lab.ask(b.netns, "10.96.0.10", 80, 0.3).startswith("a"))
            assert lab.ask(b.netns, a.ip, 8080) == f"a {b.ip}"
            new = lab.agent.status()["done"]["program_loads"] - loads
            assert new <= 1, "of the pod that was added, and for nothing else"


def test_an_agent_that_is_away_two_adds_at_once_and_a_pod_that_is_deleted_while_it_is_added(tmp_path):
    with NodeLab(tmp_path, slots=4) as lab:
        pod = attach(lab, 1)
        found = []
        adding = [threading.Thread(target=lambda: found.append(lab.cni("ADD", *pod))) for _ in range(2)]
        for each in adding:
            each.start()
        for each in adding:
            each.join()
        assert [code for code, _ in found] == [0, 0], found
        assert found[0][1]["ips"] == found[1][1]["ips"], "one container has one address"
        assert len(pod_netdevs()) == 1

        lab.agent.kill()
        assert lab.cni("DEL", *pod) == (0, None), "DEL needs no agent"
        assert lab.cni("DEL", *pod) == (0, None)
        assert pod_netdevs() == set()
        begin_agent(lab)
        pod = attach(lab, 2)
        lab.within(30, lambda: lab.cni("ADD", *pod)[0] == 0)
        valid = {"cni.dev/valid-attachments": []}
        assert lab.cni("GC", version="1.1.0", config=valid)[0] == 0

        for number in range(3, 9):  # more than there are slots
            pod = attach(lab, number)
            adding = [threading.Thread(target=lab.cni, args=("ADD", *pod))]
            adding[0].start()
            lab.within(10, lambda adding=adding: bool(pod_netdevs()) or not adding[0].is_alive())
            assert lab.cni("DEL", *pod)[0] == 0
            adding[0].join()
            assert lab.cni("DEL", *pod)[0] == 0, "as a runtime does for an ADD that failed"
            assert pod_netdevs() == set()
        lab.within(10, lambda: lab.status()["attached"] == 0)
        pods = [lab.add(f"p{number}") for number in range(4)]
        assert len({each.ip for each in pods}) == 4, "no slot is lost"


def test_bpffs_is_empty_while_pods_run_and_after_a_boot(tmp_path):
    with NodeLab(tmp_path, slots=4) as lab:
        a, b = lab.add("a"), lab.add("b")
        serve(lab, "web", "10.96.0.10", a.ip)
        with lab.serving(a.netns, 8080, "a"):
            lab.within(10, lambda: lab.ask(b.netns, "10.96.0.10", 80, 0.5) == f"a {b.ip}")
            lab.agent.kill()
            shutil.rmtree(lab.root)
            lab.within(10, lambda: lab.ask(b.netns, a.ip, 8080, 0.3) == "")  # links are detached after an RCU grace period
            begin_agent(lab)
            lab.within(60, lambda: lab.ask(b.netns, "10.96.0.10", 80, 0.5) == f"a {b.ip}")
            assert lab.ask(b.netns, a.ip, 8080) == f"a {b.ip}", "pods keep their addresses"

        for process in (lab.provider, lab.agent.process):
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        for pod in (a, b):
            netns.delete(pod.netns)
        lab.within(10, lambda: not pod_netdevs())
        for name in ("pcn-up", "pcn-out", "pcn-host"):
            linkwrite.delete_link(name)
        shutil.rmtree(lab.root)
        begin_agent(lab)
        lab.start_provider()
        assert lab.status()["attached"] == 0
        assert lab.cni("DEL", "a", a.container, "")[0] == 0, "of a container of before"
        c, d = lab.add("c"), lab.add("d")
        serve(lab, "web", "10.96.0.10", c.ip)
        with lab.serving(c.netns, 8080, "c"):
            lab.within(10, lambda: lab.ask(d.netns, "10.96.0.10", 80, 0.5) == f"c {d.ip}")
        assert {"pcn-up", "pcn-out", "pcn-host"} <= rtnl.links().keys()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="what moves the clock is compiled, and there is no gcc")
def test_the_clock_jumps_by_a_day_either_way(tmp_path, monkeypatch):
    (tmp_path / "clock.c").write_text(CLOCK)
    jump = tmp_path / "jump"
    jump.write_text("0")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "clock.so", tmp_path / "clock.c", "-ldl"], check=True)
    monkeypatch.setenv("PCN_TEST_JUMP", str(jump))
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "clock.so"))
    with NodeLab(tmp_path) as lab:
        monkeypatch.delenv("LD_PRELOAD")
        a, b = lab.add("a"), lab.add("b")
        with lab.serving(a.netns, 8080, "a"):
            for number, seconds in enumerate((86400, -86400)):
                jump.write_text(str(seconds))
                vip = f"10.96.0.{20 + number}"
                serve(lab, f"s{number}", vip, a.ip)
                took = lab.within(10, lambda vip=vip: lab.ask(b.netns, vip, 80, 0.3) == f"a {b.ip}")
                assert took < 5
                c = lab.add(f"c{number}")
                assert lab.ask(c.netns, a.ip, 8080) == f"a {c.ip}"
                lab.until(lambda said: said["healthy"])
                assert abs(lab.status()["in_force_since"] - time.time() - seconds) < 3600, "its clock did jump"


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace kills at a given call, and is not here")
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_agent_is_killed_at_calls_further_and_further_on(tmp_path, verb):
    """Of bpf and what it says to the provider: the 1st, the 2nd, the 4th..., until it outlives the verb."""
    with NodeLab(tmp_path, slots=4) as lab:
        for number in count():
            pod = attach(lab, number)
            if verb == "DEL":
                assert lab.cni("ADD", *pod)[0] == 0
            with killed_at(lab.agent.process.pid, 2**number, "bpf,sendto"):
                code, said = lab.cni(verb, *pod)
                if verb == "DEL":
                    time.sleep(0.5)  # it looks when the netdev is gone
            assert code == 0 or (verb == "ADD" and said["code"] == TRY_LATER), said
            survived = lab.agent.process.poll() is None
            if not survived:
                lab.agent.process.wait(10)
                begin_agent(lab)
            lab.within(60, lambda pod=pod: lab.cni("ADD", *pod)[0] == 0)
            assert lab.cni("DEL", *pod)[0] == 0
            assert pod_netdevs() == set()
            if survived:
                break
        assert number > 2, "it was killed at least at three of them"
        assert Path(lab.root).is_dir()
