"""Which Linux this is, whatever its builders call it."""
from __future__ import annotations

import os

import pytest

from reconciler.kernel import features, release


def called(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the kernel call itself this."""
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real.sysname, real.nodename, name, real.version, real.machine)))


@pytest.mark.parametrize(("text", "version"), [
    ("6.12.117+deb13-cloud-amd64", (6, 12, 117)), ("6.1.0-50-cloud-amd64", (6, 1, 0)), ("7.3+", (7, 3, 0)), ("6.18.0-rc1", (6, 18, 0)),
    ("6.1", (6, 1, 0)), ("7", (7, 0, 0)), ("6.8.0-31-generic", (6, 8, 0)), ("6.6.87.2-microsoft-standard-WSL2", (6, 6, 87)),
    ("5.10-rc7-next-20201204", (5, 10, 0)), ("v6.1", None), ("next", None), ("", None)])
def test_a_release_is_read_up_to_where_its_numbers_end(text: str, version: tuple[int, int, int] | None) -> None:
    assert release.version(text) == version


@pytest.mark.parametrize(("running", "least", "older"), [
    ("6.1.0-50-cloud-amd64", "6.1", False), ("6.1", "6.1.0", False), ("6.0.19", "6.1", True), ("6.12.1+deb13", "6.6.0", False),
    ("7.3+", "7.3.0", False), ("5.19", "6.1", True), ("6.9", "6.10", True), ("next", "6.1", False), ("6.1", "", False)])
def test_a_kernel_is_older_if_its_version_is_less_and_never_if_it_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch, running: str, least: str, older: bool
) -> None:
    called(monkeypatch, running)
    assert release.is_older_than(least) is older


@pytest.mark.parametrize("name", ["7.3+", "6.18.0-rc1", "6.1", "next"])
def test_a_kernel_of_any_name_accounts_memory_as_new_ones_do(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    called(monkeypatch, name)
    features.feature.cache_clear()
    assert "cgroup" in features.feature("memlock").why
    features.feature.cache_clear()
