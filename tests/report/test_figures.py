"""Figures: what is drawn is what was given, n and units are said, and colour never tells alone."""

import json

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from kdmri_monai.evaluation.history import read_history
from kdmri_monai.report.axes import COLOURS, save, style
from kdmri_monai.report.figures_calibration import Reliability, RiskCoverage, reliability_figure, risk_coverage_figure
from kdmri_monai.report.figures_confusion import confusion_figure
from kdmri_monai.report.figures_curves import arm_columns, arm_curves
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.report.figures_grid import GridCell, mistakes_first, prediction_grid
from kdmri_monai.report.figures_ranking import RocCurve, roc_figure
from kdmri_monai.report.figures_robustness import CorruptionPanel, Severities, robustness_figure
from kdmri_monai.report.figures_terms import terms_figure
from kdmri_monai.report.figures_transfer import CostPoint, transfer_figure

NAN = float("nan")
CLASSES = ("meningioma", "glioma", "pituitary tumour")


def words(figure):
    """Every text of a figure in one."""
    figure.draw_without_rendering()
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [
        part for axes in figure.axes for part in (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
    ]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " | ".join(filter(None, [*found, figure.get_supxlabel(), figure.get_supylabel(), figure.get_suptitle()]))


def drawn(figure, panel=0):
    """Lines of a panel that have more than one point."""
    return [line.get_xydata() for line in figure.axes[panel].lines if len(line.get_xydata()) > 1]


def holds(lines, points):
    return any(line.shape == np.shape(points) and np.allclose(line, points, equal_nan=True) for line in lines)


def history(folder, values, **parts):
    rows = [
        {"epoch": epoch, "training": {"loss": 2 / epoch, "task": 1 / epoch, "accuracy": value}, "lr": 1.0,
         "validation": {"loss": 3 / epoch, "accuracy": value - 0.1, "balanced_accuracy": value},
         "n": {"training": 1687, "validation": 305}, **parts}
        for epoch, value in enumerate(values, start=1)
    ]  # fmt: skip
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_history(folder)


def test_thirty_five_series_look_different():
    looks = {(style(place).colour, style(place).dash) for place in range(35)}
    assert len(looks) == 35
    assert len(set(COLOURS)) == len(COLOURS)


def test_curves_are_those_of_the_run_with_the_best_epoch_marked(tmp_path):
    runs = {"baseline": [history(tmp_path / "b", [0.5, 0.9, 0.7])], "kd": [history(tmp_path / "k", [0.4, 0.5, 0.6])]}
    figures = arm_curves(runs)
    assert list(figures) == ["baseline", "kd"]
    assert holds(drawn(figures["baseline"], 0), [[1, 1], [2, 1 / 2], [3, 1 / 3]])  # cross-entropy alone, not the total
    assert holds(drawn(figures["baseline"], 1), [[1, 50], [2, 90], [3, 70]])
    assert holds(drawn(figures["baseline"], 1), [[1, 40], [2, 80], [3, 60]])
    assert "best: epoch 2" in words(figures["baseline"])
    assert "best: epoch 3" in words(figures["kd"])
    assert "training, n = 1,687 slices" in words(figures["kd"])
    limits = {figure.axes[panel].get_ylim() for figure in figures.values() for panel in (1,)}
    assert len(limits) == 1


def test_the_sizes_of_many_folds_are_told_as_a_range_that_fits_on_the_figure(tmp_path):
    sizes = [{"training": 1600 + 20 * fold, "validation": 300} for fold in range(5)]
    runs = [history(tmp_path / str(fold), [0.5, 0.6], n=size) for fold, size in enumerate(sizes)]
    figure = arm_curves({"kd": runs})["kd"]
    assert "training, n = 1,600 to 1,680 slices | validation, n = 300 slices" in words(figure)
    for text in figure.legends[0].get_texts():
        assert text.get_window_extent().x1 <= figure.bbox.x1


def test_several_seeds_are_thin_lines_and_a_mean(tmp_path):
    runs = {"kd": [history(tmp_path / "a", [0.4, 0.6]), history(tmp_path / "b", [0.6, 0.8])]}
    lines = drawn(arm_columns(runs), 1)
    for expected in ([[1, 40], [2, 60]], [[1, 60], [2, 80]], [[1, 50], [2, 70]]):
        assert holds(lines, expected)


@pytest.mark.parametrize(("runs", "told"), [({}, "no arms"), ({"kd": []}, "'kd' has no runs")])
def test_curves_of_nothing_are_refused(runs, told):
    with pytest.raises(ValueError, match=told):
        arm_curves(runs)


def test_a_confusion_matrix_has_counts_shares_and_n():
    text = words(confusion_figure(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), CLASSES, "patients"))
    for said in ("80.0 %", "20.0 %", "n = 10", "By patient, n = 20", "True class", "Predicted class", "no such"):
        assert said in text


