"""What kernel tests share beside tests/conftest.py."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.confirm import ask
from tests.lib.commands import Net, pcn


@pytest.fixture
def net(tmp_path: Path, own_root: str) -> Iterator[Net]:
    found = Net(tmp_path)
    yield found
    ask(own_root, "keep")  # a trial that a failed test left would come back to life in the next one
    pcn("delete", str(found.write()))
