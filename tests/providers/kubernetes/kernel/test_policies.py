"""Policies in force before a pod's first packet, and for pods that are there, with real packets."""
from __future__ import annotations

import contextlib
import socket

import pytest

from reconciler.kernel import netns
from tests.lib.open_flows import open_flow, passes
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.kernel.lab import FAR_POD, NodeLab

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


def test_a_nodes_first_policy_of_each_kind_loads_no_program(tmp_path):
    """Nor does the last one that goes. Each refuses the client, in both families, and is deleted before the next one comes."""
    web, friend = {"matchLabels": {"app": "web"}}, {"podSelector": {"matchLabels": {"app": "friend"}}}
    others = ("0.0.0.0/0", "10.244.0.0/16"), ("::/0", "fd00:244::/32")
    blocks = [{"ipBlock": {"cidr": cidr, "except": [without]}} for cidr, without in others]
    kinds = {
        "deny": {"policyTypes": ["Ingress"]},
        "pods": {"ingress": [{"from": [friend]}]},
        "namespaces": {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}]},
        "port": {"ingress": [{"ports": [{"port": 81}]}]},
        "port range": {"ingress": [{"ports": [{"port": 81, "endPort": 90}, {"protocol": "UDP", "port": 1, "endPort": 7}]}]},
        "named port": {"ingress": [{"ports": [{"port": "other"}]}]},
        "blocks": {"ingress": [{"from": blocks}]},
    }
    away = {"egress": [{"to": blocks}], "policyTypes": ["Egress"]}
    with NodeLab(tmp_path) as lab:
        server = lab.add("web", app="web", ports=({"name": "other", "containerPort": 82},))
        client, _ = lab.add("client", app="client"), lab.add("friend", app="friend")

        def loads() -> int:
            return lab.agent.status()["done"]["program_loads"]

        def reaches(address: str) -> bool:
            return lab.ask(client.netns, address, 8080, 0.3).startswith("web")

        def tried(name: str, kind: str, policy: dict) -> None:
            before = loads()
            lab.api.put(kind, policy)
            for address in server.ips:
                lab.within(10, lambda address=address: not reaches(address))
            assert loads() == before, f"{name}: what comes"
            lab.api.delete(kind, policy["metadata"].get("namespace", ""), policy["metadata"]["name"])
            for address in server.ips:
                lab.within(10, lambda address=address: reaches(address))
            assert loads() == before, f"{name}: what goes"

        with lab.serving(server.netns, 8080, "web", v6=True):
            assert all(map(reaches, server.ips))
            for name, spec in kinds.items():
                tried(name, "policies", objects.policy("first", select=web, **spec))
            tried("egress", "policies", objects.policy("first", select={"matchLabels": {"app": "client"}}, **away))
            refused = {"subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}
            tried("baseline", "baseline_policies", {"metadata": {"name": "default"}, "spec": refused})
            tried("admin", "admin_policies", {"metadata": {"name": "first"}, "spec": {**refused, "priority": 1}})


def test_connections_that_are_open_stop_when_policies_refuse_them_and_others_go_on(tmp_path):
    """By a label, by a policy, and by one that comes; between two pods of the node in both families, and from a pod of another one."""
    with NodeLab(tmp_path) as lab, contextlib.ExitStack() as stack:
        only = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}, {"ipBlock": {"cidr": "10.244.2.0/24"}}]}]}
        lab.api.put("policies", objects.policy("friends", select={"matchLabels": {"app": "web"}}, **only))
        friend, other, web = lab.add("friend", app="friend"), lab.add("other", app="friend"), lab.add("web", app="web")
        flows, others = [], []
        for at, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            for number, address in enumerate(web.ips):
                flows.append(stack.enter_context(open_flow(friend.netns, web.netns, address, 7000 + 10 * at + number, kind)))
                others.append(stack.enter_context(open_flow(other.netns, web.netns, address, 7100 + 10 * at + number, kind)))
            flows.append(stack.enter_context(open_flow(lab.outside, web.netns, web.ip, 7200 + at, kind, source=FAR_POD)))
            others.append(stack.enter_context(open_flow(None, web.netns, web.ip, 7300 + at, kind)))
        inside, outside = [flows[at] for at in (0, 1, 3, 4)], [flows[at] for at in (2, 5)]

        def stop(some) -> None:
            lab.within(10, lambda: not any(passes(server, client, 0.2) or passes(client, server, 0.2) for client, server in some))

        def go_on(some) -> None:
            assert all(passes(server, client) and passes(client, server) for client, server in some)

        lab.api.put("pods", objects.pod("friend", "n1", ips=friend.ips))
        stop(inside)
        go_on([*outside, *others])
        lab.api.put("pods", objects.pod("friend", "n1", ips=friend.ips, app="friend"))
        lab.within(20, lambda: all(passes(client, server, 0.5) for client, server in inside))
        go_on(inside)
        only = {"ingress": [{"from": only["ingress"][0]["from"][:1]}]}
        lab.api.put("policies", objects.policy("friends", select={"matchLabels": {"app": "web"}}, **only))
        stop(outside)
        go_on([*inside, *others])
        lab.api.put("policies", objects.policy("mute", select={"matchLabels": {"app": "friend"}}, policyTypes=["Egress"]))
        stop([*inside, *others[:2]])
        go_on([others[2], others[5]])


