"""Services elsewhere by TLS: certificates that are revoked, out of date or of tomorrow are refused with words, renewed ones are taken up."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import PcnError, ServiceAway
from reconciler.kernel import netns
from reconciler.rpc.serve import serve_tls, server_context
from reconciler.service.registry import Services
from reconciler.service.remote.impl import RemoteImpl
from tests.lib import remote_services as remote
from tests.lib.fleet import free_port

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> remote.Pki:
    return remote.Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file goes that says where the gate is."""
    netns.raise_loopback()
    for name, directory in (("PCN_CACHE", "cache"), ("PCN_SERVICES", "etc")):
        (tmp_path / directory).mkdir(mode=0o755)
        monkeypatch.setenv(name, str(tmp_path / directory))
    (tmp_path / "tls").mkdir(mode=0o700)
    return tmp_path / "etc"


class Gate:
    """A gate behind TLS, and an agent's idea of it, which lasts: `say` writes its file, `ask` calls it."""

    def __init__(self, etc: Path, pki: remote.Pki, port: int) -> None:
        self._file, self._tls, self._pki, self._port = etc / "gate.yaml", etc.parent / "tls", pki, port
        self.services, self._more = Services(), {}  # type: ignore[var-annotated]
        self.renew(pki.issue("pcn"))

    def renew(self, pair: Pair, *kinds: str) -> None:
        """Our certificate and key become others, as whoever renews them does it."""
        for kind, path in zip(("cert", "key"), pair, strict=True):
            if kind in (kinds or ("cert", "key")):
                shutil.copy(path, self._tls / "fresh")
                os.replace(self._tls / "fresh", self._tls / kind)

    def say(self, **more: str) -> None:
        self._more |= more
        said = {"url": f"https://127.0.0.1:{self._port}", "ca": str(self._pki.ca), "cert": str(self._tls / "cert"), "key": str(self._tls / "key")}
        self._file.write_text("".join(f"{name}: {value}\n" for name, value in (said | self._more).items()))

    def pin(self) -> None:
        """Agree to what it is."""
        self.say()
        other = Services()
        assert other.get("gate") is None
        words = other.why_not("gate")
        assert "it is used once" in words, words
        self.say(digest=words.rpartition("digest: ")[2])

    def ask(self) -> Any:
        """Raises ServiceAway."""
        service = self.services.get("gate")
        assert service is not None, self.services.why_not("gate")
        assert isinstance(service.implementation, RemoteImpl)
        return service.implementation._contact.ask("check", {"config": {}, "env": {}})

    def refuses(self) -> str:
        with pytest.raises(ServiceAway) as caught:
            self.ask()
        return str(caught.value)

    def edition(self) -> str:
        service = self.services.get("gate")
        assert service is not None
        return service.edition


@contextmanager
def serving(etc: Path, pki: remote.Pki, shown: Pair) -> Iterator[Gate]:
    port, context = free_port(), server_context(*shown, str(pki.ca))
    with remote.functions(lambda _: {}, start=lambda functions: serve_tls(functions, "127.0.0.1", port, context)):
        yield Gate(etc, pki, port)


def test_one_that_is_revoked_while_an_agent_runs_is_not_accepted_any_more(etc: Path, pki: remote.Pki) -> None:
    shown = pki.issue("gate", edition="revoked")
    with serving(etc, pki, shown) as gate:
        gate.say(crl=pki.revoked())
        gate.pin()
        assert gate.ask() == []
        pki.revoked(pki.issue("gate", edition="before")[0])
        assert gate.ask() == [], "that was another one"
        pki.revoked(shown[0])
        assert "(its certificate is not accepted: certificate revoked)" in gate.refuses()


def test_a_list_that_is_out_of_date_or_not_there_lets_nobody_in(etc: Path, pki: remote.Pki) -> None:
    with serving(etc, pki, pki.issue("gate", edition="listed")) as gate:
        gate.say(crl=pki.revoked())
        gate.pin()
        assert gate.ask() == []
        crl = pki.revoked(days=-1)
        assert "(its certificate is not accepted: CRL has expired)" in gate.refuses()
        os.unlink(crl)
        assert "a certificate, key or list that " in gate.refuses()
        pki.revoked()
        assert gate.ask() == []


@pytest.mark.parametrize(("shown", "words"), [
    ("tomorrow", "certificate is not yet valid"), ("expired", "certificate has expired"), ("another authority", "self-signed certificate|local issuer"),
    ("another name", "certificate is not valid for 'gate'"),
])  # fmt: skip
def test_one_that_is_not_of_now_or_not_of_ours_is_not_accepted(etc: Path, pki: remote.Pki, tmp_path: Path, shown: str, words: str) -> None:
    with serving(etc, pki, pki.issue("gate")) as gate:
        gate.pin()
        assert gate.ask() == []
        digest = gate._more["digest"]
    pair = {"tomorrow": lambda: pki.of_tomorrow("gate"), "expired": lambda: pki.issue("gate", days=-1), "another name": lambda: pki.issue("door"),
            "another authority": lambda: remote.Pki(tmp_path / "other").issue("gate")}[shown]()  # fmt: skip
    with serving(etc, pki, pair) as gate:
        gate.say(digest=digest)
        said = gate.refuses()
        assert f"service gate at https://127.0.0.1:{gate._port} is away since " in said
        assert any(each in said for each in words.split("|")), said


def test_ours_is_taken_up_when_it_is_renewed_and_its_worker_begins_anew(etc: Path, pki: remote.Pki) -> None:
    with serving(etc, pki, pki.issue("gate")) as gate:
        gate.pin()
        assert gate.ask() == []
        assert gate.edition() == gate.edition()
        before = gate.edition()
        gate.renew(pki.issue("pcn", days=-1))
        assert "certificate expired" in (said := gate.refuses()) or "does it accept " in said
        fresh = pki.issue("pcn", edition="renewed")
        gate.renew(fresh, "cert")
        assert "a certificate, key or list that " in gate.refuses(), "its key is not there yet"
        gate.renew(fresh, "key")
        assert gate.ask() == []
        assert gate.edition() != before, "a worker cannot read the files"
        assert gate.services.stamps() == gate.services.stamps()


def test_what_was_agreed_on_is_looked_at_with_each_connection(etc: Path, pki: remote.Pki) -> None:
    """Another code under the digest of before."""
    with serving(etc, pki, pki.issue("gate")) as gate:
        gate.pin()
        assert gate.ask() == []
        digest, port = gate._more["digest"], gate._port
    context = server_context(*pki.issue("gate"), str(pki.ca))

    def changed(own: dict[str, Any]) -> dict[str, Any]:
        about = own["GET /service"](None)
        return {"GET /service": lambda _: about | {"files": {name: f"{text}\n" for name, text in about["files"].items()}}}

    with remote.functions(changed, start=lambda functions: serve_tls(functions, "127.0.0.1", port, context)) as calls:
        with pytest.raises(PcnError, match=rf"is now sha256:[0-9a-f]{{64}} \(was {digest}\): it is used once .*gate.yaml says"):
            gate.ask()
        assert set(calls) == {"GET /service"}, "it was asked for nothing else"
