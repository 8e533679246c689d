"""Pods of one node by CNI calls, with real packets: pods, services of all kinds, the host, the outside."""
from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import FAR_POD, NODE, NODE6, OTHER, OUTSIDE, OUTSIDE6, NodeLab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]


def test_pods_reach_each_other_services_the_host_and_the_outside(tmp_path):
    with NodeLab(tmp_path) as lab:
        a, b = lab.add("a", app="web"), lab.add("b")
        with lab.serving(a.netns, 8080, "a"):
            assert lab.ask(b.netns, a.ip, 8080) == f"a {b.ip}"
            assert lab.ask(None, a.ip, 8080).startswith("a ")
            assert lab.ask(lab.outside, OUTSIDE, 1) in ("refused", "")


@pytest.mark.parametrize("more", [(), ("--direct",)], ids=["", "direct"])
def test_services_of_all_kinds_for_pods_the_host_and_the_outside(tmp_path, more):
    with NodeLab(tmp_path, more=more) as lab:
        a, b = lab.add("a", ports=({"containerPort": 8080, "hostPort": 8888},), app="web"), lab.add("b")
        web = {"name": "http", "port": 80, "targetPort": 8080}
        lab.api.put("services", objects.service("web", "10.96.0.10", "fd00:96::10", ports=[{**web, "nodePort": 30080}], type="NodePort",
                                                externalIPs=["198.51.100.7"]))  # fmt: skip
        lab.api.put("services", objects.service("near", "10.96.0.11", ports=[{**web, "nodePort": 30081}], type="LoadBalancer",
                                                balanced=["198.51.100.9"], externalTrafficPolicy="Local", healthCheckNodePort=32000))  # fmt: skip
        lab.api.put("services", objects.service("none", "10.96.0.12", ports=[web]))
        lab.api.put("services", objects.service("some", "10.96.0.13", ports=[web], type="LoadBalancer", balanced=["198.51.100.10"],
                                                loadBalancerSourceRanges=["192.0.2.0/24"]))  # fmt: skip
        for name in ("web", "near", "some"):
            lab.api.put("slices", objects.slices(name, 8080, objects.endpoint(a.ip, "n1", ready=True), port_name="http"))
        lab.api.put("slices", objects.slices("web", 8080, objects.endpoint(a.ips[1], "n1"), port_name="http", family="IPv6"))
        with lab.serving(a.netns, 8080, "a"), lab.serving(lab.outside, 9000, "out"):
            lab.within(10, lambda: lab.ask(b.netns, "10.96.0.13", 80).startswith("a"))
            assert lab.ask(b.netns, "10.96.0.10", 80) == f"a {b.ip}", "a pod keeps its address"
            assert lab.ask(None, "10.96.0.10", 80) == "a 10.244.1.2", "the host has the node's"
            assert lab.ask(a.netns, "10.96.0.10", 80) == "a 10.244.1.4", "a pod reaches itself"
            assert lab.ask(b.netns, "10.96.0.12", 80) == "refused", "no endpoints"
            assert lab.ask(None, "10.96.0.12", 80) == "refused"
            assert lab.ask(lab.outside, NODE, 30080) == "a 10.244.1.2"
            assert lab.ask(lab.outside, "198.51.100.7", 80) == "a 10.244.1.2"
            assert lab.ask(lab.outside, NODE, 30081) == f"a {OUTSIDE}", "externalTrafficPolicy Local keeps the client's address"
            assert lab.ask(lab.outside, "198.51.100.9", 80) == f"a {OUTSIDE}"
            assert lab.ask(lab.outside, NODE, 8888) == f"a {OUTSIDE}", "a host port"
            assert lab.ask(b.netns, NODE, 30080) == f"a {b.ip}"
            assert lab.ask(b.netns, "198.51.100.9", 80) == f"a {b.ip}"
            assert lab.ask(lab.outside, "198.51.100.10", 80, 0.5) == "", "source ranges"
            assert lab.ask(b.netns, OUTSIDE, 9000) == f"out {NODE}", "pods leave with the node's address"
            assert lab.ask(None, OUTSIDE, 9000) == f"out {NODE}"
        with lab.serving(a.netns, 8080, "a6", v6=True), lab.serving(lab.outside, 9000, "out6", v6=True):
            assert lab.ask(b.netns, a.ips[1], 8080) == f"a6 {b.ips[1]}"
            assert lab.ask(b.netns, "fd00:96::10", 80) == f"a6 {b.ips[1]}"
            assert lab.ask(None, "fd00:96::10", 80) == "a6 fd00:244:0:1::2"
            assert lab.ask(lab.outside, NODE6, 30080) == "a6 fd00:244:0:1::2"
            assert lab.ask(b.netns, OUTSIDE6, 9000) == f"out6 {NODE6}"
        health = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        assert "200 OK" in lab.say(None, "127.0.0.1", 32000, health)
        lab.api.delete("slices", "default", "near-ipv4-x")
        lab.within(10, lambda: "503" in lab.say(None, "127.0.0.1", 32000, health))


