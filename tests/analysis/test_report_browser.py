"""The page in a real browser: headless Chromium where it is installed, axe-core where npm has put it; else skipped.

apt-get install chromium; npm install --global axe-core
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from studies import demo_study, isoflop_study

from isoflop.analysis import options
from isoflop.analysis.report.report import write_report

GALLERY = run_path(str(Path(__file__).parents[2] / "docs" / "gallery" / "make.py"))["ENTRIES"]
DATA = os.environ.get("ISOFLOP_REFERENCE_DATA")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
# what is measured in the page, once its figures are drawn
PROBE = """
(async () => {
  const boxes = [...document.querySelectorAll(".chart")], width = document.documentElement.clientWidth;
  const inside = (e) => e.closest(".scroll, .chart") || e.getBoundingClientRect().right <= width + 1;
  const over = [...document.querySelectorAll("main *, header *")].filter((e) => !inside(e));
  const violations = window.axe ? (await axe.run()).violations : null;
  const nodes = (v) => v.nodes.map((n) => n.html.slice(0, 200)).slice(0, 3).join(" | ");
  const chart = (box, svg) => ({
    name: box.dataset.figure, width: svg.getBoundingClientRect().width, room: box.clientWidth,
    label: svg.getAttribute("aria-label"), box: box.getAttribute("aria-label"),
  });
  const tables = [...document.querySelectorAll(".scroll:not(:has(.ledger))")];
  const cut = tables.filter((box) => box.scrollWidth > box.clientWidth + 1);
  return {
    cut: cut.map((box) => box.textContent.trim().slice(0, 100)),
    width, scroll: document.documentElement.scrollWidth, over: over.map((e) => `${e.tagName}.${e.className}`),
    first: boxes[0] ? boxes[0].getBoundingClientRect().top + scrollY : null,
    charts: boxes.map((box) => chart(box, box.querySelector("svg"))),
    axe: violations?.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${nodes(v)}`),
  };
})()
"""


class Browser:
    """Headless Chromium, spoken to over a pipe (Chrome DevTools Protocol): one page in a window of any size."""

    def __init__(self, profile: Path) -> None:
        mine, theirs = os.pipe(), os.pipe()
        # the browser reads commands on descriptor 3 and writes answers on 4
        command = (
            f'exec "{CHROMIUM}" --headless --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe '
            f'--user-data-dir="{profile}" 3<&{mine[0]} 4>&{theirs[1]}'
        )
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(mine[0], theirs[1]), stdout=quiet, stderr=quiet
        )
        os.close(mine[0])
        os.close(theirs[1])
        self.commands, self.answers = os.fdopen(mine[1], "wb", 0), os.fdopen(theirs[0], "rb", 0)
        self.number, self.rest, self.session, self.loaded = 0, b"", "", False
        self.console: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and wait for its answer; what the page logs meanwhile is kept."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.loaded |= answer.get("method") == "Page.loadEventFired"
            if answer.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.console.append(json.dumps(answer["params"])[:500])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = self.answers.read(1 << 16)
            assert part, "the browser ended"
            self.rest += part
        text, _, self.rest = self.rest.partition(b"\0")
        document: dict[str, Any] = json.loads(text)
        return document

    def measure(self, page: Path, width: int, height: int) -> dict[str, Any]:
        """The page as it is laid out in a window of this size, and what it logged."""
        self.console.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.loaded = False
        self.call("Page.navigate", url=page.resolve().as_uri())
        # before the page is loaded, an answer may be of the page before
        while not (self._evaluate("document.documentElement?.dataset.drawn || ''") and self.loaded):
            time.sleep(0.05)
        if axe_core():
            self._evaluate(axe_core() + ";0")
        measured: dict[str, Any] = self._evaluate(PROBE)
        return measured | {"console": list(self.console)}

    def _evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self.session = ""
        self.commands.write(json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        self.process.wait(30)
        self.commands.close()
        self.answers.close()


@cache
def axe_core() -> str:
    """The script of axe-core; empty where npm has not installed it."""
    npm = shutil.which("npm")
    root = subprocess.run([npm, "root", "--global"], capture_output=True, text=True).stdout.strip() if npm else ""
    for folder in filter(None, (os.environ.get("AXE_CORE"), f"{root}/axe-core" if root else "")):
        if (file := Path(folder) / "axe.min.js").is_file():
            return file.read_text(encoding="utf-8")
    return ""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    demo = write_report(demo_study(), folder / "demo")
    return {"demo": demo, "isoflop": write_report(isoflop_study(), folder / "isoflop")}


@pytest.mark.parametrize(("width", "height", "screens"), [(1400, 900, 1), (768, 1024, 1), (390, 844, 2)])
@pytest.mark.parametrize("name", ["demo", "isoflop"])
def test_a_page_is_laid_out_for_its_window(
    browser: Browser, pages: dict[str, Path], name: str, width: int, height: int, screens: int
) -> None:
    page = browser.measure(pages[name], width, height)
    assert page["console"] == []
    assert page["width"] == width
    assert page["first"] < screens * height - 200
    assert page["over"] == []
    assert page["scroll"] <= width
    for chart in page["charts"]:
        assert 150 < chart["width"] <= chart["room"] + 1, chart


@pytest.mark.skipif(not DATA, reason="ISOFLOP_REFERENCE_DATA names no folder of public tables")
@pytest.mark.parametrize("entry", GALLERY, ids=lambda entry: entry.name)
def test_a_page_of_a_public_table_is_whole(browser: Browser, tmp_path: Path, entry: Any) -> None:
    table = options.grouped(options.table(Path(str(DATA)) / entry.path, where=entry.where), entry.by)
    page = browser.measure(write_report(table, tmp_path), 1400, 900)
    assert page["console"] == []
    assert page["over"] == []
    assert page["cut"] == []
    assert page["charts"]
    for chart in page["charts"]:
        assert 150 < chart["width"] <= chart["room"] + 1, chart


def test_a_figure_is_told_to_a_screen_reader_in_words(browser: Browser, pages: dict[str, Path]) -> None:
    for chart in browser.measure(pages["demo"], 1400, 900)["charts"]:
        assert len(chart["label"]) > 40
        assert "Vega" not in chart["label"]
        assert chart["box"] is None


def test_a_figure_is_saved_as_a_picture_from_the_page(browser: Browser, pages: dict[str, Path]) -> None:
    browser.measure(pages["demo"], 1400, 900)
    for suffix, head in (("svg", "blob:"), ("png", "data:image/png")):
        saved = browser._evaluate(
            "new Promise((saved) => { HTMLAnchorElement.prototype.click = function () { saved([this.download, "
            f"this.href.slice(0, 20)]); }}; document.querySelector('[data-format={suffix}]').click(); }})"
        )
        assert saved[0].endswith(f".{suffix}")
        assert saved[1].startswith(head), saved


@pytest.mark.skipif(not axe_core(), reason="axe-core is not installed: npm install --global axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, pages: dict[str, Path], scheme: str) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    try:
        for page in pages.values():
            assert browser.measure(page, 1400, 900)["axe"] == []
    finally:
        browser.call("Emulation.setEmulatedMedia", features=[])


def test_a_page_prints_onto_a4_with_nothing_cut(browser: Browser, pages: dict[str, Path]) -> None:
    browser.measure(pages["demo"], 1400, 900)
    pdf = base64.b64decode(browser.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    sizes = {(round(float(w)), round(float(h))) for w, h in re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", pdf)}
    assert sizes == {(595, 842)}
    browser.call("Emulation.setDeviceMetricsOverride", width=688, height=972, deviceScaleFactor=1, mobile=False)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        widths = (
            "[...document.querySelectorAll('figure, table, p, li, .chart svg')].map((e) => e.getBoundingClientRect())"
        )
        right = browser._evaluate(f"Math.max(...{widths}.map((r) => r.right))")
        assert right <= 690
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
