"""The CNI plugin in both languages that it is written in, to be run as it is in a checkout."""
from __future__ import annotations

from pathlib import Path

import pytest

from providers.kubernetes import install

LANGUAGES = ("Python", "C")
PYTHON = ("/usr/bin/python3", "-IS", str(Path(install.__file__).parent / "cni/stub.py"))


def stub(language: str, directory: Path) -> tuple[str, ...]:
    """What starts it; it is built in `directory`."""
    if language == "Python":
        return PYTHON
    content = install.built("pcn-k8s")
    if content is None:
        pytest.skip("there is no C compiler with a C library to link with")
    made = directory / "stub"
    made.write_bytes(content)
    made.chmod(0o755)
    return (str(made),)