def test_no_packet_is_lost_while_the_balancer_for_clients_that_keep_their_address_comes_and_goes(tmp_path):
    with NodeLab(tmp_path) as lab:
        a, b = lab.add("a"), lab.add("b")
        near = objects.service("near", "10.96.0.11", ports=[{"port": 80, "nodePort": 30081}], type="NodePort", externalTrafficPolicy="Local")
        words = ["ip", "netns", "exec", b.netns, "ping", "-q", "-i", "0.002", "-c", "100000", a.ip]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ping:
            for _ in range(3):
                lab.api.put("services", near)
                lab.within(20, lambda: os.path.exists(f"{lab.root}/cubes/local"))
                lab.api.delete("services", "default", "near")
                lab.within(20, lambda: not os.path.exists(f"{lab.root}/cubes/local"))
            ping.send_signal(signal.SIGINT)
            said = ping.communicate(timeout=20)[0]
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
        assert sent > 100
        assert sent - received <= 1, said  # one may be under way


def test_pods_and_services_of_another_node(tmp_path):
    with NodeLab(tmp_path) as lab:
        a = lab.add("a")
        lab.api.put("services", objects.service("far", "10.96.0.20", ports=[{"port": 80, "nodePort": 30090}], type="NodePort"))
        lab.api.put("slices", objects.slices("far", 8080, objects.endpoint(FAR_POD, "n2")))
        with lab.serving(lab.outside, 8080, "far"), lab.serving(a.netns, 8081, "a"):
            lab.within(10, lambda: lab.ask(a.netns, "10.96.0.20", 80) == f"far {a.ip}")
            assert lab.ask(a.netns, FAR_POD, 8080) == f"far {a.ip}", "pods see one another's addresses"
            assert lab.ask(a.netns, OTHER, 8080) == f"far {a.ip}", "nodes too"
            assert lab.ask(None, FAR_POD, 8080) == f"far {NODE}"
            assert lab.ask(None, "10.96.0.20", 80) == "far 10.244.1.2", "the answer of another node's pod finds the host"
            assert lab.ask(lab.outside, NODE, 30090) == "far 10.244.1.2", "a node port whose endpoint is elsewhere"
            assert lab.ask(lab.outside, a.ip, 8081, source=FAR_POD) == f"a {FAR_POD}"
            lab.api.delete("nodes", "", "n2")
            lab.within(10, lambda: lab.ask(a.netns, FAR_POD, 8080, 0.5) == f"far {NODE}")  # nobody's in the cluster any more


def test_a_pod_range_that_changes_cuts_no_pod_off_even_if_the_provider_begins_anew(tmp_path):
    with NodeLab(tmp_path) as lab:
        old = lab.add("old")
        others = ("10.244.77.0/24", "fd00:244:0:77::/64")
        with lab.serving(old.netns, 8080, "old"), lab.serving(old.netns, 8081, "old", v6=True):
            lab.api.put("nodes", objects.node("n1", others, NODE, NODE6))
            lab.until(lambda said: any("stays in use" in note for note in said["notes"]))
            assert "10.244.77.0/24, fd00:244:0:77::/64 pod range now" in lab.command("status")
            for _ in range(2):
                assert lab.ask(None, old.ip, 8080).startswith("old")
                assert lab.ask(None, old.ips[1], 8081).startswith("old")
                lab.provider.terminate()
                lab.provider.wait(10)
                lab.start_provider()
            beside = lab.add("beside")
            assert beside.ip.startswith("10.244.1."), beside
            assert lab.ask(beside.netns, old.ip, 8080) == f"old {beside.ip}"
        for pod in (old, beside):
            lab.remove(pod)
        lab.until(lambda said: not said["notes"] and not said["pending"])
        assert lab.add("new").ip.startswith("10.244.77.")
