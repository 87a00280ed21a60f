"""Debian's Chromium, and pages of made-up results, each written when it is first asked for."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator

import pytest
from bitplan.reports.html import render

from .visits import RESULTS, Visit

CHROMIUM = pathlib.Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is absent: install Debian's package `chromium`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def visit(browser, folder) -> Iterator[Callable[..., Visit]]:
    """visit(name) -> the page of `RESULTS[name]`, opened; at the end it must have asked for nothing."""
    opened: list[Visit] = []

    def start(name: str, **context) -> Visit:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(render(RESULTS[name]()), encoding="utf-8")
        opened.append(Visit(browser, path, **context))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
