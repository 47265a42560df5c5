import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from kdmri_monai.evaluation.comparison import compare_runs, run_names
from kdmri_monai.evaluation.errors import ComparisonError, PredictionError
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.predictions_file import write_predictions
from kdmri_monai.evaluation.resampling import Resampling

FEW = Resampling(100)


def degraded(predictions, share, seed):
    """The same slices, right with the given probability."""
    rng = np.random.default_rng(seed)
    wrong = (predictions.label + rng.integers(1, 3, len(predictions))) % 3
    decided = np.where(rng.random(len(predictions)) < share, predictions.label, wrong)
    probabilities = np.eye(3)[decided] * 0.7 + 0.1
    return Predictions(predictions.id, predictions.patient, predictions.family, predictions.label, probabilities)


@pytest.fixture
def runs(predictions, tmp_path):
    tables = {"teacher": 0.9, "baseline": 0.55, "distilled": 0.7}
    for seed, (name, share) in enumerate(tables.items()):
        write_predictions(degraded(predictions, share, seed), tmp_path / name / "test_predictions.csv")
    return [tmp_path / name for name in tables]


def test_every_run_has_its_metrics_at_both_levels(predictions, runs):
    comparison = compare_runs(runs, resampling=FEW)
    assert [row.name for row in comparison.rows] == ["teacher", "baseline", "distilled"]
    assert [row.folder for row in comparison.rows] == runs
    for seed, (row, share) in enumerate(zip(comparison.rows, (0.9, 0.55, 0.7), strict=True)):
        table = degraded(predictions, share, seed)
        for level, rows in ((row.slices, table), (row.patients, by_patient(table))):
            decided = rows.probabilities.argmax(axis=1)
            assert level.n == len(rows)
            assert level.accuracy.estimate == pytest.approx(np.mean(decided == rows.label))
            assert level.balanced_accuracy.estimate == pytest.approx(balanced_accuracy_score(rows.label, decided))
            assert level.macro_f1.estimate == pytest.approx(f1_score(rows.label, decided, average="macro"))


def test_differences_are_to_the_baseline_unless_told_otherwise(runs):
    teacher, baseline, distilled = compare_runs(runs, resampling=FEW).rows
    assert baseline.slices.difference is None
    assert baseline.patients.difference is None
    assert distilled.slices.difference.estimate == pytest.approx(
        distilled.slices.balanced_accuracy.estimate - baseline.slices.balanced_accuracy.estimate
    )
    assert 0 < distilled.slices.difference.low < teacher.slices.difference.high
    comparison = compare_runs(runs, reference="teacher", resampling=FEW)
    assert comparison.reference == "teacher"
    assert comparison.rows[2].slices.difference.high < 0
    assert compare_runs([runs[0], runs[2]], resampling=FEW).reference == "teacher"


def test_runs_over_other_slices_are_refused_by_name(predictions, runs, tmp_path):
    fewer = predictions.take(np.arange(2, len(predictions)))
    write_predictions(fewer, tmp_path / "old" / "test_predictions.csv")
    message = r"old against baseline: slices differ: 2 missing \(0, 1\)"
    with pytest.raises(ComparisonError, match=message) as error:
        compare_runs([*runs, tmp_path / "old"], resampling=FEW)
    assert "distilled" not in str(error.value)


def test_another_split_is_read_when_asked_for(predictions, runs):
    for run in runs:
        write_predictions(predictions, run / "validation_predictions.csv")
    comparison = compare_runs(runs, split="validation", resampling=FEW)
    assert comparison.split == "validation"
    assert comparison.rows[2].slices.difference.estimate == 0


def test_names_come_from_the_run_and_tell_runs_apart(tmp_path):
    folders = [tmp_path / seed / "baseline" for seed in ("seed0", "seed1")] + [tmp_path / "student"]
    for folder in folders:
        folder.mkdir(parents=True)
    assert run_names(folders[1:]) == ["baseline", "student"]
    assert run_names(folders) == ["seed0/baseline", "seed1/baseline", f"{tmp_path.name}/student"]
    (folders[2] / "run.json").write_text(json.dumps({"name": "distilled", "seed": 0}))
    assert run_names(folders[1:]) == ["baseline", "distilled"]


def test_the_baseline_is_found_among_runs_of_the_same_name(predictions, tmp_path):
    folders = [tmp_path / path for path in ("seed0/distilled", "seed0/baseline", "seed1/distilled")]
    for folder in folders:
        write_predictions(predictions, folder / "test_predictions.csv")
    assert compare_runs(folders, resampling=FEW).reference == "seed0/baseline"


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    with pytest.raises(ComparisonError, match="no runs"):
        compare_runs([])
    with pytest.raises(ComparisonError, match=r"baseline is given twice"):
        compare_runs([runs[1], runs[1]])
    with pytest.raises(ComparisonError, match="no run is named 'student'; the runs are teacher, baseline, distilled"):
        compare_runs(runs, reference="student")
    with pytest.raises(ComparisonError, match=r"has no test_predictions\.csv; evaluate the run first"):
        compare_runs([*runs, tmp_path])
    (runs[0] / "run.json").write_text("{")
    with pytest.raises(ComparisonError, match=r"teacher/run\.json: is not JSON"):
        compare_runs(runs)
    (runs[0] / "run.json").unlink()
    (runs[0] / "test_predictions.csv").write_text("id\n1\n")
    with pytest.raises(PredictionError, match=r"teacher/test_predictions\.csv: column patient: is missing"):
        compare_runs(runs)
