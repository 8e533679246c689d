"""packetcapture: what passes a cube, by direction, filter and length, in files that tcpdump reads; and all of it goes on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import DocumentError
from tests.lib.commands import BIN
from tests.lib.lab import Lab
from tests.lib.scapy_packets import IP, UDP, Dot1Q, Ether, built
from tests.services.packetcapture.lab import begun, capturing, ended, eventually, lab_of, tcpdump

pytestmark = pytest.mark.kernel
both = pytest.mark.parametrize("lab", ["TC", "XDP_DRV"], indirect=True)
TO_SWITCH = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")


@pytest.fixture(params=["TC"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as found:
        found.apply()
        yield found


def stats(lab: Lab) -> dict[str, int]:
    found: dict[str, int] = lab.live_cube("cap", state=True)["stats"]
    return found


@both
def test_both_directions_one_of_them_and_none(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    for capture, expected, requests in (("BIDIRECTIONAL", 4, 2), ("INGRESS", 2, 2), ("EGRESS", 2, 0), ("OFF", 0, 0)):
        lab.cube("cap").update(capture=capture, filter="icmp")
        lab.apply()
        before = stats(lab)["captured"]
        with capturing(lab, "cap", "-w", str(file)) as child:
            assert str(file) in begun(child)
            assert lab.ok("h1", "10.0.0.2")
            eventually(lambda wanted=before + expected: stats(lab)["captured"] == wanted)
            assert f"{expected} packets captured, 0 lost" in ended(child)
        lines = tcpdump(file)
        assert len(lines) == expected
        assert sum("echo request" in line for line in lines) == requests
    assert lab.plan().plan.steps == ()
    assert not lab.drift()


def test_a_pipe_to_tcpdump_has_packets_as_they_come_and_its_end_ends_the_capture(lab: Lab) -> None:
    lab.cube("cap")["filter"] = "icmp"
    lab.apply()
    reader, writer = os.pipe()
    with capturing(lab, "cap", "-w", "-", stdout=writer) as child:
        os.close(writer)
        shown = subprocess.Popen(["tcpdump", "-n", "-l", "-c", "3", "-r", "-"], stdin=reader, stdout=subprocess.PIPE, text=True)
        os.close(reader)
        eventually(lambda: lab.ok("h1", "10.0.0.2") and shown.poll() is not None)
        assert len(shown.communicate()[0].splitlines()) == 3
        eventually(lambda: lab.ok("h1", "10.0.0.2") and child.poll() == 0)


def test_an_edit_of_the_filter_swaps_programs_and_loses_nothing(lab: Lab) -> None:
    lab.cube("cap")["filter"] = "udp"
    assert str(lab.apply().plan.disruption) == "none"
    before = stats(lab)["captured"]
    assert lab.ok("h1", "10.0.0.2")
    assert stats(lab)["captured"] == before
    lab.cube("cap")["filter"] = "icmp"
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    assert stats(lab)["captured"] == before + 4


@both
def test_a_tag_is_in_the_file_wherever_the_kernel_keeps_it_and_the_filter_sees_it(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    lab.cube("cap").update(filter="vlan 10 and udp port 9", capture="INGRESS")
    lab.apply()
    frames = [built(TO_SWITCH / Dot1Q(vlan=vlan) / IP(src="10.0.0.1", dst="10.0.0.9") / UDP(dport=9) / b"payload") for vlan in (10, 11)]
    with capturing(lab, "cap", "-w", str(file), "-c", "1") as child:
        begun(child)
        lab.send("h1", frames[1], frames[0])
        child.wait(30)
    (line,) = tcpdump(file, "-e")
    assert "vlan 10" in line
    assert file.read_bytes().count(frames[0]) == 1


def test_snaplen_cuts_and_the_length_is_told(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    lab.cube("cap").update(snaplen=60, filter="udp", capture="INGRESS")
    lab.apply()
    frame = built(TO_SWITCH / IP(src="10.0.0.1", dst="10.0.0.9") / UDP(dport=9) / bytes(range(200)))
    with capturing(lab, "cap", "-w", str(file), "-c", "1") as child:
        begun(child)
        lab.send("h1", frame)
        child.wait(30)
    data = file.read_bytes()
    assert data.count(frame[:60]) == 1
    assert frame[:61] not in data
    assert f"length {len(frame)}" in tcpdump(file, "-e")[0]


def test_times_are_those_of_the_clock_in_nanoseconds(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    lab.cube("cap").update(filter="icmp")
    lab.apply()
    with capturing(lab, "cap", "-w", str(file), "-c", "4") as child:
        begun(child)
        before = time.time()
        assert lab.ok("h1", "10.0.0.2")
        child.wait(30)
    times = [line.split()[0] for line in tcpdump(file, "-tt", "--nano")]
    assert before - 0.01 <= float(times[0]) <= float(times[-1]) <= time.time() + 0.01
    assert any(not each.endswith("000") for each in times)


@both
def test_what_finds_no_room_is_counted_and_every_other_packet_is_in_the_file(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    lab.cube("cap").update(filter="udp", capture="INGRESS")
    lab.apply()
    frame, sent = built(TO_SWITCH / IP(src="10.0.0.1", dst="10.0.0.9") / UDP(dport=9) / bytes(1400)), 5000
    lab.send("h1", *[frame] * sent)
    found = stats(lab)
    assert found["lost"] > 0
    assert found["captured"] + found["lost"] == sent
    with capturing(lab, "cap", "-w", str(file), "-c", str(found["captured"])) as child:
        assert child.wait(60) == 0
    assert len(tcpdump(file)) == found["captured"]


def test_a_file_becomes_another_one_when_it_is_large_and_each_is_whole(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    lab.cube("cap").update(filter="udp", capture="INGRESS")
    lab.apply()
    frame = built(TO_SWITCH / IP(src="10.0.0.1", dst="10.0.0.9") / UDP(dport=9) / bytes(1400))
    with capturing(lab, "cap", "-w", str(file), "-c", "1800", "--rotate-size", "1", "--keep", "1") as child:
        begun(child)
        lab.send("h1", *[frame] * 1800)
        assert child.wait(60) == 0
    assert sorted(os.listdir(tmp_path)) == ["a.pcapng", "a.pcapng.1"]
    assert all(os.path.getsize(tmp_path / name) <= 1_000_200 for name in os.listdir(tmp_path))
    assert all(len(tcpdump(tmp_path / name)) > 100 for name in os.listdir(tmp_path))
    assert (os.stat(file).st_mode & 0o777) == 0o600


def test_dump_says_where_to_and_a_stranger_s_file_is_not_touched(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "dumped.pcapng"
    lab.cube("cap").update(filter="icmp", dump=str(file), anonimize=True)
    lab.apply()
    with capturing(lab, "cap", "-c", "2") as child:
        assert str(file) in begun(child)
        assert lab.ok("h1", "10.0.0.2")
        child.wait(30)
    assert "10.0.0." not in " ".join(tcpdump(file))
    os.unlink(file)
    file.symlink_to(tmp_path / "elsewhere")
    refused = subprocess.run([str(BIN / "pcn"), "capture", "cap", "--bpffs", lab.root], capture_output=True, text=True, check=False)
    assert refused.returncode == 64
    assert "no file of ours" in refused.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_one_reader_at_a_time_and_only_of_cubes_that_there_are(lab: Lab, tmp_path: Path) -> None:
    def refused(*words: str) -> tuple[int, str]:
        done = subprocess.run([str(BIN / "pcn"), "capture", *words, "--bpffs", lab.root], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    with capturing(lab, "cap", "-w", str(tmp_path / "a")) as child:
        begun(child)
        assert refused("cap", "-w", str(tmp_path / "b"))[0] == 75
    assert refused("kap", "-w", str(tmp_path / "c")) == (64, "error: there is no cube and no port or attachment 'kap'; did you mean \"cap\"?\n")
    assert refused("br", "-w", str(tmp_path / "d"))[0] == 64


def test_a_text_that_is_no_filter_is_an_error_at_its_line(lab: Lab) -> None:
    lab.cube("cap")["filter"] = "tcp port"
    with pytest.raises(DocumentError, match="syntax error") as caught:
        lab.plan()
    (problem,) = caught.value.problems
    assert problem.where is not None
    assert "tcp port" in (lab.document().text.splitlines()[problem.where.line - 1])
    assert problem.path == "/spec/cubes/cap/filter"


def test_at_several_places_each_is_an_interface_of_the_file(tmp_path: Path) -> None:
    with lab_of("TC") as lab:
        lab.port("br", "p2")["tcubes"] = ["cap"]
        lab.cube("cap")["filter"] = "icmp"
        lab.apply()
        file = tmp_path / "a.pcapng"
        with capturing(lab, "cap", "-w", str(file), "-c", "8") as child:
            begun(child)
            assert lab.ok("h1", "10.0.0.2")
            child.wait(30)
        data = file.read_bytes()
        assert b"br:p1" in data
        assert b"br:p2" in data
        assert len(tcpdump(file)) == 8


def test_a_large_segment_of_the_host_s_is_captured_whole_and_filtered_by_what_it_carries(lab: Lab) -> None:
    """A packet whose bytes are mostly not where a program sees them at once."""
    lab.cube("cap").update(filter="tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420", capture="INGRESS")
    lab.apply()
    import socket

    from reconciler.kernel import netns

    with netns.inside(lab.space("h2")):
        server = socket.create_server(("10.0.0.2", 8080))
    with netns.inside(lab.space("h1")):
        client = socket.create_connection(("10.0.0.2", 8080), timeout=10)
    served, _ = server.accept()
    before = stats(lab)["captured"]
    client.sendall(b"GET " + bytes(30000))
    read = 0
    while read < 30004:
        read += len(served.recv(65536))
    for each in (client, served, server):
        each.close()
    assert stats(lab)["captured"] == before + 1
