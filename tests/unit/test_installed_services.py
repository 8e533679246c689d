"""Services of other distributions: found by their entry points, and left out with a reason where they cannot be used."""
from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import HERE, Services

EXAMPLE = HERE / "examples" / "package"
CUBE = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes: [{name: c, service-name: turnstile, ports: [{name: a}, {name: b}]}]\n"


def install(site: Path, name: str = "pcn-turnstile", version: str = "1.0.0", needs: str = "pcn>=0.1,<1", value: str = "pcn_turnstile:DIRECTORY") -> None:
    """What pip leaves of a distribution, as far as it matters here."""
    about = site / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {needs}\n")
    (about / "entry_points.txt").write_text(f"[pcn.services]\nturnstile = {value}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PCN_SERVICES", str(tmp_path / "none"))
    return tmp_path


def test_a_distributions_service_is_one_like_any_other(site: Path) -> None:
    install(site)
    services = Services()
    assert "turnstile" in services.names()
    service = services.get("turnstile")
    assert service is not None
    assert service.min_kernel == "6.1"
    assert [topology.name for topology in check(parse(CUBE, "t.yaml"), services)[0]] == ["t"]


@pytest.mark.parametrize(("how", "says"), [
    ({"needs": "pcn>=9"}, "service turnstile of pcn-turnstile 1.0.0 needs pcn>=9, and this is pcn 0."),
    ({"needs": "pcn (<0.1)"}, "needs pcn (<0.1), and this is pcn 0."),
    ({"value": "pcn_turnstile_that_is_not:DIRECTORY"}, "cannot be imported: ModuleNotFoundError"),
    ({"value": "pcn_turnstile:__name__"}, "is not in pcn_turnstile"),
])  # fmt: skip
def test_what_cannot_be_used_is_left_out_and_said_where_it_is_wanted(site: Path, how: dict[str, str], says: str) -> None:
    install(site, **how)
    services = Services()
    assert services.get("turnstile") is None
    assert services.get("router") is not None
    with pytest.raises(DocumentError) as caught:
        check(parse(CUBE, "t.yaml"), services)
    assert says in str(caught.value)
    assert str(caught.value).startswith("t.yaml:5:")


def test_of_two_distributions_with_one_service_neither_is_used_and_both_are_named(site: Path) -> None:
    install(site)
    install(site, "pcn-other", "2.0")
    services = Services()
    assert services.get("turnstile") is None
    assert services.why_not("turnstile") == "service turnstile is in pcn-other 2.0 and in pcn-turnstile 1.0.0: remove one"


def test_another_requirement_is_nobodys_business(site: Path) -> None:
    install(site, needs="pcn-extra>=99")
    assert Services().get("turnstile") is not None
