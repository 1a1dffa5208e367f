"""Debian's Chromium, headless, for pages that are opened from disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHROMIUM = shutil.which("chromium")


class Opened(NamedTuple):
    """A page, what it asked for beside itself, and what it complained of, as both grow."""

    page: Any
    requests: list[str]
    complaints: list[str]


@contextmanager
def opened(path: Path, dark: bool = False, width: int = 1280) -> Iterator[Opened]:
    """A page of this disk; without a Chromium the test is skipped, in CI it fails."""
    if CHROMIUM is None:
        assert "CI" not in os.environ, "chromium is missing; .ci/run installs it"
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    requests: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.goto(path.resolve().as_uri(), wait_until="load")
        try:
            yield Opened(page, requests, complaints)
        finally:
            browser.close()
