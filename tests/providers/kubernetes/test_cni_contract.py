"""What the CNI plugin takes and answers, without a kernel."""
from __future__ import annotations

import json

import pytest

from providers.kubernetes.cni.contract import CniError, Given, request_of, result, valid_attachments, versions
from providers.kubernetes.cni.netdevs import Owner, pod_word

ENVIRONMENT = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/x",
               "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=a;K8S_POD_UID=7"}  # fmt: skip
GIVEN = Given("pod1", "02:00:00:00:00:01", "eth0", "/run/netns/x", 1400, (("10.244.1.8/32", "10.244.1.1"), ("fd00::8/128", "fd00::1")))


def asked(version: str = "1.0.0", **environment: str):
    return request_of(ENVIRONMENT | environment, json.dumps({"cniVersion": version}).encode())


def test_a_call_says_which_pod_it_is_about():
    found = asked()
    assert (found.pod, found.uid, found.attachment) == (("blue", "a"), "7", ("c1", "eth0"))


@pytest.mark.parametrize(("environment", "code"), [
    ({"CNI_COMMAND": "MOVE"}, 4), ({"CNI_CONTAINERID": "../x"}, 4), ({"CNI_CONTAINERID": ""}, 4), ({"CNI_IFNAME": "a/b"}, 4),
    ({"CNI_IFNAME": "a" * 16}, 4), ({"CNI_NETNS": "relative"}, 4),
])  # fmt: skip
def test_a_call_that_is_none_is_an_error_with_cnis_code(environment, code):
    with pytest.raises(CniError) as caught:
        asked(**environment)
    assert caught.value.code == code


def test_versions_that_are_not_spoken_are_refused_and_named():
    with pytest.raises(CniError, match=r"1\.1\.0") as caught:
        asked("0.2.0")
    assert caught.value.code == 1
    with pytest.raises(CniError, match="STATUS"):
        asked("1.0.0", CNI_COMMAND="STATUS")
    assert versions("2.0.0")["cniVersion"] == "1.1.0"


def test_a_configuration_that_is_no_json_is_an_error():
    for text in (b"{", b"[]"):
        with pytest.raises(CniError) as caught:
            request_of(ENVIRONMENT, text)
        assert caught.value.code == 6


def test_results_have_the_words_of_their_version():
    old, new, newest = (result(GIVEN, asked(version)) for version in ("0.4.0", "1.0.0", "1.1.0"))
    assert [each["version"] for each in old["ips"]] == ["4", "6"]
    assert "version" not in new["ips"][0]
    assert "mtu" not in new["interfaces"][1]
    assert newest["interfaces"][1] == {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x", "mtu": 1400}
    assert [each["dst"] for each in new["routes"]] == ["0.0.0.0/0", "::/0"]


def test_a_collection_without_a_list_is_refused():
    with pytest.raises(CniError):
        valid_attachments({})
    assert valid_attachments({"cni.dev/valid-attachments": [{"containerID": "c", "ifname": "e"}]}) == {("c", "e")}


def test_an_alias_is_never_longer_than_the_kernel_takes():
    word = pod_word("n" * 63, "p" * 253, "c" * 64, "eth0")
    alias = Owner("c" * 64, "eth0", word).alias()
    assert len(alias) < 256
    assert alias.split(" ", 2)[2].startswith("n" * 63 + "/#")
