"""The command against a real kernel: every exit code by a real process, and what is printed is what happened."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from reconciler.kernel import netlink, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.model import Link, LinkEnd
from tests.lib.commands import BIN, SCHEMA, Net, counts, document, live, on_a_terminal, pcn, ping, wait_until, with_fault

# -- 0, 2 and 3 -----------------------------------------------------------------------------------------------------------


def test_apply_then_nothing_to_do_then_edit_then_delete(net: Net, own_root: str) -> None:
    file = str(net.file)
    planned = document("plan", file, code=2)
    done = document("apply", file, code=0)
    assert counts(done) == counts(planned)
    assert {step["result"] for step in planned["steps"]} == {"planned"}
    assert {step["result"] for step in done["steps"]} == {"done"}
    assert counts(document("apply", file, code=0)) == (0, 0, 0)
    assert document("apply", "--check", file, code=0)["steps"] == []
    net.write("DROP")
    assert document("apply", "--check", file, code=2)["summary"]["pending"] == 1
    edited = document("apply", file, code=0)
    assert counts(edited) == (0, 1, 0)
    row = next(step for step in edited["steps"] if step["operation"] == "write_rows")
    assert (row["before"], row["after"]) == ({"action": "FORWARD"}, {"action": "DROP"})
    assert "~ drop" not in pcn("apply", "--delete", file, code=0).stdout
    assert not os.path.exists(own_root)
    assert "Nothing to delete" in pcn("delete", file, code=0).stdout


def test_the_text_of_an_edit_is_one_line_and_the_totals(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    text = pcn("apply", str(net.file), code=0).stdout
    assert text == (
        f"~ {net.prefix}-hw  action: FORWARD -> DROP   1 map write\n"
        "Applied: 0 program loads, 1 map write, 0 link changes; disruption: none.\n"
    )


def test_whoever_waits_at_a_terminal_is_told_what_goes_on_long_before_the_first_step(net: Net, tmp_path: Path) -> None:
    file, prefix = tmp_path / "many.yaml", net.prefix
    rules = "".join(f"        - {{id: {n}, src: 10.{n >> 16}.{n >> 8 & 255}.{n & 255}}}\n" for n in range(15_000))
    head = f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {prefix}}}\nspec:\n  cubes:\n  - name: {prefix}-fw\n"
    file.write_text(f"{head}    service-name: firewall\n    chain:\n      - name: INGRESS\n        rule:\n{rules}")
    try:
        shown = on_a_terminal(str(file), command="pcn-apply")
    finally:
        pcn("delete", str(file), code=0)
    said = [words.strip() for words in shown.split("\r\x1b[K")]
    stages = ("reading", "checking", "planning", "step ")  # as many as last long enough to be told
    order = [next(place for place, words in enumerate(said) if words.startswith(stage)) for stage in stages if stage in shown]
    assert len(order) > 1
    assert order == sorted(order)
    assert "Applied: " in said[-1]


def test_what_is_shown_applied_again_changes_nothing(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    shown = pcn("show", "-o", "yaml", code=0).stdout
    assert f"name: {net.name}" in shown
    subprocess.run([str(BIN / "pcn-apply"), "--check", "-"], input=shown, text=True, check=True, capture_output=True)


def test_damage_from_outside_is_drift_until_the_next_apply(net: Net, own_root: str) -> None:
    file = str(net.file)
    pcn("apply", file, code=0)
    assert pcn("drift", code=0).stdout == "No drift: the kernel holds what was applied.\n"
    os.unlink(f"{own_root}/links/{net.links[0]}/tcx_ingress")
    assert f"{net.links[0]}  nothing of pcn is attached at tcx_ingress" in pcn("drift", code=3).stdout
    assert f"hook/{net.links[0]}/tcx_ingress" in pcn("drift", "-v", code=3).stdout
    assert json.loads(pcn("drift", "-o", "json", code=3).stdout)["drift"][0]["state"] == "missing"
    assert document("apply", "--check", file, code=3)["drift"] == [f"hook/{net.links[0]}/tcx_ingress"]
    net.write("DROP")
    document("apply", "--check", file, code=2)  # pending beats drift
    assert document("apply", file, code=0)["summary"]["drift"] == 1
    pcn("drift", code=0)


def test_quiet_says_nothing_and_the_exit_code_says_it(net: Net) -> None:
    result = pcn("plan", "-q", str(net.file), code=2)
    assert (result.stdout, result.stderr) == ("", "")


# -- the rest -------------------------------------------------------------------------------------------------------------


def test_a_step_that_fails_is_exit_1_and_the_kernel_holds_what_it_held(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    fault = """
import reconciler.live.execute as e
from reconciler.errors import KernelError
old = e.Executor.do
def do(self, operation):
    if operation.kind == "set_document" and "FORWARD" not in operation.text: raise KernelError("write the document", 28)
    old(self, operation)
