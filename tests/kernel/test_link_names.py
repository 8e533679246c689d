"""Names and kinds of netdevs: what the kernel would refuse is refused before anything is done. The kernel itself is asked."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import pytest

from reconciler.check.rules_names import netdev_fault
from reconciler.errors import PcnError
from reconciler.kernel import rtnl
from reconciler.kernel.linkkinds import can_make
from reconciler.kernel.netlink import Netlink
from reconciler.model import Link, LinkEnd
from tests.lib import residue
from tests.lib.commands import pcn

NAMES = [
    "x%d", "x%", "%s", "%d%d", "if%1", "a" * 15, "a" * 16, "\u00e4" * 7, "\u00e4" * 8, "\u00e0", "\u00e9", "all", "default", "alls", "a:b",
    "a/b", "a b", "a\tb", "..", ".", "...", ".a", "-a", "\u2603", "a\"b", "a\\b", "a@b", "a#b", "a\u00a0b", "\u0160",
]  # fmt: skip
LINK = """apiVersion: polycube.network/v1
kind: Topology
metadata: {{name: {name}}}
spec:
  namespaces: [{name}]
  links:
    - {link}
"""
PARENT = "lo"
KINDS = {
    "veth": "peer: {name: eth0, netns: %s}", "dummy": "", "bridge": "", "ifb": "", "vxlan": "id: 7, local: 192.0.2.1, remote: 192.0.2.2",
    "vlan": f"id: 7, link: {PARENT}", "macvlan": f"link: {PARENT}",
}  # fmt: skip


def ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_refused_exactly_where_the_kernel_would_not_make_a_netdev_of_that_name(name: str) -> None:
    before = rtnl.links().keys()
    netlink = Netlink()
    with suppress(PcnError):
        netlink.create_link(Link("bridge", LinkEnd(name, up=False)), 0x40000000, "made by a test of pcn")
    netlink.close()
    made = set(rtnl.links().keys() - before)
    for each in made:
        assert ip("link", "delete", "dev", each)
    assert (netdev_fault(name) == "") == (made == {name})


@pytest.mark.parametrize("spec", ["name: 'x%d', kind: bridge", "name: lo, netns: {name}, kind: bridge", "name: all, kind: bridge",
                                  "name: a0, kind: veth, peer: {{name: '%d'}}", "name: a0, kind: macvlan, link: 'eth%d'"])  # fmt: skip
def test_a_name_that_the_kernel_would_take_otherwise_is_an_error_of_the_document(spec: str) -> None:
    name = residue.prefix(1)
    before = rtnl.links().keys()
    document = LINK.format(name=name, link="{" + spec.format(name=name) + "}")
    result = pcn("apply", "-", stdin=document, code=65)
    assert "<stdin>:7:" in result.stderr
    assert rtnl.links().keys() == before


def test_a_name_that_another_netdev_has_as_its_altname_is_refused_before_anything_is_done() -> None:
    name = residue.prefix(2)
    assert ip("link", "add", name, "type", "bridge")
    try:
        assert ip("link", "property", "add", "dev", name, "altname", f"{name}-alt")
        link = LINK.format(name=f"{name}-t", link=f"{{name: {name}-alt, kind: bridge}}")
        result = pcn("apply", "-v", "-", stdin=link, code=1)
        assert f"netdev '{name}' has '{name}-alt' as another name (altname)" in result.stderr
        assert "step" not in result.stderr
        waits = LINK.format(name=f"{name}-t", link=f"{{name: {name}-x, kind: bridge}}").partition("  links:")[0]
        ports = f"{{name: p, peer: {name}-alt}}, {{name: q, peer: {name}}}"
        waits += f"  cubes: [{{name: {name}-c, service-name: helloworld, ports: [{ports}]}}]\n"
        said = pcn("apply", "-", stdin=waits, code=0)
        assert f"{name}-alt is another name (altname) of {name}, which is named elsewhere too: write {name}" in said.stdout + said.stderr
        pcn("delete", f"{name}-t", code=0)
    finally:
        assert ip("link", "delete", "dev", name)


@pytest.mark.parametrize("kind", [*KINDS, "nosuchkind"])
def test_whether_the_kernel_can_make_a_kind_is_known_without_making_one(kind: str) -> None:
    name = residue.prefix(3)
    before = rtnl.links().keys()
    more = {"vxlan": ["id", "7", "dstport", "4789"], "vlan": ["link", PARENT, "id", "7"], "macvlan": ["link", PARENT]}.get(kind, [])
    parent, rest = (more[:2], more[2:]) if more[:1] == ["link"] else ([], more)
    said = can_make(kind)
    assert rtnl.links().keys() == before
    done = subprocess.run(["ip", "link", "add", *parent, name, "type", kind, *rest], check=False, capture_output=True, text=True)
    if done.returncode == 0:
        assert ip("link", "delete", "dev", name)
    assert said == ("Unknown device type" not in done.stderr and "not supported" not in done.stderr), done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_the_kernel_lacks_ends_the_apply_before_its_first_step_at_the_line_of_the_link(kind: str) -> None:
    name = residue.prefix(4)
    more = KINDS[kind] % name if "%s" in KINDS[kind] else KINDS[kind]
    document = LINK.format(name=name, link=f"{{name: {name}, kind: {kind}{', ' if more else ''}{more}}}")
    if can_make(kind):
        return
    for arguments in (["apply", "-"], ["plan", "-"]):
        result = pcn(*arguments, stdin=document, code=69)
        assert result.stderr.startswith(f"error: <stdin>:7:7: this kernel has no netdevs of kind '{kind}'")
        assert "at step" not in result.stderr
