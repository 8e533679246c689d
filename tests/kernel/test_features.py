"""Feature probes: they agree with what can really be done, and leave nothing."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reconciler.kernel import features, rtnl
from tests.lib import residue
from tests.lib.netns_topology import NetnsTopology, run_in

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def fresh():
    features.feature.cache_clear()
    yield
    features.feature.cache_clear()


def test_every_feature_has_an_answer_a_reason_and_a_remedy():
    found = features.features()
    assert {"bpf", "bpffs", "tcx", "xdp-link", "batch", "ringbuf", "btf", "redirect-peer", "jit", "memlock"} <= set(found)
    assert all(feature.why and feature.needs for feature in found.values())
    assert [name for name in ("bpf", "bpffs", "batch", "ringbuf", "jit", "link-veth") if not found[name].present] == []


def test_probing_everything_leaves_nothing():
    before = residue.snapshot()
    features.features()
    residue.assert_no_residue(before)


def test_a_feature_is_probed_once():
    first = features.feature("link-veth")
    assert features.feature("link-veth") is first


@pytest.mark.parametrize("kind", features.LINK_KINDS)
def test_a_kind_of_netdev_is_present_exactly_if_ip_can_make_it(kind):
    options = {"vxlan": ["id", "7", "dstport", "4789"], "vlan": ["link", "lower", "id", "7"], "macvlan": ["link", "lower"]}
    order = options.get(kind, [])
    lower, rest = (order[:2], order[2:]) if order[:1] == ["link"] else ([], order)
    with NetnsTopology() as world:
        space = world.namespace("h1")
        run_in(space, ["ip", "link", "add", "lower", "type", "veth"])
        run_in(space, ["ip", "link", "add", *lower, "name", "probe", "type", kind, *rest], check=False)
        made = "probe" in rtnl.links(space)
    assert features.feature(f"link-{kind}").present is made


def test_without_privileges_a_probe_says_so_instead_of_failing():
    code = ("import os\nos.setgid(65534); os.setuid(65534)\nfrom reconciler.kernel import features\n"
            "for f in features.features().values(): print(f.name, f.present, f.why, sep='|')")  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=os.getcwd(), check=False)
    if out.returncode and "Permission denied" in out.stderr:
        pytest.skip("this checkout cannot be read by other users")
    assert out.returncode == 0, out.stderr
    answers = {line.split("|")[0]: line.split("|")[1:] for line in out.stdout.splitlines()}
    assert answers["bpf"][0] == "False"
    assert "not permitted" in answers["bpf"][1]
    assert "not permitted" in answers["xdp-link"][1]
    assert answers["link-veth"][0] == "True", "that only takes reading"
