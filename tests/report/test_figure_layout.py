"""Figures can be read: words stay inside, apart from each other, and are as large as on a phone they must be."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

from kdmri_monai.evaluation.history import History
from kdmri_monai.report.axes import pixels, save
from kdmri_monai.report.decades import short
from kdmri_monai.report.figures_calibration import Reliability, RiskCoverage, reliability_figure, risk_coverage_figure
from kdmri_monai.report.figures_confusion import confusion_figure
from kdmri_monai.report.figures_curves import arm_columns, mean_over_runs
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.report.figures_grid import GridCell, prediction_grid
from kdmri_monai.report.figures_ranking import RocCurve, roc_figure
from kdmri_monai.report.figures_robustness import CorruptionPanel, Severities, robustness_figure
from kdmri_monai.report.figures_terms import terms_figure
from kdmri_monai.report.figures_transfer import CostPoint, columns, spread, transfer_figure
from kdmri_monai.report.number_words import in_words
from kdmri_monai.report.themed_svg import themed_svg

CLASSES = ("meningioma", "glioma", "pituitary tumour")
RUNS = ("teacher (given the mask)", "baseline", "distilled with fused stages")
NAN = float("nan")


def history(seed, epochs=24):
    falls = np.geomspace(1, 0.2, epochs) + 0.05 * np.random.default_rng(seed).random(epochs)
    parts = {f"{part}/{term}": falls for part in ("training", "weighted", "gradient_norms") for term in ("task", "kd")}
    scores = {f"{split}/{name}": 1 - falls / 2 for split in ("training", "validation") for name in ("accuracy",)}
    rest = {"validation/loss": falls, "validation/balanced_accuracy": 0.9 - falls / 2}
    return History(np.arange(1, epochs + 1), {**parts, **scores, **rest}, {"training": 1687, "validation": 305})


def curves():
    return arm_columns({"baseline": [history(0), history(1)], "distilled": [history(2), history(3)]})


def confusion():
    return confusion_figure(np.array([[1058, 24, 26], [19, 1212, 8], [0, 2, 1150]]), CLASSES)


def forest():
    long = "tumour erased, filled from its surroundings, n = 3,064 slices"
    chance = (1 / 3, 0.2, 0.45)
    rows = [ForestRow(long, (0.6, 0.5, 0.7), "Network", chance, True), ForestRow("intact", (0.9, 0.8, 0.95), "Network")]
    return forest_figure([*rows, ForestRow("labels permuted", (0.33, NAN, NAN), "Labels")], ForestScale("Recall (%)"))


def transfer():
    points = [CostPoint(name, (0.8 + at / 200, 0.7, 0.9), 7e5) for at, name in enumerate(("kd", "fusion", *RUNS[1:]))]
    return transfer_figure([CostPoint(RUNS[0], (0.88, 0.76, 0.97), 8e6), *points], "Recall (%), n = 499", "Parameters")


def robustness():
    scores = Severities(np.linspace(0.9, 0.4, 6), np.linspace(0.8, 0.3, 6), np.linspace(0.95, 0.5, 6))
    titles = ("Rician noise", "Blur", "Bias field", "Motion", "Ghosting", "Contrast", "Resolution", "Rotation")
    panels = [CorruptionPanel(title, "2 to 20 % of the maximum", dict.fromkeys(RUNS, scores)) for title in titles]
    return robustness_figure(panels, "Balanced accuracy (%), n = 499", 1 / 3)


def roc():
    grid = np.linspace(0, 1, 101)
    return roc_figure([RocCurve(name, grid, grid**0.3, grid, grid**0.1, (0.89, 0.7, 0.97), 1426) for name in CLASSES])


def reliability():
    bins = np.linspace(0.35, 0.98, 10)
    parts = (bins, bins - 0.05, bins - 0.2, np.minimum(1, bins + 0.1), np.arange(10, 110, 10), (0.07, 0.04, 0.11))
    return reliability_figure([Reliability(name, *parts) for name in ("as trained", "after temperature 1.62")])


def coverage():
    share = np.arange(1, 3065) / 3064
    return risk_coverage_figure([RiskCoverage(name, share, share / 5, (0.1, 0.05, 0.2)) for name in RUNS], n=3064)


def cells(number=6):
    mask = np.zeros((32, 32), bool)
    mask[8:16, 8:16] = True
    image, heat = np.zeros((32, 32)), mask.astype(float)
    return [GridCell(image, CLASSES[at % 3], CLASSES[at % 2], 0.9, mask, heat) for at in range(number)]


FIGURES = {
    "curves": curves,
    "confusion": confusion,
    "forest": forest,
    "transfer": transfer,
    "robustness": robustness,
    "roc": roc,
    "reliability": reliability,
    "coverage": coverage,
    "terms": lambda: terms_figure(history(0)),
    "grid": lambda: prediction_grid(cells(), columns=2, total=499),
    "one slice": lambda: prediction_grid(cells(1)),
}


def shown_texts(figure):
    """Every text that is drawn, with its box in pixels."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in unshown(axis)}
    return [(text, Text.get_window_extent(text)) for text in texts if id(text) not in hidden]  # without an arrow


