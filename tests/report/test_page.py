"""The page as a file: nothing in it can run or fetch, whatever the texts say."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kdmri_monai.report.page import render, write_page
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
from kdmri_monai.report.slice_cards import encode_heat, encode_image

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 1"><title>t</title><path d="M0 0L2 1"/></svg>'
EVIL = '</script><script>alert(1)</script>"><img src=x onerror=alert(1)>&'


def page_of(*blocks, **given):
    section = Section("first", given.pop("section", "First"), "", blocks)
    given = {"title": "T", "subtitle": "S", "lead": ("One.",), "tiles": (), "footer": ()} | given
    return Page(sections=(section,), **given)


def table(key="table", rows=(("a", 1.0),)):
    cells = tuple((Cell(text), Cell(f"{number:g}", sort=number)) for text, number in rows)
    return Table(key, "A table", "Per cent.", (Column("Name"), Column("Value", numeric=True)), cells)


def grid(slices=1, runs=("run",), **given):
    rng = np.random.default_rng(0)
    card = {
        "patient": "p",
        "label": 0,
        "image": encode_image(rng.integers(0, 256, (128, 128)).astype(np.uint8)),
        "border": "M0 0L1 0L1 1Z",
        "answers": (SliceAnswer(1, (0.1, 0.7, 0.2), encode_heat(rng.random((12, 12)))),) * len(runs),
        "facts": "",
    } | given
    cards = tuple(SliceCard(id=str(number), **card) for number in range(slices))
    return SliceGrid("grid", "Slices", "All.", ("meningioma", "glioma", "pituitary tumour"), runs, cards)


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize(
    "page",
    [
        page_of(Text(EVIL)),
        page_of(Text("w", "warning"), title=EVIL, subtitle=EVIL, lead=(EVIL,), footer=(EVIL,)),
        page_of(tiles=(Tile(EVIL, EVIL, EVIL, EVIL),), section=EVIL),
        page_of(table(rows=((EVIL, 1.0),)), Details(EVIL, (Text(EVIL),))),
        page_of(grid(patient=EVIL, facts=EVIL)),
        page_of(grid(runs=(EVIL,))),
    ],
)
def test_texts_stay_texts(page):
    text = render(page)
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == len(re.findall(r"<script>|<script type", text))
    assert not any(tag == "img" for tag, _ in elements)
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    assert "<script>alert" not in text


def test_the_policy_allows_the_script_of_the_page_alone():
    elements = Elements(render(page_of(Text("words")))).found
    policy = next(given["content"] for tag, given in elements if given.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert re.search(r"script-src 'sha256-[\w+/=]+'$", policy)


def test_nothing_is_fetched():
    text = render(page_of(Text("w"), table(), grid(), FigureBlock("figure", "F", "c", SVG)))
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)|url\(([^)]+)\)|@import""", text)
    assert all((first or second).startswith(("#", "data:")) for first, second in addresses)


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<path onclick="alert(1)"/>',
        '<a href="https://example.org"><path/></a>',
        '<image href="http://example.org/a.png"/>',
        '<rect style="fill:url(http://example.org/a)"/>',
        '<use href="other.svg#a"/>',
        "<foreignObject/>",
        "<style>section { display: none }</style>",
        '<title><meta xmlns="http://www.w3.org/1999/xhtml" http-equiv="refresh" content="0;url=x"/></title>',
        '<animate attributeName="href" to="javascript:alert(1)"/>',
        "<text><![CDATA[<script>alert(1)</script>]]></text>",
        "<!-- a comment -->",
        '<path xmlns:x="http://www.w3.org/1999/xlink" x:href="javascript:alert(1)"/>',
    ],
)
def test_a_figure_that_could_run_or_fetch_is_refused(inner):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
    with pytest.raises(ValueError, match="an SVG in a page"):
        render(page_of(FigureBlock("figure", "F", "c", svg)))


def test_what_is_no_svg_is_refused():
    with pytest.raises(ValueError, match="not well-formed"):
        render(page_of(FigureBlock("figure", "F", "c", "<svg><path></svg>")))


def test_a_figure_may_refer_to_itself():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/><rect style="fill: url(#b)"/></svg>'
    assert 'href="#a"' in render(page_of(FigureBlock("figure", "F", "c", svg)))


def test_a_column_without_a_heading_is_refused():
    with pytest.raises(ValueError, match="heading"):
        Column(" ")


def test_a_row_of_other_length_is_refused():
    wrong = Table("wrong", "W", "", (Column("a"), Column("b")), ((Cell("1"),),))
    with pytest.raises(ValueError, match="'wrong' has 2 columns and a row of 1"):
        render(page_of(wrong))


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="'table' stands twice"):
        render(page_of(table(), Details("more", (table(),))))


def test_cells_are_sorted_by_number_or_text_and_undefined_ones_by_nothing():
    cells = (Cell("B"), Cell("2.0 (1)", sort=2.0), Cell("x", sort=float("nan")), Cell("y", sort="Z"))
    text = render(page_of(Table("t", "T", "", tuple(map(Column, "abcd")), (cells,))))
    assert re.findall(r'data-sort="([^"]*)"', text) == ["b", "2.0", "", "z"]


def test_a_row_is_named_by_its_first_cell():
    assert re.search(r'<th scope="row"[^>]*>a</th><td[^>]*>1</td>', render(page_of(table())))


def test_what_is_no_svg_element_is_refused():
    with pytest.raises(ValueError, match="one svg element"):
        render(page_of(FigureBlock("figure", "F", "c", "<div/>")))


def test_six_hundred_slices_of_three_runs_stay_below_eight_megabytes(tmp_path):
    write_page(page_of(grid(600, ("teacher", "baseline", "distilled"))), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_data_of_slices_are_read_back_as_they_were():
    text = render(page_of(grid(2, patient="<&>")))
    content = json.loads(re.search(r'<script type="application/json">(.+?)</script>', text, re.DOTALL).group(1))
    assert [card["patient"] for card in content["cards"]] == ["<&>", "<&>"]
    assert content["cards"][0]["answers"][0]["q"] == [0.1, 0.7, 0.2]
