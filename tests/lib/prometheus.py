"""The real Prometheus, where it is installed (apt-get install prometheus): it scrapes once a second, in the caller's network namespace."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

_ADDRESS = "127.0.0.1:9490"


class Prometheus:
    """Scrapes `target` (host:port) as the job pcn. The test is left out where there is no Prometheus."""

    def __init__(self, directory: Path, target: str) -> None:
        if shutil.which("prometheus") is None:
            pytest.skip("prometheus is not installed (apt-get install prometheus)")
        self._config, self._data = directory / "prometheus.yml", directory / "data"
        jobs = [{"job_name": "pcn", "static_configs": [{"targets": [target]}]}]
        self._config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))

    def __enter__(self) -> Prometheus:
        words = [f"--config.file={self._config}", f"--storage.tsdb.path={self._data}", f"--web.listen-address={_ADDRESS}"]
        self._process = subprocess.Popen(["prometheus", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def ask(self, query: str, seconds: float = 20) -> float | None:
        """The first value that a query has, as soon as it has one; None if it has none in that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                url = f"http://{_ADDRESS}/api/v1/query?" + urllib.parse.urlencode({"query": query})
                with urllib.request.urlopen(url, timeout=2) as answer:
                    found = json.load(answer)["data"]["result"]
                if found:
                    return float(found[0]["value"][1])
            except OSError:
                pass
            time.sleep(0.2)
        return None
