"""Which hosts a topology is for, what may be taken away at once, and what is no place of a repository."""
from __future__ import annotations

import json

import pytest

from reconciler.check import check
from reconciler.document.hosts import Host, for_whom, is_for, is_suspended, sets, this_host
from reconciler.document.load import parse
from reconciler.errors import DocumentError, UsageError
from reconciler.service.registry import Services
from reconciler.sources import fleet
from reconciler.sources.feed import of_agent
from reconciler.sources.git import GitPlace
from reconciler.sources.guard import too_much
from reconciler.sources.spool import Spool

EDGE = Host({"hostname": "edge-1", "site": "turin", "role": "gw", "floor": "2"})


def document(hosts="", name="t", annotations=""):
    said = f"  hosts: {hosts}\n" if hosts else ""
    more = f", annotations: {annotations}" if annotations else ""
    return parse(f"apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {{name: {name}{more}}}\nspec:\n{said}  namespaces: []\n", f"{name}.yaml")[0]


@pytest.mark.parametrize(("hosts", "fits"), [
    ("", True), ("{}", True), ("{names: []}", False), ("{names: [edge-1]}", True), ('{names: [core, "edge-*"]}', True), ("{names: [core]}", False),
    ("{labels: {site: turin}}", True), ("{labels: {site: bari}}", False), ("{labels: {role: [fw, gw]}}", True), ("{labels: {floor: 2}}", True),
    ("{labels: {site: turin, role: fw}}", False), ("{labels: {rack: 1}}", False), ("{names: [core], labels: {site: turin}}", False),
])  # fmt: skip
def test_one_of_the_names_and_all_of_the_labels_must_fit(hosts, fits):
    assert is_for(document(hosts), EDGE) is fits


@pytest.mark.parametrize(("hosts", "where", "sentence"), [
    ("[edge-1]", "5:10", "expected 'names' and 'labels' of hosts"),
    ("{name: [a]}", "5:17", "unknown key 'name'"),
    ("{names: edge-1}", "5:18", "expected a list of host names"),
    ("{labels: {site: {a: b}}}", "5:26", "expected a word, or a list of words"),
])  # fmt: skip
def test_what_is_wrong_there_is_said_with_its_place_by_everybody(hosts, where, sentence):
    wrong = document(hosts)
    assert is_for(wrong, EDGE)
    with pytest.raises(DocumentError, match=sentence) as caught:
        check([wrong], Services())
    assert str(caught.value).startswith("t.yaml:5:")


def test_what_a_host_is_given_says_nothing_of_hosts_and_a_topology_can_be_suspended():
    given = document("{names: [a], labels: {role: [gw, fw]}}", annotations='{pcn/suspend: "true"}')
    (topology,), _ = check([given], Services())
    assert "hosts" not in topology.document["spec"]
    assert "annotations" not in topology.document["metadata"]
    assert is_suspended(given)
    assert not is_suspended(document())
    assert for_whom(given) == "a, role=gw|fw"


def test_the_labels_of_a_host_are_a_files_and_the_kernels(tmp_path, monkeypatch):
    file = tmp_path / "labels.yaml"
    monkeypatch.setenv("PCN_LABELS", str(file))
    assert this_host().labels.keys() == {"hostname", "arch", "kernel"}
    file.write_text("hostname: edge-7\nsite: turin\nspare: true\n")
    assert this_host().name == "edge-7"
    assert this_host().labels["spare"] == "true"
    file.write_text("[a")
    with pytest.raises(DocumentError, match=r"labels\.yaml:1:1"):
        this_host()


def files(*names, hosts=""):
    return {f"{name}.yaml": document(hosts, name).text.encode() for name in names}


@pytest.mark.parametrize(("before", "after", "says"), [
    (files("a", "b"), files("a"), ""),
    (files("a", "b", "c"), files("a"), "takes away 2 of 3 topologies (b, c)"),
    (files("a"), {}, "takes away 1 of 1 topologies (a)"),
    ({}, files("a"), ""),
    (files("a", "b"), {f"{name}-moved": text for name, text in files("a", "b").items()}, ""),
    (files("a", "b"), {"a.yaml": b"[", "b.yaml": b"\xff\xff"}, ""),  # what is broken is not gone
    (files("a", "b", hosts="{names: [core]}"), {}, ""),  # another host's
])  # fmt: skip
def test_more_than_half_of_a_hosts_topologies_do_not_go_at_once(before, after, says):
    found = too_much(before, after, EDGE)
    assert says in found
    assert bool(says) == bool(found)


@pytest.mark.parametrize("text", [
    "--upload-pack=/bin/sh", "-oProxyCommand=x", "ext::sh -c id", "ftp://h/r", "user@host:--x", "host:path", "", "https://h/r b", "file://h/r#--x",
    "https://h/r#a..b", "https://h/r#main:../x", "https://h/r#main:a/.git", "https://h/r#a.lock", "-u@host:x",
])  # fmt: skip
def test_what_could_be_an_option_or_leads_elsewhere_is_no_place_of_a_repository(text):
    with pytest.raises(UsageError):
        GitPlace.of(text)


