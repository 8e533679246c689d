"""Documents that cannot be: each is refused by the command with one screen that names the place, exit code 65, and a kernel that
holds what it held."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest

from reconciler.cli.main import main
from reconciler.document.load import MAX_BYTES
from tests.faults.bench import Bench
from tests.faults.graphs import Data, cube, example, unique, unreachable

SCREEN = 24  # lines


@pytest.fixture(scope="module")
def good() -> Data:
    """Two hosts on a switch, and a chain in front of one of them."""
    data = unique(example("simplebridge"))
    br = cube(data, "br1")
    tag = br["name"].rpartition("-")[0]
    data["spec"]["cubes"] += [{"name": f"{tag}-guard", "service-name": "ddosmitigator", "blacklist-src": [{"ip": "192.0.2.1"}]},
                              {"name": f"{tag}-watch", "service-name": "transparenthelloworld"}]  # fmt: skip
    br["ports"][0]["tcubes"] = [f"{tag}-guard"]
    return data


@pytest.fixture
def bench(own_root: str, good: Data) -> Iterator[Bench]:
    bench = Bench(own_root)
    bench.apply(good)
    yield bench
    bench.clear()


def _unknown_service(data: Data) -> str:
    cube(data, "br1")["service-name"] = "simplebrigde"
    return 'unknown service "simplebrigde"'


def _unknown_key(data: Data) -> str:
    cube(data, "br1")["fdb"]["aging-tmie"] = 7
    return 'unknown key "aging-tmie"'


def _unknown_port(data: Data) -> str:
    cube(data, "br1")["fdb"]["entry"] = [{"address": "02:00:00:00:00:01", "port": "p9"}]
    return "p9"


def _unknown_peer(data: Data) -> str:
    cube(data, "br1")["ports"][0]["peer"] = "nobody:p1"
    return "nobody"


def _a_peer_named_twice(data: Data) -> str:
    one, two = cube(data, "br1")["ports"]
    one["peer"] = two["peer"]
    return two["peer"]


def _another_bridge(data: Data, **more: object) -> Data:
    name = cube(data, "br1")["name"] + "b"
    data["spec"]["cubes"].append({"name": name, "service-name": "simplebridge", "ports": [{"name": "up"}, {"name": "down"}], **more})
    cube(data, "br1")["ports"].append({"name": "p3", "peer": f"{name}:up"})
    return data["spec"]["cubes"][-1]


def _both_sides_disagreeing(data: Data) -> str:
    other = _another_bridge(data)
    other["ports"][0]["peer"] = f"{cube(data, 'br1')['name']}:p1"
    return other["name"]


def _tc_joined_to_xdp(data: Data) -> str:
    _another_bridge(data, type="XDP_DRV")
    return "XDP_DRV"


def _a_transparent_cube_behind_itself(data: Data) -> str:
    br = cube(data, "br1")
    br["ports"][0]["tcubes"] = [cube(data, "guard")["name"], cube(data, "watch")["name"], cube(data, "guard")["name"]]
    return cube(data, "guard")["name"]


def _a_transparent_cube_at_a_port_and_at_the_netdev_before_it(data: Data) -> str:
    first = cube(data, "br1")["ports"][0]
    data["spec"].setdefault("attachments", []).append({"netdev": first["peer"], "tcubes": list(first["tcubes"])})
    return cube(data, "guard")["name"]


def _a_cube_twice(data: Data) -> str:
    data["spec"]["cubes"].append({"name": cube(data, "br1")["name"], "service-name": "simplebridge"})
    return "duplicate cube"


def _more_ports_than_there_can_be(data: Data) -> str:
    cube(data, "br1")["ports"] += [{"name": f"more{number}"} for number in range(127)]
    return "129"


def _a_name_for_a_shell(data: Data) -> str:
    cube(data, "br1")["name"] = "$(reboot)"
    return "$(reboot)"


WRONG: list[Callable[[Data], str]] = [
    _unknown_service, _unknown_key, _unknown_port, _unknown_peer, _a_peer_named_twice, _both_sides_disagreeing, _tc_joined_to_xdp,
    _a_transparent_cube_behind_itself, _a_transparent_cube_at_a_port_and_at_the_netdev_before_it,
    _a_cube_twice, _more_ports_than_there_can_be,
    _a_name_for_a_shell,
]  # fmt: skip


def refused(bench: Bench, good: Data, text: str, tmp_path, capsys) -> str:
    """What the command says of a file, which it must refuse."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    network = bench.network(good)
    before = bench.picture(network)
    capsys.readouterr()
    assert main(["apply", "--bpffs", bench.root, str(file)]) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert 1 <= len(err.splitlines()) <= SCREEN, err
    assert "Traceback" not in err
    assert "bad.yaml" in err
    assert bench.picture(network).differences(before) == []
    return err


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__.strip("_"))
def test_it_is_refused_at_its_place_and_the_kernel_holds_what_it_held(bench: Bench, good: Data, wrong, tmp_path, capsys) -> None:
    data = deepcopy(good)
    words = wrong(data)
    said = refused(bench, good, json.dumps(data, indent=1), tmp_path, capsys)
    assert words in said
    assert "^" in said, "a caret shows where"
    assert unreachable(good) == []


def test_a_cube_that_another_topology_has_is_refused(bench: Bench, good: Data, tmp_path, capsys) -> None:
    other = {**good, "metadata": {"name": "other"}, "spec": {"cubes": [{"name": cube(good, "watch")["name"], "service-name": "transparenthelloworld"}]}}
    said = refused(bench, good, json.dumps(other, indent=1), tmp_path, capsys)
    assert cube(good, "watch")["name"] in said
    assert good["metadata"]["name"] in said


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
)
TEXTS = {
    "nothing": ("", "no document"),
    "only_comments": ("# to be written\n---\n", "no document"),
    "no_YAML": ("cubes: [", "not YAML"),
    "a_bomb": (BOMB, "aliases repeat more than"),
    "nested_too_deeply": ("[" * 5000, "more than 64 levels"),
    "a_number": ("7\n", "7"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_topology_is_refused(bench: Bench, good: Data, name: str, tmp_path, capsys) -> None:
    text, words = TEXTS[name]
    assert words in refused(bench, good, text, tmp_path, capsys)


def test_a_file_of_135_megabytes_is_refused_unread(bench: Bench, good: Data, tmp_path, capsys) -> None:
    assert MAX_BYTES < 135_000_000
    said = refused(bench, good, "#" * 135_000_000, tmp_path, capsys)
    assert "the limit is 128 MiB a file" in said
