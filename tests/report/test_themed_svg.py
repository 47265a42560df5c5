"""A figure inside a page: text stays text, and the page decides about light and dark."""

import re
from xml.etree import ElementTree

import pytest

from kdmri_monai.report.axes import FAINT, INK, new_figure, tidy
from kdmri_monai.report.safe_svg import safe_svg
from kdmri_monai.report.themed_svg import themed_svg


def figure(height=2.0):
    made = new_figure(height)
    axes = made.subplots()
    axes.plot([0, 1, 2], [2, 0, 1])
    axes.set_xlabel("Epoch & more", color=INK)
    tidy(axes)
    return made


@pytest.fixture
def svg():
    return themed_svg(figure(), "Loss", "It <falls>.")


def test_ink_and_grid_are_left_to_the_page(svg):
    assert INK.lower() not in svg.lower()
    assert FAINT.lower() not in re.sub(r"var\([^)]*\)", "", svg.lower())  # but for where a page sets none
    assert "currentColor" in svg
    assert "var(--faint" in svg


def test_text_stays_text_and_the_figure_says_what_it_is(svg):
    root = ElementTree.fromstring(svg)
    text = " ".join(root.itertext())
    assert "Epoch & more" in text
    assert "It <falls>." in text
    assert root.get("role") == "img"
    assert root.get("viewBox")


def test_a_figure_is_fit_for_a_page(svg):
    assert safe_svg(svg) == svg
    assert len(svg) < 60_000


def test_figures_that_differ_share_no_ids():
    ids = [set(re.findall(r'\bid="([^"]+)"', themed_svg(figure(height), "t", "d"))) for height in (2.0, 3.0)]
    assert all(ids)
    assert not ids[0] & ids[1]


def test_every_reference_is_to_an_id_of_its_own(svg):
    known = set(re.findall(r'\bid="([^"]+)"', svg))
    named = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert named <= known


def test_equal_figures_give_equal_strings():
    assert themed_svg(figure(), "t", "d") == themed_svg(figure(), "t", "d")


@pytest.mark.parametrize(("title", "description"), [("", "d"), ("t", "  ")])
def test_a_figure_without_words_is_refused(title, description):
    with pytest.raises(ValueError, match="title or description"):
        themed_svg(figure(), title, description)
