"""The report as a person meets it: opened in a browser, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bokeh", reason="the report draws with Bokeh: pip install 'evener[report]'")

from simulated_records import simulate

from evener.cli import main
from evener.core.policies import Balanced, Synchronous
from evener.core.state import Settings
from evener.observe.intervals import Interval
from evener.observe.levels import ROOM, Levels
from evener.observe.report import tell
from evener.observe.report.page import page as html
from evener.observe.timeline import Timeline
from evener.simulation.cluster import Cluster, Host
from evener.trace import read

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EVIL = '</script><b>it\'s & "run"'
CLUSTER = Cluster(
    (
        Host(pace=400, noise=0.1, refused=20),
        Host(pace=200, stalls=((3.0, 2.0),)),
        Host(pace=100, dies=8.0),
        Host(pace=200, joins=5.0),
    )
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    settings = Settings(batch=256, epochs=8, workers=3)
    simulate(folder / "one", CLUSTER, settings, Balanced(), 1024)
    simulate(folder / "two", CLUSTER, settings, Synchronous(), 1024, notes={"script": EVIL})
    broken = folder / EVIL.replace("/", "")
    broken.mkdir()
    raw = (folder / "one" / "record.jsonl").read_bytes()
    (broken / "record.jsonl").write_bytes(raw[: len(raw) * 2 // 3])
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser: pip install playwright"
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser to open the report with: install one of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """A page with everything that it complained about or asked for."""

    def __init__(self, browser: Any, file: Path, width: int = 1200, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.set_offline(True)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("request", lambda asked: self._asked(asked.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]", timeout=60_000)

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(f"asked for {url}")

    def range(self) -> tuple[float, float]:
        start, end = self.page.evaluate("(() => {const r = timelines[0].figure.x_range; return [r.start, r.end]})()")
        return start, end

    def place(self, worker: int, t: float) -> tuple[float, float]:
        """Where on the page this moment of a worker is."""
        self.page.locator(".timeline .plot").first.scroll_into_view_if_needed()
        x, y = self.page.evaluate(
            """([worker, t]) => {
              const view = Bokeh.index.find_one(timelines[0].figure)
              const box = view.el.getBoundingClientRect()
              const lane = timelines[0].data.workers.indexOf(worker) + 0.5
              return [box.x + view.frame.x_scale.compute(t), box.y + view.frame.y_scale.compute(lane)]
            }""",
            [worker, t],
        )
        return x, y


@pytest.fixture
def show(browser: Any, records: Path, tmp_path: Path) -> Iterator[Any]:
    opened: list[Opened] = []

    def make(*names: str, width: int = 1200, scheme: str = "light") -> Opened:
        output = tmp_path / "report.html"
        assert main(["report", *(str(records / name) for name in names), "-o", str(output)]) == 0
        opened.append(Opened(browser, output, width, scheme))
        return opened[-1]

    yield make
    for one in opened:
        one.context.close()
        assert one.wrong == []


def test_a_click_tells_what_an_interval_was(show: Any, records: Path) -> None:
    report = show("one")
    intervals = list(Timeline().follow(read(records / "one")))
    long = max((one for one in intervals if one.state == "computing" and one.worker == 0), key=lambda one: one.seconds)
    stall = max((one for one in intervals if one.state == "stalled"), key=lambda one: one.seconds)
    wait = max((one for one in intervals if one.by >= 0), key=lambda one: one.seconds)
    for interval in (long, stall, wait):
        report.page.evaluate("([a, b]) => timelines[0].show(a, b)", [interval.start - 0.2, interval.stop + 0.2])
        report.page.wait_for_timeout(600)  # sooner, it would be a double click
        report.page.mouse.click(*report.place(interval.worker, (interval.start + interval.stop) / 2))
        what = f"Worker {interval.worker}: {interval.state}"
        report.page.wait_for_selector(f"#detail0:has-text('{what}')")
        said = report.page.inner_text("#detail0")
        assert f"{interval.start:.3f} s to {interval.stop:.3f} s" in said
        assert f"icket {interval.ticket} of step {interval.step}" in said or interval.state == "waiting"
        if interval.state == "computing":
            assert f"{interval.samples} samples" in said
            assert f"version {interval.version}" in said
        if interval.by >= 0:
            assert f"worker {interval.by} held it up" in said
    report.page.click("text=Next interval")
    assert report.page.inner_text("#detail0") != said


def test_the_timeline_zooms_to_single_steps_and_back(show: Any) -> None:
    report = show("one")
    whole = report.range()
    drawn = report.page.evaluate("timelines[0].quads.data.left.length")
    report.page.click("text=Zoom in")
    near = report.range()
    assert near[1] - near[0] == pytest.approx(0.4 * (whole[1] - whole[0]))
    report.page.mouse.dblclick(*report.place(0, sum(near) / 2))
    report.page.wait_for_function("(span) => timelines[0].figure.x_range.span < span", arg=0.5 * (near[1] - near[0]))
    before = report.range()
    report.page.mouse.move(*report.place(0, sum(before) / 2))
    report.page.keyboard.down("Control")
    report.page.mouse.wheel(0, -300)
    report.page.keyboard.up("Control")
    report.page.wait_for_function("(span) => timelines[0].figure.x_range.span < span", arg=before[1] - before[0])
    report.page.click("text=Single steps")
    report.page.wait_for_function("document.getElementById('view0').textContent.endsWith(': single intervals')")
    assert report.page.evaluate("timelines[0].quads.data.left.length") != drawn
    report.page.click("text=Whole run")
    assert report.range() == whole


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_on_a_phone(show: Any, names: tuple[str, ...], scheme: str) -> None:
    report = show(*names, width=400, scheme=scheme)
    assert report.page.evaluate("document.documentElement.scrollWidth") <= 400
    small = report.page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) =>
          [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
          && parseFloat(getComputedStyle(one).fontSize) < 11).map((one) => one.outerHTML)"""
    )
    assert small == []
    wide = report.page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) => !one.closest(".scroll")
          && one.getBoundingClientRect().right > 400.5).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert wide == []
    sizes = report.page.evaluate(
        """() => models().flatMap((figure) => [...figure.below, ...figure.left])
          .flatMap((axis) => [axis.axis_label_text_font_size, axis.major_label_text_font_size])
          .map((size) => parseFloat(size.value ?? size))"""
    )
    assert sizes
    assert min(sizes) >= 11


