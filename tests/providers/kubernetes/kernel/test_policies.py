"""Policies in force before a pod's first packet, and for pods that are there, with real packets."""
from __future__ import annotations

import pytest

from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import NodeLab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(500)]
ONLY_FRIENDS = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 8080}]}]}


def test_policies_hold_from_the_first_packet_and_change_with_pods_and_labels(tmp_path):
    with NodeLab(tmp_path) as lab:
        lab.api.put("policies", objects.policy("friends", select={"matchLabels": {"app": "web"}}, **ONLY_FRIENDS))
        lab.api.put("policies", objects.policy("mute", select={"matchLabels": {"app": "mute"}}, policyTypes=["Egress"]))
        stranger, friend = lab.add("stranger"), lab.add("friend", app="friend")
        web, mute = lab.add("web", app="web"), lab.add("mute", app="mute")
        lab.api.put("services", objects.service("web", "10.96.0.10", ports=[{"port": 80}]))
        lab.api.put("slices", objects.slices("web", 8080, objects.endpoint(web.ip, "n1")))
        with lab.serving(web.netns, 8080, "web"), lab.serving(web.netns, 8081, "web"), lab.serving(stranger.netns, 8080, "s"):
            assert lab.ask(mute.netns, stranger.ip, 8080, 0.5) == "", "the very first packet of a pod that may not send"
            assert lab.ask(stranger.netns, web.ip, 8080, 0.5) == ""
            assert lab.ask(friend.netns, web.ip, 8080) == f"web {friend.ip}"
            assert lab.ask(friend.netns, web.ip, 8081, 0.5) == ""
            assert lab.ask(None, web.ip, 8081).startswith("web"), "kubelet's probes"
            lab.within(10, lambda: lab.ask(friend.netns, "10.96.0.10", 80) == f"web {friend.ip}")
            assert lab.ask(stranger.netns, "10.96.0.10", 80, 0.5) == "", "not by way of a service either"
            lab.api.put("pods", objects.pod("stranger", "n1", ips=stranger.ips, app="friend"))
            lab.within(10, lambda: lab.ask(stranger.netns, web.ip, 8080, 0.5) == f"web {stranger.ip}")
            lab.api.delete("policies", "default", "mute")
            lab.within(10, lambda: lab.ask(mute.netns, stranger.ip, 8080, 0.5) == f"s {mute.ip}")
            lab.api.put("pods", objects.pod("stranger", "n1", ips=stranger.ips))
            lab.within(10, lambda: lab.ask(stranger.netns, web.ip, 8080, 0.5) == "")


@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_pods_under_a_deny_all_policy_send_nothing_from_their_first_instruction_on(tmp_path, count):
    """Each sends without a pause from before it has a netdev until it goes."""
    with NodeLab(tmp_path, slots=60) as lab:
        sink = lab.add("sink", app="sink")
        lab.api.put("policies", objects.policy("deny", select={"matchLabels": {"app": "denied"}}, policyTypes=["Ingress", "Egress"]))
        with lab.collecting(sink.netns, 9999) as got:
            sent = 0
            for number in range(count):
                space = lab.world.namespace(f"d{number}")
                with lab.sending(space, sink.ip, 9999) as so_far:
                    pod = lab.add(f"d{number}", space, app="denied")
                    lab.within(5, lambda so_far=so_far: so_far[0] >= 20)
                    sent += so_far[0]
                lab.remove(pod)
            last = lab.add("last")
            lab.send(last.netns, sink.ip, 9999)
            lab.within(5, lambda: bool(got))
        assert got == [last.ip], f"{got} of {sent} datagrams of {count} pods"


def test_who_is_refused_is_told_by_names_of_pods_and_policies(tmp_path):
    with NodeLab(tmp_path, more=("--log-refused",)) as lab:
        lab.api.put("policies", objects.policy("friends", select={"matchLabels": {"app": "web"}}, **ONLY_FRIENDS))
        stranger, web = lab.add("stranger"), lab.add("web", app="web")
        with lab.serving(web.netns, 8080, "web"), lab.refusals() as told:
            lab.within(10, lambda: lab.ask(stranger.netns, web.ip, 8080, 0.3) == "" and bool(told))
        assert (told[0]["source_name"], told[0]["target_name"]) == ("default/stranger", "default/web")
        assert (told[0]["policies"], told[0]["way"], told[0]["port"]) == ("default/friends", "ingress", "8080")
        done = lab.command("refused")
        assert "for pods of default/friends (ingress)" in done, done
        status = lab.command("status")
        assert "node n1: in force" in status
        assert "pods here: 2 of 12" in status
