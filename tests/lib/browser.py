"""A real browser: Debian's chromium, driven by playwright. What a page writes to its console, and what it may not load, is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

NONE = "no chromium: scripts/setup --dev installs it on Debian"


@dataclass
class Browser:
    """`complaints` are errors and warnings of all its pages."""

    browser: Any
    complaints: list[str] = field(default_factory=list)

    def page(self, url: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Any:
        """A new page of this size, once it has drawn its graph."""
        scheme = "dark" if dark else "light"
        page = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
        page.set_default_timeout(90_000)
        page.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        while not self._drawn(page, url):
            pass
        return page

    def _drawn(self, page: Any, url: str) -> bool:
        """False: netdevs came or went meanwhile, as they do in tests, and chromium gave up what it was loading."""
        from playwright.sync_api import TimeoutError as Late

        before, late = len(self.complaints), None
        page.goto(url)
        try:
            page.wait_for_selector(".box", timeout=20_000)
        except Late as error:
            late = error
        if any("ERR_NETWORK_CHANGED" in each for each in self.complaints[before:]):
            del self.complaints[before:]
            return False
        if late is not None:
            page.wait_for_selector(".box")
        return True

    def _failed(self, request: Any) -> None:
        if not request.url.endswith(("/events", "/events?log")):  # which end with the page
            self.complaints.append(f"{request.url}: {request.failure}")


@contextmanager
def browser() -> Iterator[Browser]:
    """Skips the test where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip(NONE)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield Browser(started)
        finally:
            started.close()
