"""The page as a reader meets it: opened in headless Chromium from a file, without a network."""

import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure

from kdmri_monai.report.page import write_page
from kdmri_monai.report.page_model import (
    Cell,
    Column,
    Details,
    FigureBlock,
    Page,
    Section,
    SliceAnswer,
    SliceCard,
    SliceGrid,
    Table,
    Text,
    Tile,
)
from kdmri_monai.report.slice_cards import border_path, encode_heat, encode_image
from kdmri_monai.report.themed_svg import themed_svg

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
QUIET += "--disable-component-update --disable-sync"
CLASSES = ("meningioma", "glioma", "pituitary tumour")
SLICES, PHONE, DESK = 90, {"width": 360, "height": 740}, {"width": 1280, "height": 800}


def cards():
    """Run 0 errs on every third slice, run 1 never; patient 7 has slices 70 to 79."""
    rng, mask = np.random.default_rng(0), np.zeros((64, 64), dtype=bool)
    mask[10:20, 30:50] = True
    heat = encode_heat(rng.random((6, 6)))
    for number in range(SLICES):
        label, sure = number % 3, 0.5 + number / 200
        wrong = (label + 1) % 3 if number % 9 < 3 else label
        answers = tuple(
            SliceAnswer(said, tuple(sure if k == said else (1 - sure) / 2 for k in range(3)), heat)
            for said in (wrong, label)
        )
        image = encode_image(rng.integers(0, 256, (64, 64)).astype(np.uint8))
        yield SliceCard(f"s{number:03d}", f"patient{number // 10}", label, image, border_path(mask), answers, "axial")


def figure():
    drawn = Figure(figsize=(3.6, 2))
    drawn.subplots().plot([0, 1], [1, 0])
    return themed_svg(drawn, "A line", "It falls.")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    values = (("b", 2.0), ("a", 10.0), ("d", float("nan")), ("c", -3.0))
    rows = tuple((Cell(name), Cell(str(number), sort=number), *[Cell("wide words")] * 9) for name, number in values)
    columns = (Column("Name"), Column("Value", numeric=True, hint="of something"), *[Column("More")] * 9)
    sections = (
        Section("one", "One", "Intro.", (Text("w", "warning"), FigureBlock("figure", "Figure", "n = 3", figure()))),
        Section("two", "Two", "", (Table("table", "Table", "n = 4", columns, rows),)),
        Section(
            "three", "Three", "", (SliceGrid("grid", "Slices", "All.", CLASSES, ("first", "second"), (*cards(),)),)
        ),
        Section("four", "Four", "", (Details("Folded", (Text("inside"),)),)),
    )
    tiles = (Tile("Accuracy", "90.1 %", "80.0 to 95.0", "three seeds"),) * 4
    page = Page("Title", "Subtitle", ("A sentence.",), tiles, sections, ("The end.",))
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(page, path)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; afterwards nothing may have failed, and nothing may have been asked of a network."""
    complaints, contexts = [], []

    def opened(**options):
        contexts.append(browser.new_context(**{"viewport": DESK} | options))
        page = contexts[-1].new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda sent: None if sent.url.startswith(("file:", "data:")) else complaints.append(sent.url)
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def shown(page):
    return page.locator(".cards .card").count()


def test_slices_are_filtered_and_counted(open_page):
    page = open_page()
    assert page.locator(".count").inner_text().startswith("90 of 90 slices, 30 wrong")
    assert shown(page) == 60
    page.get_by_role("button", name="Show more").click()
    assert shown(page) == SLICES
    page.select_option("[name=verdict]", "wrong")
    assert shown(page) == 30
    assert page.locator(".card.wrong").count() == 30
    page.select_option("[name=label]", "1")
    assert shown(page) == 10
    page.select_option("[name=predicted]", "1")
    assert shown(page) == 0
    assert page.locator(".count").inner_text() == "None of 90 slices is like that."


def test_mistakes_come_first_and_the_surest_before_the_others(open_page):
    page = open_page()
    first = page.locator(".card").first
    assert "wrong" in first.get_attribute("class")
    assert "Slice s083" in first.inner_text()  # the last of numbers that are 0, 1 or 2 over a multiple of 9
    assert "Pred: meningioma 0.92" in first.inner_text()
    assert "True: pituitary tumour" in first.inner_text()
    marks = page.locator(".mark").all_inner_texts()
    assert marks == sorted(marks, key=lambda mark: "wrong" not in mark)


def test_another_run_is_shown(open_page):
    page = open_page()
    page.select_option("[name=run]", "1")
    assert page.locator(".count").inner_text().startswith("90 of 90 slices, 0 wrong")
    assert page.locator(".card.wrong").count() == 0


def test_a_patient_is_found(open_page):
    page = open_page()
    page.fill("[name=search]", "PATIENT7")
    assert shown(page) == 10


def test_border_and_heat_can_be_taken_away(open_page):
    page = open_page()
    path, heat = page.locator(".card path").first, page.locator(".card .heat").first
    assert path.is_visible()
    assert float(heat.evaluate("one => getComputedStyle(one).opacity")) == pytest.approx(0.6)
    page.uncheck("[name=border]")
    assert not path.is_visible()
    page.fill("[name=heat]", "0")
    assert float(heat.evaluate("one => getComputedStyle(one).opacity")) == 0


def test_a_table_is_sorted_by_numbers_both_ways_and_what_is_undefined_stays_last(open_page):
    page = open_page()
    names = page.locator("#two tbody tr th")
    heading = page.locator("#two thead th").nth(1)
    heading.get_by_role("button").click()
    assert names.all_inner_texts() == ["a", "b", "c", "d"]
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").press("Enter")
    assert names.all_inner_texts() == ["c", "b", "a", "d"]
    assert heading.get_attribute("aria-sort") == "ascending"
    page.locator("#two thead th").first.get_by_role("button").click()
    assert names.all_inner_texts() == ["a", "b", "c", "d"]
    assert heading.get_attribute("aria-sort") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_that_of_the_reader_until_it_is_switched(open_page, scheme):
    page = open_page(color_scheme=scheme)

    def brightness():
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0])

    def ink():
        return page.locator("#f-figure svg").evaluate("one => getComputedStyle(one).color")

    before, written = brightness(), ink()
    assert (before > 128) == (scheme == "light")
    page.locator("#theme").click()
    assert (brightness() > 128) == (scheme == "dark")
    assert ink() != written


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("selector", ["body", ".caption", ".subtitle", ".mark", ".warning", ".tile dt", "nav a"])
def test_text_is_told_from_its_background(open_page, scheme, selector):
    page = open_page(color_scheme=scheme)
    ratio = page.locator(selector).first.evaluate(
        """one => {
          const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
          let behind = one;
          while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
          const pair = [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor].map(numbers).map(light);
          return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        }"""
    )
    assert ratio >= 4.5


def test_a_phone_scrolls_down_and_never_sideways(open_page):
    page = open_page(viewport=PHONE, is_mobile=True, has_touch=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    assert page.locator(".card").first.bounding_box()["width"] > 140


def test_the_page_is_printed(open_page):
    page = open_page(color_scheme="dark")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".controls").is_visible()


def test_without_scripts_the_page_still_says_everything_else(open_page):
    page = open_page(java_script_enabled=False)
    text = page.locator("body").inner_text()
    for words in ("A sentence.", "90.1 %", "wide words", "The slices are shown by a script"):
        assert words in text
    assert page.locator("#f-figure svg").bounding_box()["height"] > 100


def test_the_keyboard_reaches_the_results(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#one'")
