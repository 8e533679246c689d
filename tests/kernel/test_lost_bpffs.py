"""The bpffs is lost with every pin and mark in it: what the next apply finds are netdevs, namespaces, and perhaps programs."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, plan_for
from reconciler.errors import HookHeld
from tests.faults.graphs import example, unique
from tests.lib import residue
from tests.lib.netns_topology import ping


def mount(place: Path) -> None:
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=0700", "bpf", str(place)], check=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A bpffs of this test's own, which can be lost without loss to others."""
    place = Path("/run") / f"bpf-{residue.prefix(1)}"
    place.mkdir(mode=0o700)
    mount(place)
    yield place
    while subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True).returncode == 0:
        continue
    with contextlib.suppress(OSError):
        place.rmdir()


def hosts() -> tuple[list, list[str]]:
    data = unique(example("simplebridge"))
    return parse(json.dumps(data), "two-hosts.json"), data["spec"]["namespaces"]


def test_a_bpffs_that_was_unmounted_is_made_up_for_by_the_next_apply(place: Path) -> None:
    documents, (one, _) = hosts()
    options = Options(root=str(place / "pcn"))
    apply(documents, options)
    assert ping(one, "10.0.0.2") == 2
    subprocess.run(["umount", "-l", str(place)], check=True)
    mount(place)
    try:
        result = apply(documents, options)
        assert not [step for step in result.plan.steps if step.operation.kind in ("create_link", "delete_links")], "netdevs stay"
        assert ping(one, "10.0.0.2") == 2
        assert not plan_for(documents, options).plan.steps
    finally:
        apply(documents, options, delete=True)


def test_a_bpffs_that_was_mounted_over_is_told_and_its_datapath_goes_on(place: Path) -> None:
    documents, (one, _) = hosts()
    options = Options(root=str(place / "pcn"))
    apply(documents, options)
    mount(place)
    try:
        with pytest.raises(HookHeld, match=r"\(stub_0\), link \d+, which is pcn's, but not of this root"):
            apply(documents, options)
        assert ping(one, "10.0.0.2") == 2
    finally:
        subprocess.run(["umount", str(place)], check=True)
        assert not plan_for(documents, options).plan.steps
        apply(documents, options, delete=True)


def test_a_namespace_that_only_says_itself_that_it_is_ours_is_not_taken_over(place: Path) -> None:
    """Whoever is root in a container can give his netdevs any alias."""
    documents, (one, _) = hosts()
    options = Options(root=str(place / "pcn"))
    subprocess.run(["ip", "netns", "add", one], check=True)
    try:
        subprocess.run(["ip", "-n", one, "link", "add", "eth0", "type", "bridge"], check=True)
        alias = f"{options.root}/topologies/{documents[0].data['metadata']['name']}"
        subprocess.run(["ip", "-n", one, "link", "set", "eth0", "alias", alias], check=True)
        with pytest.raises(HookHeld, match="exists and is not pcn's"):
            apply(documents, options)
    finally:
        subprocess.run(["ip", "netns", "delete", one], check=True)
