"""The example of a service in a package, as somebody gets it: built, installed by pip beside pcn, applied, and removed."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from reconciler.service.registry import HERE

pytestmark = pytest.mark.timeout(240)
TOPOLOGY = """apiVersion: polycube.network/v1
kind: Topology
metadata: {name: t}
spec:
  cubes: [{name: c, service-name: turnstile, ports: [{name: a}, {name: b}]}]
"""


def test_a_wheel_that_pip_installs_brings_a_service_and_pip_takes_it_away(tmp_path: Path, own_root: str) -> None:
    pytest.importorskip("hatchling", reason="hatchling is not installed: scripts/setup --dev")
    source, home, file = tmp_path / "source", tmp_path / "venv", tmp_path / "t.yaml"
    shutil.copytree(HERE / "examples" / "package", source)
    file.write_text(TOPOLOGY)

    def run(*words: str | Path, code: int = 0) -> str:
        env = {**os.environ, "PCN_BPFFS": own_root, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PCN_SERVICES": str(tmp_path / "none")}
        done = subprocess.run([str(word) for word in words], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("pcn_turnstile-*.whl")
    run(sys.executable, "-m", "venv", home)
    python, mine = home / "bin" / "python", sysconfig.get_path("purelib")
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "pcn.pth").write_text(f"import site; site.addsitedir({mine!r})\n")  # pcn, and what it needs
    pcn = (python, "-c", "import sys; from reconciler.cli.main import main; sys.exit(main(sys.argv[1:]))")

    assert "turnstile" in run(*pcn, "validate", file, code=65)
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    run(*pcn, "apply", file)
    try:
        assert "turnstile" in run(*pcn, "show", "-o", "yaml")
        assert "nothing" in run(*pcn, "apply", "--plan", file).lower()
    finally:
        run(*pcn, "delete", file)
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "pcn-turnstile")
    assert "turnstile" in run(*pcn, "validate", file, code=65)