def unshown(axis):
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    for tick in ticks:
        labels = (tick.label1, tick.label2)
        outside = not low - 1e-9 <= tick.get_loc() <= high + 1e-9
        yield from (label for label in labels if outside or not label.get_visible() or not axis.axes.axison)


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())
def test_words_are_inside_apart_and_large_enough(make):
    figure = make()
    texts = shown_texts(figure)
    assert len(texts) > 4
    for text, box in texts:
        assert text.get_fontsize() >= 8, text
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    for (one, here), (other, there) in combinations(texts, 2):
        across = min(here.x1, there.x1) - max(here.x0, there.x0)
        along = min(here.y1, there.y1) - max(here.y0, there.y0)
        assert across < 2 or along < 5, f"{one} lies on {other}"  # boxes of lines have room above and below the letters


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("curves", "grid", "one slice")])
def test_a_figure_of_the_page_is_as_wide_as_a_phone_and_light(name):
    figure = FIGURES[name]()
    assert figure.get_figwidth() == pytest.approx(3.6)
    assert len(themed_svg(figure, name, "Words.")) < 60_000


def test_a_figure_is_the_same_string_however_often_it_was_drawn(tmp_path):
    figure = roc()
    once = themed_svg(figure, "ROC", "Words.")
    save(figure, tmp_path / "roc", ("png", "pdf"))
    assert themed_svg(figure, "ROC", "Words.") == once


def test_the_mean_of_runs_is_missing_where_a_run_is():
    epochs, mean = mean_over_runs([history(0, 4), history(1, 6)], "training", "task")
    expected = (history(0, 4).column("training", "task") + history(1, 6).column("training", "task")[:4]) / 2
    assert epochs.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(mean, [*expected, np.nan, np.nan])


def test_names_are_moved_apart_and_stay_in_order_and_inside():
    near = spread(np.array([1.0, 1.0, 1.0]), 2.0, -10, 10)
    np.testing.assert_allclose(near, [-1, 1, 3])  # about their mean, in steps of 2
    moved = spread(np.array([0.0, 9.0, 9.5, 9.9]), 2.0, 0, 10)
    assert (np.diff(moved) >= 2 - 1e-9).all()
    assert moved.min() >= 0
    assert moved.max() <= 10 + 1e-9


def test_costs_that_are_alike_share_a_column():
    assert columns([7.1e5, 8.1e6, 7.2e5]) == [[0, 2], [1]]


def test_numbers_have_signs_and_bounds_where_there_are_any():
    assert in_words((0.912, 0.881, 0.94), 100, 1) == "91.2 (88.1\N{EN DASH}94.0)"
    assert in_words((-0.0004, -0.03, 0.055), 100, 1, signed=True) == "0.0 (\N{MINUS SIGN}3.0 to +5.5)"
    assert in_words((0.5, NAN, 0.6)) == "0.50"
    assert in_words((NAN, NAN, NAN)) == "\N{EN DASH}"


@pytest.mark.parametrize(("number", "said"), [(0.2, "0.2"), (50.0, "50"), (2e4, "20 k"), (5.46e6, "5.46 M")])
def test_large_numbers_are_short(number, said):
    assert short(number) == said


def test_a_grid_becomes_a_picture_and_keeps_its_resolution():
    figure = prediction_grid(cells(), columns=3)
    before = figure.dpi
    picture = pixels(figure, 50)
    assert picture.shape == (*(int(50 * side) for side in figure.get_size_inches()[::-1]), 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert figure.dpi == before
