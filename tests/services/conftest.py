"""Each test of a service's Python half has an owner of what the half memoises, as the reconciler gives it one."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.incremental import memo


@pytest.fixture(autouse=True)
def _owner() -> Iterator[None]:
    memo._NOW.owner = memo.Memo()
    yield
    memo._NOW.owner = None
