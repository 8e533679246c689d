"""What cubes log, from the call in C to the line that is printed; and what a call costs that is not wanted."""
from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest

from reconciler.agent.logs import RingLog, follow
from reconciler.errors import CompileError, LockBusy
from reconciler.kernel import programs
from reconciler.kernel.bpffs import Bpffs
from reconciler.service.registry import HERE
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL")
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: talk, loglevel: TRACE, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
EVERY_LEVEL = rx(
    "".join(f'pcn_log(ctx, LOG_{level}, "at {level.lower()}");\n' for level in LEVELS) + "return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);"
)
COUNTED = rx("""
  u32 zero = 0;
  u64 *seen = count.lookup(&zero);
  if (seen)
    __sync_fetch_and_add(seen, 1);
  pcn_log(ctx, LOG_DEBUG, "number %llu", seen ? *seen : 0);
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);""", 'BPF_TABLE("array", u32, u64, count, 1);')


@pytest.fixture
def made(tmp_path):
    tree = Tree(tmp_path / "services")

    def make(program, scenario=SCENARIO, hook="TC"):
        tree.add("talk", [program])
        lab = Lab(scenario, hook=hook)
        lab.__enter__()
        opened.append(lab)
        lab.options.services = tree.load()
        lab.apply()
        lab.services = tree.directory
        return lab

    opened = []
    yield make
    for lab in opened:
        lab.__exit__(None, None, None)


def lines(lab):
    return list(follow(lab.root, lab.options.services, forever=False))


def frame(lab):
    macs = [bytes.fromhex(lab.mac(host).replace(":", "")) for host in ("h2", "h1")]
    return b"".join(macs) + b"\x88\xb5" + bytes(50)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_line_says_when_who_where_and_what(made, hook):
    program = rx("""
  struct ethhdr eth;
  u64 mac = 0;
  if (pcn_load_bytes(ctx, 0, &eth, sizeof(eth)) < 0)
    return RX_DROP;
  __builtin_memcpy(&mac, eth.h_source, 6);
  pcn_log(ctx, LOG_WARN, "%I sends by %M at %P, %d%% of %#x", htonl(0x0a000001), mac, md->in_port, -7);
  pcn_log(ctx, LOG_ERR, "%u %x %lld %hhu", -1, 255, -1LL, 257);
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);""").replace(", %d%% of %#x", ", %d%%")
    lab = made(program, hook=hook)
    before = time.time()
    lab.send("h2", frame(lab))
    time.sleep(0.05)
    first, second = lines(lab)
    assert first["text"] == f"10.0.0.1 sends by {lab.mac('h1')} at p2, -7%"
    assert second["text"] == "4294967295 ff -1 1"
    assert (first["cube"], first["level"], first["port"]) == ("c1", "WARN", "p2")
    assert abs(datetime.fromisoformat(first["time"]).timestamp() - before) < 1


def test_a_string_is_refused_with_its_line(made):
    with pytest.raises(CompileError, match=r"talk_ingress_0.c:3: error: pcn_log knows no %s"):
        made(rx('pcn_log(ctx, LOG_INFO, "%s", md);\nreturn RX_OK;'))