e.Executor.do = do
"""
    result = with_fault(fault, "apply", str(net.file), "-o", "json")
    assert result.returncode == 1, result.stderr
    found = json.loads(result.stdout)
    assert [error.message for error in SCHEMA.iter_errors(found)] == []
    assert {step["result"] for step in found["steps"]} == {"undone"}
    assert counts(found) == (0, 0, 0)
    assert "write the document" in found["errors"][0]["message"]
    assert live(net) == before


def test_what_reads_back_otherwise_is_exit_4_and_undone(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    net.write("DROP")
    fault = "import reconciler.engine.apply as a\na.unfinished = lambda *_: ['cube/x: wanted 1, found 2']"
    result = with_fault(fault, "apply", str(net.file))
    assert result.returncode == 4
    assert "wanted 1, found 2" in result.stderr
    assert live(net) == before


def test_a_rollback_that_fails_is_exit_5_and_the_next_apply_mends_it(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    net.write("DROP")
    fault = """
import reconciler.engine.apply as a, reconciler.live.execute as e
from reconciler.errors import KernelError
a.unfinished = lambda *_: ["broken"]
old, seen = e.Executor.do, []
def do(self, operation):
    seen.append(operation.kind)
    if seen.count("write_rows") > 1: raise KernelError("write rows", 5)
    old(self, operation)
e.Executor.do = do
"""
    result = with_fault(fault, "apply", str(net.file), "-o", "json")
    assert result.returncode == 5, result.stderr
    assert {step["result"] for step in json.loads(result.stdout)["steps"]} == {"unsure"}
    pcn("apply", str(net.file), code=0)
    pcn("drift", code=0)


def test_an_invalid_document_is_exit_65_and_nothing_is_touched(net: Net, own_root: str) -> None:
    net.write("DORP")
    result = pcn("apply", str(net.file), code=65)
    assert 'did you mean "DROP"?' in result.stderr
    assert "nothing was changed" in result.stderr
    assert not os.path.exists(own_root)


def test_a_place_that_is_no_bpffs_is_exit_69(net: Net, tmp_path: Path) -> None:
    assert "say one that is" in pcn("apply", "--bpffs", str(tmp_path / "pcn"), str(net.file), code=69).stderr


def test_a_busy_lock_is_exit_75_and_names_who_has_it(net: Net, own_root: str) -> None:
    with Bpffs(own_root).locked(1):
        result = pcn("apply", "--lock-timeout", "0.1", str(net.file), code=75)
        assert f"process {os.getpid()}" in result.stderr
        assert document("plan", "--lock-timeout", "0.1", str(net.file), code=75)["steps"] == []
    os.rmdir(own_root)


def test_ctrl_c_in_the_middle_undoes_what_was_done(net: Net, own_root: str) -> None:
    fault = """
import os, signal
import reconciler.live.execute as e
old = e.Executor.do
def do(self, operation):
    if operation.kind == "attach_hook": os.kill(os.getpid(), signal.SIGINT)
    old(self, operation)
