"""The names under which a service's drops are shown, held against the enumeration in its C."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.agent.stats import OWN_REASONS, REASONS, reason_name
from reconciler.service.registry import HERE, Services

_ENUM = re.compile(r"enum \w*drop\w* \{(?P<body>[^}]*)\}")


def in_c(service: str) -> list[str]:
    """The reasons that follow PCN_DROP_SERVICE in the service's C, in lower case."""
    found: list[str] = []
    for path in sorted((HERE / "bpf" / service).glob("*.[ch]")):
        for names in reasons(path):
            first = names[0].partition("=")[2].strip()
            shared = {last: rest for library in (HERE / "bpf" / "lib").glob("*.h") for *rest, last in reasons(library)}
            assert first == "PCN_DROP_SERVICE" or first in shared, f"{path.name}: reasons begin at PCN_DROP_SERVICE, or behind a library's"
            found += [plain(name) for name in (*shared.get(first, ()), *names)]
    return found


def reasons(path: Path) -> list[list[str]]:
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return [[name.strip() for name in body.split(",") if name.strip()] for body in _ENUM.findall(text)]


def plain(name: str) -> str:
    return name.partition("=")[0].strip().removeprefix("DROP_").lower()


@pytest.mark.parametrize("name", Services().names())
def test_each_reason_of_the_c_has_its_name_in_the_model(name):
    service = Services().get(name)
    assert service is not None
    assert list(service.drop_reasons) == in_c(name)


def test_some_service_has_reasons_of_its_own():
    assert "wrong_mac" in in_c("router")


def test_the_frameworks_reasons_come_first_then_the_services_and_what_has_no_name_keeps_its_number():
    assert reason_name(0) == REASONS[0] == "policy"
    assert reason_name(OWN_REASONS + 1, ("far", "wide")) == "wide"
    assert reason_name(OWN_REASONS + 2, ("far", "wide")) == f"reason_{OWN_REASONS + 2}"
    assert reason_name(OWN_REASONS - 1, ("far",)) == f"reason_{OWN_REASONS - 1}"
