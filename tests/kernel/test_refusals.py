"""What is not permitted, not there or too large ends with the right error, and with a kernel that holds what it held."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reconciler.errors import DocumentError, FeatureMissing
from reconciler.kernel import netlink, netns
from reconciler.kernel.bpffs import Bpffs
from reconciler.model import Link, LinkEnd
from reconciler.service.registry import Services
from tests.faults.bench import Bench, variant
from tests.faults.graphs import Data, cube, documents, example, unique
from tests.lib.commands import pcn
from tests.lib.kernel_state import BIN, command, first_link, untouched


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


@pytest.fixture
def wanted() -> Data:
    return unique(example("simplebridge"))


# -- permission and features ----------------------------------------------------------------------------------------------


def test_an_ordinary_user_is_told_so(bench: Bench, wanted: Data) -> None:
    result = command(bench.root, wanted, prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert result.returncode == 77, result.stderr
    assert "root" in result.stderr
    assert len(result.stderr.splitlines()) < 10
    assert untouched(bench, wanted) == []


_UNMOUNT = "while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf || exit 9; done"


def test_a_bpf_filesystem_that_is_not_mounted_is_mounted(tmp_path: Path, bench: Bench, wanted: Data) -> None:
    """In a mount namespace of its own: what is applied there goes with it, unless it is deleted before."""
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(wanted))
    apply = f"{BIN / 'pcn-apply'} --bpffs {bench.root} --quiet {file}"
    script = f"{_UNMOUNT}; {apply} && mountpoint -q /sys/fs/bpf && {apply} --check && {apply} --delete"
    result = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert untouched(bench, wanted) == []


def test_where_it_must_not_be_mounted_that_is_said(tmp_path: Path, bench: Bench, wanted: Data) -> None:
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(wanted))
    apply = f"setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {BIN / 'pcn-apply'} --bpffs {bench.root} {file}"
    script = f"{_UNMOUNT}; exec {apply}"
    result = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 77, result.stderr
    assert untouched(bench, wanted) == []


def test_a_root_that_is_on_no_bpf_filesystem_is_refused(tmp_path: Path, wanted: Data) -> None:
    with pytest.raises(FeatureMissing, match="not on a bpf filesystem") as error:
        Bench(str(tmp_path / "pcn")).apply(wanted)
    assert error.value.exit_code == 69
    assert not (tmp_path / "pcn").exists()


@pytest.mark.parametrize("kind", ["dummy", "vlan"])
def test_a_kind_of_netdev_that_this_kernel_lacks_is_an_error_and_nothing_is_half_done(bench: Bench, wanted: Data, kind: str) -> None:
    if _has(kind):
        pytest.skip(f"this kernel has netdevs of kind {kind}")
    name = f"{first_link(wanted)}k"
    wanted["spec"]["links"].append({"name": name, "kind": kind} | ({"id": 5, "link": first_link(wanted)} if kind == "vlan" else {}))
    cube(wanted, "br1")["ports"].append({"name": "p3", "peer": name})
    with pytest.raises(FeatureMissing, match=f"no netdevs of kind '{kind}'") as error:
        bench.apply(wanted)
    assert error.value.exit_code == 69
    assert untouched(bench, wanted) == []


def _has(kind: str) -> bool:
    with netns.throwaway(), netlink.Netlink() as writer:
        try:
            options = {"link": "lo", "id": 5} if kind == "vlan" else {}
            writer.create_link(Link(kind, LinkEnd("probe"), None, options), 0)
        except FeatureMissing:
            return False
    return True


# -- sizes ---------------------------------------------------------------------------------------------------------------


def of_four(directory: Path) -> Services:
    """A list of four addresses that does not grow."""
    variant(directory, "ddosmitigator", {"u64, srcblacklist, 65536": "u64, srcblacklist, 4"})
    schema = directory / "ddosmitigator.schema.json"
    schema.write_text(schema.read_text().replace('"x-pcn-grows"', '"x-left-out"'))
    return Services([directory])


def test_more_rows_than_a_table_holds_are_refused_before_anything_is_done(bench: Bench, tmp_path: Path) -> None:
    wanted = unique(example("ddosmitigator"))
    cube(wanted, "guard")["blacklist-src"] = [{"ip": f"192.0.2.{number}"} for number in range(5)]
    small = Bench(bench.root, of_four(tmp_path / "services"))
    with pytest.raises(DocumentError, match="5 entries do not fit in table srcblacklist, which holds 4") as error:
        small.apply(wanted)
    assert error.value.exit_code == 65
    assert untouched(bench, wanted) == []


def test_rows_that_do_not_fit_in_their_table_are_refused_with_the_place_of_their_cube(bench: Bench, tmp_path: Path) -> None:
    of_four(tmp_path / "services")
    rows = "".join(f"      - {{ip: 192.0.2.{number}}}\n" for number in range(5))
    file = tmp_path / "list.yaml"
    file.write_text("apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: too-many}\nspec:\n  cubes:\n    - name: guard\n"
                    f"      service-name: ddosmitigator\n      blacklist-src:\n{rows}")  # fmt: skip
    refused = pcn("apply", "--bpffs", bench.root, "--services", str(tmp_path / "services"), str(file), code=65)
    assert f"{file}:6:7: " in refused.stderr
    assert "5 entries do not fit in table srcblacklist, which holds 4" in refused.stderr
    assert not Path(bench.root).exists()


def test_more_entries_than_the_model_allows_are_refused_with_their_place(bench: Bench) -> None:
    wanted = unique(example("simpleforwarder"))
    sw = cube(wanted, "sw")
    sw["ports"].append({"name": "third"})
    with pytest.raises(DocumentError, match="ports"):
        bench.apply(wanted)
    assert untouched(bench, wanted) == []


def test_documents_say_where_a_refused_topology_is_wrong(wanted: Data) -> None:
    """The same check without a kernel: a document made of data has a name and places too."""
    cube(wanted, "br1")["ports"][0]["peer"] = "no:where"
    with pytest.raises(DocumentError) as error:
        Bench("/sys/fs/bpf/pcn-never").plan(wanted)
    assert error.value.problems[0].where is not None
    assert documents(wanted)[0].data == wanted
    assert not Bpffs("/sys/fs/bpf/pcn-never").root.exists()
