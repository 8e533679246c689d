"""A host that follows an etcd over TLS: who may ask, whom it believes, and certificates that are renewed while it runs."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.errors import UsageError
from reconciler.kernel import netns
from reconciler.sources.etcd import EtcdSource
from reconciler.sources.source import SourceError
from tests.kernel.test_fleets import until
from tests.lib.commands import pcn
from tests.lib.fleet import Etcd, FleetHost, topology
from tests.lib.remote_services import Pki

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    netns.raise_loopback()
    return Pki(tmp_path / "pki")


@pytest.fixture
def etcd(tmp_path: Path, pki: Pki) -> Iterator[Etcd]:
    found = Etcd(tmp_path / "etcd", tls=tls_of(pki, "localhost"))
    yield found
    found.stop()


def tls_of(pki: Pki, name: str, days: int = 2) -> dict[str, str]:
    cert, key = pki.issue(name, days=days)
    return {"ca": str(pki.ca), "cert": cert, "key": key}


def is_refused(words: str) -> bool:
    """It may be told so, or find the connection closed."""
    return "is away: " in words and ("certificate" in words or "; does it accept " in words)


def test_an_etcd_by_tls_is_followed_and_a_certificate_that_runs_out_and_is_renewed_ends_nothing(
    tmp_path: Path, own_root: str, pki: Pki, etcd: Etcd,
) -> None:
    (tmp_path / "own").mkdir(mode=0o700)

    def renew(days: int) -> None:
        for kind, path in tls_of(pki, "h0", days).items():
            shutil.copy(path, tmp_path / "fresh")
            os.replace(tmp_path / "fresh", tmp_path / "own" / kind)

    renew(2)
    words = [f"--etcd-{kind}={tmp_path}/own/{kind}" for kind in ("ca", "cert", "key")]
    etcd.put("/pcn/topologies/one", topology("one"))
    with closing(FleetHost("h0", own_root, tmp_path / "hosts", "", "--etcd", etcd.url, *words, "--report")) as host:
        until(lambda: host.has("one", "DROP"), 60)
        until(lambda: etcd.get("/pcn/status/h0"), 60)
        renew(-1)
        etcd.stop()  # the watch that it has would last
        etcd.start()
        until(lambda: any("is away: " in line or "the watch has ended" in line for line in host.agent.status()["problems"]), 60)
        etcd.put("/pcn/topologies/one", topology("one", "FORWARD"))
        until(lambda: any(is_refused(line) for line in host.agent.status()["problems"]), 60)
        assert host.has("one", "DROP"), "what was published stays"
        found = pcn("fleet", "status", "--etcd", etcd.url, *words, code=1)
        assert is_refused(found.stderr)
        renew(2)
        until(lambda: host.has("one", "FORWARD"), 60)
        until(lambda: host.agent.status()["healthy"], 60)
        until(lambda: pcn("fleet", "status", "--etcd", etcd.url, *words).returncode == 0, 60)


@pytest.mark.parametrize(("who", "words"), [
    ("nobody", "certificate required|bad certificate|closed|EOF|reset|Broken pipe"), ("of another authority", "unknown ca|bad certificate|certificate verify failed|; does it accept "),
    ("to another name", "Hostname mismatch|doesn't match|not valid for"), ("by one we do not know", "certificate verify failed"),
])  # fmt: skip
def test_who_is_not_known_is_not_answered_and_who_is_not_etcd_is_not_believed(
    tmp_path: Path, pki: Pki, etcd: Etcd, who: str, words: str,
) -> None:
    ours, other = tls_of(pki, "h0"), tls_of(Pki(tmp_path / "other"), "h0")
    url = etcd.url.replace("localhost", "127.0.0.1") if who == "to another name" else etcd.url
    tls = {"nobody": {"ca": ours["ca"]}, "of another authority": other | {"ca": ours["ca"]}, "to another name": ours, "by one we do not know": ours | {"ca": other["ca"]}}[who]
    with closing(EtcdSource(url, tls=tls)) as source, pytest.raises(SourceError) as caught:
        source.fetch()
    assert f"etcd {url}/pcn/topologies/ is away: " in str(caught.value)
    assert any(each in str(caught.value) for each in words.split("|")), caught.value


def test_certificates_that_are_not_there_or_shared_are_said_to_be(tmp_path: Path, pki: Pki) -> None:
    ours = tls_of(pki, "h0")
    with closing(EtcdSource("https://localhost:1", tls=ours | {"key": str(tmp_path / "none")})) as source, pytest.raises(SourceError, match="cannot be used"):
        source.fetch()
    with pytest.raises(UsageError, match="https"):
        EtcdSource("http://127.0.0.1:1", tls=ours)
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    shutil.copy(ours["ca"], tmp_path / "open" / "ca")
    done = pcn("fleet", "status", "--etcd", "https://localhost:1", f"--etcd-ca={tmp_path}/open/ca", code=77)
    assert "others" in done.stderr or "write" in done.stderr