def calls_in(lab):
    """The formats of the pcn_log calls that are in a program as the kernel runs it: each call has its format's number in it."""
    with Bpffs(lab.root).opened(f"cubes/c1/{lab.reader().link_text('cubes/c1/current')}/ingress_0") as fd:
        numbers = {number for _, number in struct.iter_unpack("<II", programs.instructions(fd))}
    return {text for number, text in lab.formats.items() if number in numbers}


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_each_level_leaves_out_the_calls_below_it(made, hook):
    """From the instructions that are loaded: the calls are not there to be skipped."""
    lab = made(EVERY_LEVEL, hook=hook)
    for number, level in enumerate((*LEVELS, "OFF")):
        lab.cube("c1")["loglevel"] = level
        lab.apply()
        assert calls_in(lab) == {f"at {name.lower()}" for name in LEVELS[number:]}
        lines(lab)
        lab.send("h1", frame(lab))
        assert [line["level"] for line in lines(lab)] == list(LEVELS[number:])


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_another_loglevel_under_traffic_loses_no_packet_and_no_state(made, hook):
    lab = made(COUNTED, hook=hook)
    stop, sent, arrived = threading.Event(), [], []

    def ours(found):
        return found[12:14] == b"\x88\xb5"

    def traffic():
        each = frame(lab)
        while not stop.is_set():
            lab.send("h1", *[each] * 20)
            sent.append(20)
            arrived.extend(there.all(0.001, ours))  # or there is no room for more

    with lab.sniff("h2") as there:
        running = threading.Thread(target=traffic)
        running.start()
        try:
            for level in ("INFO", "TRACE", "OFF", "DEBUG", "INFO"):
                lab.cube("c1")["loglevel"] = level
                result = lab.apply()
                assert str(result.plan.disruption) == "none"
                assert lab.live_cube("c1").get("loglevel", "INFO") == level
        finally:
            stop.set()
            running.join()
        arrived += there.all(0.5, ours)
    assert len(arrived) == sum(sent) > 100
    (value,) = lab.reader().rows("cubes/c1/tables/count")[1].values()
    assert int.from_bytes(value, "little") == sum(sent)


def test_there_is_one_reader_at_a_time(made):
    lab = made(EVERY_LEVEL)
    with RingLog(f"{lab.root}/shared/log", alone=True), pytest.raises(LockBusy, match="another process"):
        RingLog(f"{lab.root}/shared/log", alone=True)
    RingLog(f"{lab.root}/shared/log", alone=True).close()


def test_pcn_log_follows_one_cube_in_text_and_json(made):
    scenario = SCENARIO + "  - {name: c2, service-name: talk, ports: [{name: q, peer: v3}]}\n"
    lab = made(EVERY_LEVEL, scenario.replace("hosts: {", "hosts: {h3: 10.0.0.3/24, "))

    def command(*words):
        return [sys.executable, "-m", "reconciler.cli.main", "log", "--services", str(lab.services), "--bpffs", lab.root, *words]

    entry = "import sys; from reconciler.cli.main import main; sys.exit(main())"

    def start(*words):
        return subprocess.Popen([sys.executable, "-c", entry, *command(*words)[3:]], cwd=HERE, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TZ": "UTC"})  # fmt: skip

    following, found = start("-f", "c1", "-o", "json"), []
    reading = threading.Thread(target=lambda: found.extend(following.stdout))
    reading.start()
    said = following.stderr.readline()  # Ctrl-C before it follows is another matter
    try:
        deadline = time.monotonic() + 60
        while len(found) < 6 and time.monotonic() < deadline:
            time.sleep(0.3)
            lab.send("h3", frame(lab))
            lab.send("h1", frame(lab))
    finally:
        following.send_signal(signal.SIGINT)
        reading.join(10)
        said += following.stderr.read()
        following.wait(10)
        following.stdout.close()
        following.stderr.close()
    assert following.returncode == 0, (said, found[-1:])
    assert said == "following the log of c1; Ctrl-C ends it\n"
    assert {json.loads(line)["cube"] for line in found} == {"c1"}
    assert [json.loads(line)["text"] for line in found[:6]] == [f"at {level.lower()}" for level in LEVELS]
    lines(lab)
    lab.send("h1", frame(lab))
    once = start("c1")
    out, err = once.communicate(timeout=10)
    assert once.returncode == 0, err
    assert [line.split(maxsplit=2)[1:] for line in out.splitlines()] == [["c1", f"{level:<8} at {level.lower()}"] for level in LEVELS]
    unknown = start("c9")
    assert "there is no cube 'c9'" in unknown.communicate(timeout=10)[1]
    assert unknown.returncode == 64
