import json

import numpy as np
import pytest

from kdmri_monai.evaluation.history import read_history


def line(epoch, training=None, validation=None, **more):
    row = {"epoch": epoch, "training": training or {"loss": 1.0, "task": 0.5}, **more}
    return json.dumps(row | ({"validation": validation} if validation else {}))


@pytest.fixture
def write(tmp_path):
    def lines(*rows):
        (tmp_path / "metrics.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
        return tmp_path

    return lines


def test_numbers_become_columns_with_gaps_where_there_are_none(write):
    n = {"training": 1700, "validation": 300}
    folder = write(
        line(1, {"loss": 3, "task": 2.0, "kd": None}, n=n),
        line(2, {"loss": 2, "task": 1.5, "kd": 0.5}, {"loss": 1.1, "balanced_accuracy": 0.6}, n=n),
        line(3, {"loss": 1, "task": 1.0, "kd": 0.25}, n=n),
    )
    history = read_history(folder)
    assert history.epochs.tolist() == [1, 2, 3]
    assert history.n == n
    np.testing.assert_array_equal(history.column("training", "kd"), [np.nan, 0.5, 0.25])
    np.testing.assert_array_equal(history.column("validation", "task", "loss"), [np.nan, 1.1, np.nan])
    assert np.isnan(history.column("validation", "mcc")).all()


def test_terms_are_what_is_no_metric_with_the_total_first(write):
    folder = write(line(1, {"accuracy": 0.5, "task": 1, "kd": 2, "loss": 3, "balanced_accuracy": 0.4}))
    assert read_history(folder).terms() == ("loss", "task", "kd")


def test_the_best_epoch_is_the_first_of_the_highest(write):
    scores = (0.5, 0.8, None, 0.8, 0.7)
    rows = [line(at, None, {"balanced_accuracy": score}) for at, score in enumerate(scores, start=1)]
    assert read_history(write(*rows)).best() == 1
    assert read_history(write(line(1), line(2))).best() is None


def test_a_repeated_epoch_counts_as_last_written(write):
    history = read_history(write(line(1), line(2, {"task": 9.0}), line(2, {"task": 0.7}), line(3)))
    assert history.epochs.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(history.column("training", "task"), [0.5, 0.7, 0.5])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"epoch": 2, "trai', "line 2: is not JSON"),
        ("[2]", "line 2: has no whole number under 'epoch'"),
        ('{"epoch": 1.5}', "line 2: has no whole number under 'epoch'"),
        ('{"epoch": 2, "training": {"loss": "low"}}', "line 2: 'training' is not a mapping of names to numbers"),
        ('{"epoch": 2, "validation": [1]}', "line 2: 'validation' is not a mapping"),
    ],
)
def test_a_line_that_is_no_epoch_is_named(write, bad, message):
    with pytest.raises(ValueError, match=r"metrics\.jsonl: " + message):
        read_history(write(line(1), bad))


def test_a_run_without_epochs_is_refused(write):
    with pytest.raises(ValueError, match="no epoch was written"):
        read_history(write())