def test_light_and_dark_by_the_system_and_by_the_button(show: Any) -> None:
    report = show("one", scheme="dark")
    colors = "[getComputedStyle(document.body).backgroundColor, timelines[0].figure.below[0].major_label_text_color]"
    dark = report.page.evaluate(colors)
    report.page.click("#theme")
    light = report.page.evaluate(colors)
    assert dark[0] != light[0]
    assert str(dark[1]) != str(light[1])
    report.page.click("#theme")
    assert report.page.evaluate(colors) == dark


def test_a_record_that_breaks_off_is_shown_and_says_so_whatever_it_is_called(
    show: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name = EVIL.replace("/", "")
    report = show(name, "two")
    assert "ends in the middle of line" in capsys.readouterr().err
    said = report.page.inner_text("main")
    assert name in said
    assert "ends in the middle of line" in said
    assert "The record has no end" in said


def test_a_run_that_was_killed_before_it_began_has_a_page_too(show: Any, records: Path) -> None:
    begun = records / "begun"
    begun.mkdir()
    lines = (records / "one" / "record.jsonl").read_text().splitlines(keepends=True)
    (begun / "record.jsonl").write_text("".join(lines[:2]))
    said = show("begun").page.inner_text("main")
    assert "The record has no end" in said
    assert "Nothing was handed out yet" in said


def test_a_finger_scrolls_the_page_over_the_timeline(show: Any) -> None:
    report = show("one", width=400)
    touch = "getComputedStyle(Bokeh.index.find_one(timelines[0].figure).canvas.events_el).touchAction"
    assert report.page.evaluate(touch) == "pan-y"


def test_a_page_with_all_the_intervals_there_is_room_for_is_small_enough(
    browser: Any, records: Path, tmp_path: Path
) -> None:
    story = tell(records / "one")
    levels = Levels()
    kinds = (("computing", ""), ("waiting", "step"), ("transferring", "parameters"))
    each = story.seconds / 1_000_000
    for number in range(ROOM + 10_000):
        state, cause = kinds[number % 3]
        start = number // 4 * 4 * each
        length = (1 + number * 7919 % 1000 / 1000) * each * 2
        levels.add(
            [Interval(number % 4, start, start + length, state, cause, -1, number, number // 50, number // 60, 64)]
        )
    story = tell(records / "one")
    object.__setattr__(story, "levels", levels)
    output = tmp_path / "large.html"
    output.write_text(html([story]), "utf-8")
    assert not levels.complete
    assert output.stat().st_size < 15e6
    opened = Opened(browser, output)
    assert opened.wrong == []
    assert "one by one" in opened.page.inner_text(".timeline")
    opened.context.close()


def test_errors_say_what_to_do(tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*arguments: str) -> str:
        assert main(["report", *arguments]) == 2
        return capsys.readouterr().err

    assert "there is no record at" in error(str(tmp_path))
    (tmp_path / "record.jsonl").write_text("")
    assert "is empty" in error(str(tmp_path))
    header = (records / "one" / "record.jsonl").read_text().splitlines()[0]
    (tmp_path / "record.jsonl").write_text(header.replace('"schema":1', '"schema":9') + "\n")
    assert "has schema 9" in error(str(tmp_path))
    (tmp_path / "record.jsonl").write_text(header.replace('"balanced"', '"newest"') + "\n")
    assert "this version knows" in error(str(tmp_path))
    one = str(records / "one")
    assert "is a folder" in error(one, "-o", str(tmp_path))
    assert "over a record" in error(one, "-o", str(tmp_path / "record.jsonl"))
    assert "no folder" in error(one, "-o", str(tmp_path / "not" / "there.html"))
    assert "at most" in error(*[one] * 7)


def test_without_bokeh_it_says_what_to_install(
    records: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evener.cli.report.find_spec", lambda name: None)
    assert main(["report", str(records / "one")]) == 2
    assert "pip install 'evener[report]'" in capsys.readouterr().err
