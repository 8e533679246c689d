"""The provider's metrics: the text, and a scrape of it."""
from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest

from providers.kubernetes.metrics import page, serve
from providers.kubernetes.recorded import left_out
from reconciler.agent.server import metrics_listener

SAID = {
    "healthy": True, "in_force_since": 1796067000.25, "last_problem": {"at": 1796066000.5, "words": "x"}, "pending": ["1 changes"],
    "objects": {"nodes": 2, "admin_policies": 0}, "synced": {"nodes": True, "admin_policies": False}, "attached": 3, "slots": 110, "notes": [],
}  # fmt: skip


def test_each_figure_of_the_status_is_a_metric():
    lines = page(SAID).splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["pcn_k8s_in_force_since_seconds"] == "1796067000.25"
    assert values['pcn_k8s_objects{kind="nodes"}'] == "2"
    assert values['pcn_k8s_listed{kind="admin_policies"}'] == "0.0"
    assert (values["pcn_k8s_pods"], values["pcn_k8s_slots"], values["pcn_k8s_in_force"]) == ("3", "110", "1.0")
    assert page({**SAID, "last_problem": None}).count("pcn_k8s_last_problem_seconds 0\n") == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_has_nothing_against_them():
    done = subprocess.run(["promtool", "check", "metrics"], input=page(SAID), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_they_are_served_over_http(tmp_path):
    async def scrape(path: str) -> bytes:
        listener = metrics_listener(f"unix:{tmp_path}/m")
        server = await serve(listener, lambda: SAID)
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/m")
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        found = await reader.read()
        writer.close()
        server.close()
        return found

    found = asyncio.run(scrape("/metrics"))
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.endswith(page(SAID).encode())
    assert asyncio.run(scrape("/other")).startswith(b"HTTP/1.1 404")


def test_what_polycubes_own_policies_are_written_as_is_told():
    listed = {"items": [{"kind": "PolycubeNetworkPolicy", "metadata": {"namespace": "default", "name": "x"}}, {"kind": "Pod", "metadata": {"name": "p"}}]}
    (said,) = left_out(listed)
    assert said.startswith("PolycubeNetworkPolicy default/x is not looked at: ")
    assert "AdminNetworkPolicy" in said