e.Executor.do = do
"""
    result = with_fault(fault, "apply", str(net.file))
    assert (result.returncode, result.stdout) == (1, "")
    assert "stopped by SIGINT; all that was done is undone" in result.stderr
    assert not set(rtnl.links()) & set(net.links)


# -- options and verbs ------------------------------------------------------------------------------------------------------


def test_topologies_stay_beside_each_other_and_prune_removes_the_others(net: Net, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {net.prefix}-b}}\nspec:\n  cubes: "
                     f"[{{name: {net.prefix}-br, service-name: simplebridge}}]\n")  # fmt: skip
    pcn("apply", str(net.file), code=0)
    pcn("apply", str(other), code=0)
    assert pcn("show", code=0).stdout.count("kind: Topology") == 2
    assert "simplebridge (TC)" in pcn("apply", "--prune", str(net.file), code=0).stdout
    assert pcn("show", code=0).stdout.count("kind: Topology") == 1


def test_delete_takes_names_and_knows_near_misses(net: Net, own_root: str) -> None:
    pcn("apply", str(net.file), code=0)
    assert f'did you mean "{net.name}"?' in pcn("delete", f"{net.name}x", code=64).stderr
    document("delete", "--plan", net.name, code=2)
    pcn("delete", net.name, code=0)
    assert not os.path.exists(own_root)


def test_show_and_graph_are_read_from_the_kernel(net: Net) -> None:
    pcn("apply", str(net.file), code=0)
    (shown,) = json.loads(pcn("show", "-o", "json", "--state", net.name, code=0).stdout)
    assert shown["spec"]["cubes"][0]["action"] == "FORWARD"
    assert f"p1  -- {net.links[0]} -- {net.hosts[0]}:eth0 10.9.0.1/24" in pcn("graph", code=0).stdout
    assert pcn("graph", "-o", "svg", code=0).stdout.startswith("<svg")
    pcn("show", "nosuch", code=64)


def test_waiting_for_a_netdev_ends_when_it_appears(net: Net) -> None:
    late = f"{net.prefix}-x"
    net.write(peer=late)
    command = [str(BIN / "pcn"), "apply", "--wait", "30", "-o", "json", str(net.file)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        netlink.Netlink() as writer,
    ):
        wait_until(lambda: net.links[0] in rtnl.links())
        time.sleep(0.3)
        writer.create_link(Link("veth", LinkEnd(late), LinkEnd(f"{net.prefix}-y")), 0, "")
        try:
            out, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
            found = json.loads(out)
            assert [error.message for error in SCHEMA.iter_errors(found)] == []
            assert found["waiting"] == []
            assert f"hook/{late}/tcx_ingress" in [step["address"] for step in found["steps"]]
        finally:
            pcn("delete", str(net.file))
            subprocess.run(["ip", "link", "del", late], check=True)


def test_waiting_in_vain_is_exit_1_and_all_else_is_applied(net: Net) -> None:
    net.write(peer=f"{net.prefix}-x")
    found = document("apply", "--wait", "0.5", str(net.file), code=1)
    assert found["waiting"] == [{"cube": f"{net.prefix}-hw", "port": "p2", "netdev": f"{net.prefix}-x"}]
    assert f"{net.prefix}-x, which is not there yet" in pcn("apply", str(net.file), code=0).stdout


def test_gc_removes_what_nothing_accounts_for_and_nothing_else(net: Net, own_root: str) -> None:
    pcn("apply", str(net.file), code=0)
    before = live(net)
    assert "Nothing to do" in pcn("gc", code=0).stdout
    os.mkdir(f"{own_root}/cubes/half-made")
    assert "leftover/cubes/half-made" in pcn("gc", "--plan", code=2).stdout
    assert [step["address"] for step in document("gc", code=0)["steps"] if step["action"] == "delete"] == [
        "leftover/cubes/half-made"
    ]
    assert not os.path.exists(f"{own_root}/cubes/half-made")
    assert live(net) == before


def test_an_action_forgets_what_was_learned_and_nothing_else(net: Net) -> None:
    bridge = (
        net.file.read_text()
        .replace("service-name: helloworld", "service-name: simplebridge")
        .replace("      action: FORWARD\n", "")
    )
    net.file.write_text(bridge)
    pcn("apply", str(net.file), code=0)
    cube = f"{net.prefix}-hw"
    ping(net)
    assert "entry" in json.loads(pcn("show", "--state", "-o", "json", code=0).stdout)[0]["spec"]["cubes"][0]["fdb"]
    assert pcn("action", cube, code=0).stdout.startswith("fdb/flush  ")
    answer = json.loads(pcn("action", cube, "fdb/flush", "-o", "json", code=0).stdout)
    assert answer["output"] == {"flushed": True}
    pcn("drift", code=0)
    assert "did you mean" in pcn("action", cube, "fdb/flsh", code=64).stderr
    assert "did you mean" in pcn("action", cube[:-1], "fdb/flush", code=64).stderr