def test_administrators_tiers_stand_before_and_behind_network_policies(tmp_path):
    def tier(kind: str, name: str, *ingress: dict, **more: int) -> None:
        lab.api.put(kind, {"metadata": {"name": name}, "spec": {"subject": {"namespaces": {}}, "ingress": list(ingress), **more}})

    def pods(app: str) -> list[dict]:
        return [{"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": app}}}}]

    with NodeLab(tmp_path) as lab:
        web, client = lab.add("web", app="web"), lab.add("client", app="client")
        tier("baseline_policies", "default", {"action": "Deny", "from": [{"namespaces": {}}]})

        def reaches() -> bool:
            return lab.ask(client.netns, web.ip, 8080, 0.3) == f"web {client.ip}"

        with lab.serving(web.netns, 8080, "web"):
            lab.within(10, lambda: not reaches())
            lab.api.put("policies", objects.policy("web", select={"matchLabels": {"app": "web"}}, ingress=[{"ports": [{"port": 8080}]}]))
            lab.within(10, reaches)
            tier("admin_policies", "shut", {"action": "Deny", "from": pods("client"), "ports": [{"portNumber": {"protocol": "TCP", "port": 8080}}]}, priority=9)
            lab.within(10, lambda: not reaches())
            tier("admin_policies", "but", {"action": "Pass", "from": pods("client")}, priority=5)
            lab.within(10, reaches)
            lab.api.delete("policies", "default", "web")
            lab.within(10, lambda: not reaches())
            tier("admin_policies", "but", {"action": "Allow", "from": pods("client")}, priority=5)
            lab.within(10, reaches)


def test_what_a_policy_of_its_target_refused_cannot_be_answered(tmp_path):
    """The target may send nothing of its own: what it sends was taken for an answer, as its source's side had let the question pass."""
    with NodeLab(tmp_path) as lab:
        lab.api.put("policies", objects.policy("closed", select={"matchLabels": {"app": "closed"}}, policyTypes=["Ingress", "Egress"]))
        client, closed, free = lab.add("client"), lab.add("closed", app="closed"), lab.add("free")
        for target, arrives in ((closed, False), (free, True)):
            ends = []
            for pod, port in ((client, 5000), (target, 5353)):
                with netns.inside(pod.netns):
                    ends.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                ends[-1].bind((pod.ip, port))
                ends[-1].setblocking(False)
            with ends[0] as asks, ends[1] as answers:
                asks.connect((target.ip, 5353))
                answers.connect((client.ip, 5000))
                assert passes(asks, answers, 0.5) == arrives
                assert passes(answers, asks, 0.5) == arrives


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
    with NodeLab(tmp_path, more=("--log-refused", "--metrics", f"unix:{tmp_path}/metrics")) as lab:
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
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{tmp_path}/metrics")
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert b"\npcn_k8s_pods 2\n" in sock.makefile("rb").read()