@pytest.mark.parametrize(
    ("counts", "told"), [(np.zeros((2, 2), int), r"\(2, 2\)"), (-np.eye(3, dtype=int), "negative")]
)
def test_a_matrix_that_is_none_is_refused(counts, told):
    with pytest.raises(ValueError, match=told):
        confusion_figure(counts, CLASSES)


def test_a_forest_draws_interval_chance_and_reference():
    rows = [
        ForestRow("intact", (0.8, 0.7, 0.9), "Group"),
        ForestRow("erased", (0.6, 0.5, 0.7), "Group", (1 / 3, 0.2, 0.45), warns=True),
        ForestRow("undefined", (NAN, NAN, NAN)),
    ]
    figure = forest_figure(rows, ForestScale("Balanced accuracy (%)", reference=0.5, warning="a shortcut"))
    text = words(figure)
    for said in (
        "80.0 (70.0\N{EN DASH}90.0)",
        "60.0 (50.0\N{EN DASH}70.0)",
        "Group",
        "Balanced accuracy (%)",
        "a shortcut",
    ):
        assert said in text
    segments = [segment for lines in figure.axes[0].collections for segment in lines.get_segments()]
    spans = [segment[:, 0].tolist() for segment in segments if segment.ndim == 2 and np.ptp(segment[:, 1]) == 0]
    assert np.allclose(spans[:2], [[70, 90], [50, 70]])
    [chance] = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert np.allclose([chance.get_x(), chance.get_width()], [20, 25])
    assert any(np.allclose(line.get_xdata(), 50) for line in figure.axes[0].lines)


def test_differences_have_signs():
    row = ForestRow("kd", (-0.015, -0.045, 0.01))
    text = words(forest_figure([row], ForestScale("Points", signed=True, reference=0.0)))
    assert "\N{MINUS SIGN}1.5 (\N{MINUS SIGN}4.5 to +1.0)" in text


def test_roc_curves_hold_their_points_area_and_n():
    grid = np.linspace(0, 1, 5)
    curve = RocCurve("glioma", grid, grid**0.5, grid, np.minimum(1, grid**0.3), (0.8, 0.7, 0.9), 239)
    figure = roc_figure([curve])
    assert holds(drawn(figure), np.stack([100 * grid, 100 * grid**0.5], axis=1))
    assert "glioma, n = 239: AUC 0.80 (0.70\N{EN DASH}0.90)" in words(figure)


def test_reliability_shows_bins_counts_and_error():
    confidence = np.array([NAN, 0.5, 0.9])
    diagram = Reliability(
        "as trained", confidence, np.array([NAN, 0.4, 0.8]), confidence - 0.2, confidence + 0.1, np.array([0, 10, 30]),
        (0.072, NAN, NAN),
    )  # fmt: skip
    figure = reliability_figure([diagram])
    text = words(figure)
    assert "as trained: ECE 0.072" in text
    assert "n = 40 slices" in text
    points = [line.get_xydata() for line in figure.axes[0].lines]
    assert any({(50.0, 40.0), (90.0, 80.0)} <= {tuple(np.round(point, 6)) for point in line} for line in points)


