"""Report pages in a headless browser, at the width of a phone and of a desktop. Skipped without playwright and Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prealign.report.page import write_report
from prealign.report.results import Results
from prealign.report.results_file import read_results

ROOT = Path(__file__).parents[2]
WIDTHS = (390, 1280)
TOO_WIDE = """() => [...document.querySelectorAll("body *")]
  .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1 && !e.closest(".scroll *, svg *"))
  .map(e => e.tagName + " " + e.className)"""
"""Elements beyond the page's edge, except inside a box that scrolls by itself."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium: `apt install chromium`")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["demo", "en-clone-curves", "en-de"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report page of committed results: the demo, one with curves, one of a real language."""
    path = tmp_path_factory.mktemp(request.param) / "report.html"
    write_report(Results(read_results(ROOT / "docs/results" / request.param / "results.json")), path)
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_fits_its_page_and_runs_without_an_error(browser: Any, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    faults: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert faults == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()], "one self-contained file"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []
    figures = page.locator("figure")
    assert figures.count() > 0
    assert all(figures.nth(i).bounding_box()["height"] > 50 for i in range(figures.count()))
    page.close()
