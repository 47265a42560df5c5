import json

import numpy as np
import pytest

from kdmri_monai.evaluation.generalisation import chosen_place, gap_at, generalisation, last_place
from kdmri_monai.evaluation.history import read_history
from kdmri_monai.evaluation.metrics_file import write_metrics


@pytest.fixture
def write(tmp_path):
    def run(name, training, accuracy, balanced=None, loss=None, n=300):
        """One line an epoch; an ellipsis is an epoch without validation."""
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for place, (learned, score) in enumerate(zip(training, accuracy, strict=True)):
            row = {"epoch": place + 1, "training": {"accuracy": learned, "loss": 1.0}, "n": {"validation": n}}
            if score is not ...:
                row["validation"] = {"accuracy": score, "balanced_accuracy": (balanced or accuracy)[place]}
                row["validation"] |= {} if loss is None else {"loss": loss[place]}
            lines.append(json.dumps(row) + "\n")
        (folder / "metrics.jsonl").write_text("".join(lines))
        return folder

    return run


def test_the_chosen_epoch_is_the_best_validated_one_and_not_the_one_of_the_best_accuracy(write):
    history = read_history(write("run", [0.5] * 4, [0.9, 0.7, 0.8, 0.6], balanced=[0.6, 0.8, 0.7, 0.5]))
    assert chosen_place(history) == 1


@pytest.mark.parametrize(
    ("loss", "place"), [([0.5, 0.4, 0.3], 2), ([0.5, 0.4, 0.4], 1), (None, 0), ([None, 0.4, 0.5], 1)]
)
def test_of_equal_epochs_the_one_with_the_lowest_loss_is_chosen_and_then_the_first(write, loss, place):
    assert chosen_place(read_history(write("run", [0.5] * 3, [0.8] * 3, loss=loss))) == place


def test_the_gap_is_training_minus_validation_accuracy(write):
    history = read_history(write("run", [0.5, 0.9, 0.95], [0.6, 0.8, 0.7]))
    gap = gap_at(history, 1)
    assert (gap.epoch, gap.training, gap.validation) == (2, 0.9, 0.8)
    assert gap.gap == pytest.approx(0.1)
    assert gap_at(history, 0).gap == pytest.approx(-0.1)
    assert gap_at(history, last_place(history)).gap == pytest.approx(0.25)


def test_the_last_epoch_is_the_last_that_was_validated(write):
    history = read_history(write("run", [0.5, 0.9, 0.95], [0.6, 0.7, ...]))
    assert last_place(history) == 1


def test_runs_of_an_arm_stand_alone_and_in_the_mean(write):
    runs = [write("one", [0.5, 0.9, 0.99], [0.6, 0.8, 0.7]), write("two", [0.6, 0.7, 0.9], [0.5, 0.6, 0.8])]
    found = generalisation(runs)
    assert [row["best_epoch"] for row in found["runs"]] == [2, 3]
    assert [row["epochs"] for row in found["runs"]] == [3, 3]
    assert [row["chosen"]["gap"] for row in found["runs"]] == pytest.approx([0.1, 0.1])
    assert [row["last"]["gap"] for row in found["runs"]] == pytest.approx([0.29, 0.1])
    assert found["mean"]["last"] == pytest.approx({"training": 0.945, "validation": 0.75, "gap": 0.195})
    assert found["runs"][0]["folder"] == str(runs[0])
    assert "epochs_to_baselines_best" not in found


def test_every_run_is_timed_against_every_baseline(write):
    flat = [0.5] * 4
    baselines = [write("b0", flat, [0.5, 0.7, 0.6, 0.6]), write("b1", flat, [0.5, 0.6, 0.7, 0.8])]
    runs = [write("r0", flat, [0.7, 0.7, 0.75, 0.9]), write("r1", flat, [0.5, 0.6, 0.75, 0.7])]
    found = generalisation(runs, baselines)["epochs_to_baselines_best"]
    assert found["epochs"] == [[1, 4], [3, None]]
    assert found["median"] == 3.5
    assert found["reached"] == 0.75
    assert found["baseline_best_epoch"] == [2, 4]


def test_never_is_later_than_any_epoch(write):
    flat, high = [0.5] * 2, [0.9, 0.95]
    baseline, fast = write("baseline", flat, [0.5, 0.9]), write("fast", flat, high)
    slow = [write(f"slow{number}", flat, [0.5, 0.6]) for number in range(2)]
    median = [
        generalisation(runs, [baseline])["epochs_to_baselines_best"]["median"] for runs in ([fast], [fast, *slow])
    ]
    assert median[0] == 1
    assert np.isnan(median[1])
    assert np.isnan(generalisation([fast, slow[0]], [baseline])["epochs_to_baselines_best"]["median"])


def test_training_without_accuracy_has_no_gap(write, tmp_path):
    folder = write("run", [None, None], [0.6, 0.7])
    found = generalisation([folder])
    assert np.isnan(found["runs"][0]["chosen"]["gap"])
    assert found["runs"][0]["chosen"]["validation"] == 0.7
    write_metrics(found, tmp_path / "generalisation.json")
    assert json.loads((tmp_path / "generalisation.json").read_text())["mean"]["last"]["gap"] is None


def test_runs_that_say_nothing_are_refused_by_name(write, tmp_path):
    with pytest.raises(ValueError, match="no runs"):
        generalisation([])
    with pytest.raises(ValueError, match=r"blind: no epoch has a validation balanced_accuracy"):
        generalisation([write("blind", [0.5, 0.6], [..., ...])])
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        generalisation([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"other was validated on 299 slices"):
        generalisation([write("other", [0.5], [0.9], n=299)], [write("baseline", [0.5], [0.6])])
