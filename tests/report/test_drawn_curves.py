import json
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from kdmri_monai.evaluation.history import read_history
from kdmri_monai.report.curves import draw_curves, learning_curves, loss_terms


def write_run(folder, epochs=20, distilled=False, best=13):
    """Losses that fall, and a validation balanced accuracy of 0.9 in one epoch and below elsewhere."""
    folder.mkdir(parents=True)
    rows = []
    for epoch in range(1, epochs + 1):
        task = 1 / epoch
        terms = {"kd": 0.5 / epoch, "hcl": 0.01 / epoch} if distilled else {}
        training = {"loss": task + sum(terms.values()), "task": task, **terms, "accuracy": 1 - 0.5 / epoch}
        score = 0.9 if epoch == best else 0.7
        validation = {"loss": 1.2 / epoch, "accuracy": 0.8, "balanced_accuracy": score, **terms}
        n = {"training": 1700, "validation": 300}
        rows.append({"epoch": epoch, "lr": 0.1, "training": training, "validation": validation, "n": n})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path):
    return {
        "baseline": write_run(tmp_path / "runs" / "baseline"),
        "distilled": write_run(tmp_path / "runs" / "distilled", distilled=True, best=17),
    }


@pytest.fixture
def histories(runs):
    return {name: read_history(folder) for name, folder in runs.items()}


def curve(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_figures_are_written_as_pictures_and_for_print(runs, tmp_path):
    paths = draw_curves(runs, tmp_path / "out", ("png", "pdf"))
    names = ["curves.png", "curves.pdf", "loss_terms.png", "loss_terms.pdf"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for path in paths[::2]:
        with Image.open(path) as picture:
            assert picture.width > 1000
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths[1::2])


def test_equal_runs_give_equal_bytes(runs, tmp_path):
    once, again = (draw_curves(runs, tmp_path / out, ("png", "pdf")) for out in ("one", "two"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_curves_show_the_numbers_of_the_run(histories):
    figure = learning_curves(histories)
    loss, share = figure.axes[1], figure.axes[3]
    epochs = np.arange(1, 21)
    np.testing.assert_allclose(loss.lines[0].get_xydata(), np.c_[epochs, 1 / epochs])
    np.testing.assert_allclose(loss.lines[1].get_xydata(), np.c_[epochs, 1.2 / epochs])
    np.testing.assert_allclose(curve(share, "training, n = 1,700").get_ydata(), 100 - 50 / epochs)
    np.testing.assert_allclose(curve(share, "validation, n = 300").get_ydata(), 80)
    assert curve(share, "validation, balanced").get_ydata()[16] == pytest.approx(90)


def test_runs_share_their_scales_and_axes_have_units(histories):
    axes = np.reshape(learning_curves(histories).axes, (2, 2))
    for row in axes:
        assert row[0].get_ylim() == row[1].get_ylim()
    assert axes[0, 0].get_ylim()[0] == 0
    assert [row[0].get_ylabel() for row in axes] == ["Cross-entropy (nats)", "Accuracy (% of slices)"]
    assert {axis.get_xlabel() for axis in axes[1]} == {"Epoch"}
    assert [axis.get_title("left").strip() for axis in axes[0]] == ["baseline", "distilled"]


def test_the_best_epoch_is_marked(histories):
    figure = learning_curves(histories)
    for axes, epoch in zip(figure.axes[:2], (13, 17), strict=True):
        assert axes.texts[0].get_text() == f"best epoch {epoch}: validation balanced accuracy 90.0 %"
    (mark,) = (line for line in figure.axes[3].lines if line.get_marker() == "o")
    assert mark.get_xydata().tolist() == [[17, 90]]


def test_no_text_runs_out_of_the_figure_or_into_a_neighbour(histories):
    figure = learning_curves(histories)
    figure.draw_without_rendering()
    left, right = (axes.texts[0].get_window_extent() for axes in figure.axes[:2])
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.x1
    for axes in figure.axes[2:]:
        box = axes.get_legend().get_window_extent()
        assert box.y0 >= 0
        assert box.y1 < axes.get_window_extent().y0


def test_every_term_has_a_row_and_absence_is_said(histories):
    figure = loss_terms(histories)
    rows = np.reshape(figure.axes, (4, 2))
    assert [row[0].get_ylabel() for row in rows] == ["total, weighted", "task", "kd", "hcl"]
    assert [text.get_text() for text in rows[2, 0].texts + rows[3, 0].texts] == ["not used", "not used"]
    np.testing.assert_allclose(rows[3, 1].lines[0].get_ydata(), 0.01 / np.arange(1, 21))
    assert [len(row[1].lines) for row in rows] == [1, 2, 2, 2]
    assert all(row[1].get_ylim()[0] == 0 for row in rows)


def test_a_negative_term_is_not_cut_off(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [{"epoch": epoch, "training": {"loss": -float(epoch), "task": 1.0}} for epoch in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure = loss_terms({"run": read_history(folder)})
    assert figure.axes[0].get_ylim()[0] < -2


def test_a_run_of_one_epoch_without_validation_can_be_drawn(tmp_path):
    folder = tmp_path / "short"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "training": {"loss": 1.0, "accuracy": 0.4}}\n')
    assert all(path.stat().st_size for path in draw_curves({"short": folder}, tmp_path))


def test_what_cannot_be_drawn_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="no runs"):
        draw_curves({}, tmp_path)
    with pytest.raises(ValueError, match="format 'gif' is not known"):
        draw_curves(runs, tmp_path / "out", ("gif",))
    assert not (tmp_path / "out").exists()


def test_drawing_leaves_the_settings_of_matplotlib_alone(runs, tmp_path):
    before = dict(mpl.rcParams)
    draw_curves(runs, tmp_path)
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_imported():
    code = "import sys, kdmri_monai.report.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