@pytest.mark.parametrize(("text", "place"), [
    ("https://h/r.git", GitPlace("https://h/r.git")), ("git@h:org/r.git#main", GitPlace("git@h:org/r.git", "main")),
    ("/srv/r.git#main:hosts/turin/", GitPlace("/srv/r.git", "main", "hosts/turin")), ("ssh://g@h:22/r#:x", GitPlace("ssh://g@h:22/r", "", "x")),
])  # fmt: skip
def test_a_place_of_a_repository_is_a_url_a_branch_and_a_path(text, place):
    assert GitPlace.of(text) == place


def test_a_spool_is_exchanged_as_a_whole_and_keeps_one_revision(tmp_path):
    spool = Spool(tmp_path)
    assert spool.files() == {}
    for number in range(3):
        spool.publish({f"{number}.yaml": b"x"})
        assert spool.files() == {f"{number}.yaml": b"x"}
        assert [path.name for path in spool.directory.iterdir()] == [f"{number}.yaml"]
    assert len(list(tmp_path.iterdir())) == 2
    assert Spool(tmp_path).files() == {"2.yaml": b"x"}


STATUS = {"files": [{"path": "a.yaml", "digest": "d", "problem": "", "state": "applied", "applied_digest": "d"}], "problems": [], "pending": [], "drift": {"now": []}, "topologies": ["t"]}
FEED = {"source": "git x", "revision": "abc", "problem": "", "since": 0}


@pytest.mark.parametrize(("status", "feed", "state"), [
    (STATUS, FEED, "InSync"), (None, FEED, "Pending"), ({**STATUS, "pending": ["x"]}, FEED, "Pending"),
    ({**STATUS, "drift": {"now": ["x"]}, "problems": ["1 objects have drifted"]}, FEED, "Drift"),
    ({**STATUS, "problems": ["a.yaml:1:1: x"], "files": [{"path": "a.yaml", "digest": "d", "problem": "a.yaml:1:1: x", "state": "broken", "applied_digest": "d"}]}, FEED, "Invalid"),
    (STATUS, {**FEED, "problem": "away"}, "SourceUnavailable"),
])  # fmt: skip
def test_a_hosts_state_is_one_word(status, feed, state):
    assert of_agent(status, feed, EDGE, lambda digests: digests == {"a.yaml": "d"})["state"] == state


def test_a_host_that_has_not_read_a_revision_yet_does_not_say_that_it_is_in_sync_with_it():
    assert of_agent(STATUS, FEED, EDGE, lambda _: False)["state"] == "Pending"


def test_the_fleets_rows_say_who_is_silent():
    said = {**of_agent(STATUS, FEED, EDGE, lambda _: True), "time": 100.0}
    assert [row["state"] for row in fleet.rows([said, {**said, "host": "edge-0"}], 110.0)] == ["InSync", "InSync"]
    assert fleet.rows([said], 300.0)[0]["state"] == "Away"
    assert fleet.as_text(fleet.rows([said], 110.0)) == ["edge-1                InSync             abc               10 s ago  t"]


@pytest.mark.parametrize(("when", "forgets", "state", "clock", "words"), [
    (90.0, False, "InSync", 10.0, "its clock is 10 s ahead of this one's"), (96.0, False, "InSync", 0.0, None), (191.0, False, "Away", 0.0, None),
    (191.0, True, "InSync", -91.0, "its clock is 91 s behind this one's"), (96.0, True, "InSync", 0.0, None),
])  # fmt: skip
def test_clocks_that_are_apart_are_said_to_be_and_take_no_host_for_away_that_is_not(when, forgets, state, clock, words):
    row = fleet.rows([{**of_agent(STATUS, FEED, EDGE, lambda _: True), "time": 100.0}], when, forgets=forgets)[0]
    assert (row["state"], row["clock"]) == (state, clock)
    assert fleet.as_text([row])[1:] == ([f"  {words}"] if words else [])


def test_what_is_no_status_is_left_out_of_a_fleet_and_takes_nobody_along():
    fine = {**of_agent(STATUS, FEED, EDGE, lambda _: True), "time": 100.0}
    odd = ["", "[", "[1]", "7", "{}", '{"host": 7}', "[" * 100000, b"\xff\xfe", '{"host": "x", "time": "soon"}', '{"host": "x", "topologies": [7]}']
    assert fleet.read([*odd, json.dumps(fine), *odd]) == [json.loads(json.dumps(fine))]
    assert fleet.as_text(fleet.rows(fleet.read(['{"host": "x"}']), 1.0))[0].startswith("x   ")


def test_documents_for_several_hosts_are_checked_as_each_of_them_has_them():
    common, one, two, gateways = document(), document("{names: [a]}", "one"), document("{names: [b, 'c*']}", "two"), document("{labels: {role: [gw, fw]}}", "gw")
    assert sets([common]) == [[common]]
    assert sets([common, one, two, gateways]) == [[common, one], [common, two], [common, gateways]]
    assert sets([one, document("{names: [a]}", "more")])[0][0] is one
    wrong = document("[a]", "wrong")
    assert sets([wrong]) == [[wrong]]