def test_risk_over_coverage_ends_at_the_error():
    coverage = np.linspace(0.02, 1, 50)
    figure = risk_coverage_figure([RiskCoverage("kd", coverage, 0.2 * coverage, (0.1, 0.05, 0.2))], n=499)
    assert any(np.allclose(line[-1], [100, 20]) for line in drawn(figure))
    assert "kd: area 0.10" in words(figure).replace("0.100", "0.10")
    assert "n = 499" in words(figure)


def panel(title, runs=("teacher", "student")):
    scores = Severities(np.linspace(0.9, 0.4, 6), np.linspace(0.8, 0.3, 6), np.linspace(0.95, 0.5, 6))
    return CorruptionPanel(title, "", dict.fromkeys(runs, scores))


def test_robustness_has_a_panel_for_every_corruption():
    figure = robustness_figure([panel("Blur"), panel("Motion"), panel("Noise")], chance=1 / 3)
    assert holds(drawn(figure, 1), np.stack([np.arange(6), np.linspace(90, 40, 6)], axis=1))
    text = words(figure)
    for said in ("Blur", "Motion", "Noise", "teacher", "student", "chance, 33.3 %", "Severity (0: intact)"):
        assert said in text


@pytest.mark.parametrize("panels", [[], [panel("Blur"), panel("Motion", ("other",))]])
def test_panels_that_do_not_match_are_refused(panels):
    with pytest.raises(ValueError, match=r"corruptions|runs"):
        robustness_figure(panels)


def test_terms_are_drawn_as_measured_weighted_and_by_gradient(tmp_path):
    run = history(
        tmp_path / "r", [0.5, 0.6], weighted={"task": 0.3, "kd": 0.2}, gradient_norms={"task": 5.0, "kd": 7.0}
    )
    figure = terms_figure(run)
    assert holds(drawn(figure, 0), [[1, 1], [2, 0.5]])
    assert holds(drawn(figure, 1), [[1, 0.3], [2, 0.3]])
    assert holds(drawn(figure, 2), [[1, 5], [2, 5]])
    assert "n = 1,687 training slices" in words(figure)


def test_a_run_without_terms_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "training": {"accuracy": 0.5, "loss": 1.0}}\n')
    with pytest.raises(ValueError, match="no loss term"):
        terms_figure(read_history(tmp_path))


def test_costs_stand_on_a_logarithmic_axis_with_names():
    points = [CostPoint("teacher", (0.9, 0.8, 0.95), 5.5e6), CostPoint("student", (0.85, 0.7, 0.9), 7e5)]
    figure = transfer_figure(points, "Balanced accuracy (%), n = 499 slices", "Parameters")
    assert figure.axes[0].get_xscale() == "log"
    assert "teacher" in words(figure)
    assert "n = 499 slices" in words(figure)
    with pytest.raises(ValueError, match="'free' is 0"):
        transfer_figure([CostPoint("free", (0.9, 0.8, 0.95), 0)], "a", "b")


def cell(true, predicted, probability, **given):
    return GridCell(np.zeros((16, 16)), true, predicted, probability, **given)


def test_the_grid_says_what_was_predicted_and_what_is_true_mistakes_first():
    cells = [cell("glioma", "glioma", 0.6), cell("glioma", "meningioma", 0.7), cell("pituitary tumour", "glioma", 0.9)]
    assert [one.probability for one in mistakes_first(cells)] == [0.9, 0.7, 0.6]
    text = words(prediction_grid(cells, total=499))
    for said in (
        "Pred: glioma .90",
        "True: pituitary",
        "3 of 499 slices, 2 of these wrong",
        "\N{CHECK MARK}",
        "\N{BALLOT X}",
    ):
        assert said in text


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the mask has shape"):
        prediction_grid([cell("glioma", "glioma", 1.0, mask=np.zeros((4, 4), bool))])


def test_equal_figures_give_equal_files(tmp_path):
    def made(name):
        figure = confusion_figure(np.eye(3, dtype=int), CLASSES)
        return [path.read_bytes() for path in save(figure, tmp_path / name, ("png", "pdf"))]

    assert made("a") == made("b")
