"""Network namespaces by name, and that no failure leaves a thread in the wrong one."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from reconciler.errors import KernelError
from reconciler.kernel import netns, rtnl
from tests.lib.netns_topology import NetnsTopology

pytestmark = pytest.mark.kernel


@pytest.fixture
def world():
    with NetnsTopology() as world:
        yield world


def own() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_new_namespace_is_empty_but_for_a_loopback_that_is_up(world):
    space = world.namespace("a")
    assert {name: netdev.up for name, netdev in rtnl.links(space).items() if netdev.kind == ""} == {"lo": True}


def test_ip_netns_sees_ours_and_can_delete_it(world):
    space = world.namespace("a")
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert space in listed.split()
    subprocess.run(["ip", "netns", "delete", space], check=True)
    assert not netns.exists(space)


def test_we_see_and_delete_one_of_ip_netns(world):
    ours, theirs = world.namespace("a"), world.name("b")
    subprocess.run(["ip", "netns", "add", theirs], check=True)
    assert {ours, theirs} <= set(netns.names())
    assert netns.delete(theirs)
    assert theirs not in netns.names()
    assert ours in netns.names(), "ip netns must not have hidden ours"


def test_on_a_machine_without_any_namespace_ours_and_those_of_ip_netns_live_side_by_side():
    code = "import sys\nfrom reconciler.kernel import netns\nprint(getattr(netns, sys.argv[1])(sys.argv[2]), netns.names())"
    ours = f"{sys.executable} -c '{code}'"
    steps = f"mount -t tmpfs none /run; {ours} create a; ip netns add b; {ours} delete a; {ours} delete b; ls /run/netns"
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", steps], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["None ['a']", "True ['b']", "True []"]


def test_creating_a_namespace_twice_is_an_error_and_deleting_it_twice_is_not(world):
    space = world.namespace("a")
    with pytest.raises(KernelError, match="File exists"):
        netns.create(space)
    assert netns.delete(space)
    assert not netns.delete(space)


def test_what_a_killed_create_left_is_mended_by_create(world):
    space = world.name("a")
    world.namespace("b")  # so that /run/netns is there
    (netns.RUN_DIR / space).touch()
    assert space not in netns.names()
    netns.create(space)
    assert space in netns.names()
    netns.delete(space)


def test_what_a_killed_create_left_is_mended_by_delete(world):
    space = world.name("a")
    world.namespace("b")
    (netns.RUN_DIR / space).touch()
    assert netns.delete(space)
    assert not (netns.RUN_DIR / space).exists()


def test_inside_comes_back_after_an_error(world):
    space, before = world.namespace("a"), own()
    with pytest.raises(ZeroDivisionError), netns.inside(space):
        raise ZeroDivisionError(own())
    assert own() == before


def test_inside_can_be_nested(world):
    first, second, before = world.namespace("a"), world.namespace("b"), own()
    with netns.inside(first):
        in_first = own()
        with netns.inside(second):
            assert own() not in (before, in_first)
        assert own() == in_first
        with netns.inside(None):
            assert own() == in_first
    assert own() == before


def test_inside_an_unknown_namespace_is_an_error_that_names_it():
    before = own()
    with pytest.raises(KernelError, match="'no-such'"), netns.inside("no-such"):
        pytest.fail("entered")
    assert own() == before


def test_inside_moves_only_the_thread_that_asks(world):
    space, before, seen = world.namespace("a"), own(), []
    entered, done = threading.Event(), threading.Event()

    def visit():
        with netns.inside(space):
            seen.append(own())
            entered.set()
            done.wait(5)
        seen.append(own())

    thread = threading.Thread(target=visit)
    thread.start()
    assert entered.wait(5)
    assert own() == before
    done.set()
    thread.join()
    assert seen[0] != before
    assert seen[1] == before


def test_a_socket_stays_in_the_namespace_it_was_opened_in(world):
    h1 = world.host("h1", "10.0.0.1/24")
    with netns.inside(h1.netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind(("10.0.0.1", 0))  # EADDRNOTAVAIL anywhere else
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside, pytest.raises(OSError, match="assign"):
        outside.bind(("10.0.0.1", 0))


def test_a_throwaway_namespace_dies_with_a_killed_process():
    code = "import time\nfrom reconciler.kernel import netns\nwith netns.throwaway():\n print('in', flush=True)\n time.sleep(60)"
    before = netns.names()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    with process:
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGKILL)
    assert [name for name in netns.names() if name not in before and not name.startswith("t")] == []


def test_many_namespaces_are_made_at_once_from_several_processes(world):
    code = "import sys\nfrom reconciler.kernel import netns\nfor i in range(5): netns.create(f'{sys.argv[1]}{i}')"
    processes = [subprocess.Popen([sys.executable, "-c", code, world.name(letter)]) for letter in "abc"]
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    made = [name for name in netns.names() if name.startswith(world.prefix)]
    assert len(made) == 15
    assert all(netns.delete(name) for name in made)
