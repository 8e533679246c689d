"""The releases that the tests of upgrades bring together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upgrade.release import Release, edited_release, every_program_changes, old_release, this_release


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory, compiled_programs: Path) -> Release:
    """The release that hosts run today."""
    return old_release(tmp_path_factory.mktemp("releases"), compiled_programs)


@pytest.fixture(scope="session")
def new(compiled_programs: Path) -> Release:
    """What is to be released: this checkout."""
    return this_release(compiled_programs)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory, compiled_programs: Path) -> Release:
    """This checkout with an instruction more in every program, so that all of them have to be exchanged."""
    home = tmp_path_factory.mktemp("other")
    release = edited_release("this release with other programs", home, every_program_changes, compiled_programs)
    release.compile()
    return release
