import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from kdmri_monai.evaluation.comparison import compare_runs, run_names
from kdmri_monai.evaluation.errors import ComparisonError, PredictionError
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.predictions_file import write_predictions
from kdmri_monai.evaluation.resampling import Resampling

FEW = Resampling(100)


def holm_reference(p):
    """Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979: the i-th smallest of m
    p-values is multiplied by m - i + 1, is no smaller than those before it, and no larger than 1."""
    adjusted, highest = np.empty(len(p)), 0.0
    for rank, at in enumerate(np.argsort(p)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[at]))
        adjusted[at] = highest
    return adjusted


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


@pytest.fixture
def study(predictions, tmp_path):
    """Two seeds and two folds of two arms, and the shares of right slices of each seed."""
    part = np.unique(predictions.family, return_inverse=True)[1] % 2
    shares = {"baseline": (0.5, 0.6), "kd": (0.8, 0.9)}
    for arm, of_seed in shares.items():
        for seed, share in enumerate(of_seed):
            table = degraded(predictions, share, seed)
            for fold in range(2):
                folder = tmp_path / f"{arm}_{seed}_{fold}"
                write_predictions(table.take(part == fold), folder / "test_predictions.csv")
                record = {"name": arm, "settings": {"seed": seed}, "data": {"fold": fold}}
                (folder / "run.json").write_text(json.dumps(record))
    return {
        name: [degraded(predictions, share, seed) for seed, share in enumerate(own)] for name, own in shares.items()
    }


def mean_balanced_accuracy(tables):
    return np.mean([balanced_accuracy_score(table.label, table.prediction) for table in tables])


def test_an_arm_is_the_mean_of_its_seeds_over_the_slices_of_all_folds(study, tmp_path):
    comparison = compare_runs(sorted(tmp_path.iterdir()), resampling=FEW, by="arm")
    assert [(row.name, row.seeds, row.folds) for row in comparison.rows] == [
        ("baseline", (0, 1), (0, 1)),
        ("kd", (0, 1), (0, 1)),
    ]
    assert (comparison.by, comparison.reference) == ("arm", "baseline")
    for row in comparison.rows:
        for level, tables in ((row.slices, study[row.name]), (row.patients, [*map(by_patient, study[row.name])])):
            assert level.n == len(tables[0])
            assert level.families == 39
            assert level.balanced_accuracy.estimate == pytest.approx(mean_balanced_accuracy(tables))
            of_seeds = [seed["balanced_accuracy"] for seed in level.by_seed]
            assert of_seeds == pytest.approx([mean_balanced_accuracy([table]) for table in tables])
    gain = mean_balanced_accuracy(study["kd"]) - mean_balanced_accuracy(study["baseline"])
    difference = comparison.rows[1].slices.difference
    assert difference.estimate == pytest.approx(gain)
    assert 0 < difference.low < gain < difference.high
    assert comparison.rows[1].folder == tmp_path / "kd_0_0"


def test_arms_are_rows_where_one_has_several_runs_unless_told_otherwise(study, tmp_path):
    seeds = [tmp_path / f"{arm}_{seed}_0" for arm in study for seed in range(2)]
    assert [row.name for row in compare_runs(seeds, resampling=FEW, by="auto").rows] == ["baseline", "kd"]
    assert len(compare_runs(seeds, resampling=FEW).rows) == 4
    single = compare_runs(seeds[1:3], resampling=FEW, by="auto")
    assert (single.by, [row.name for row in single.rows]) == ("run", ["baseline", "kd"])
    with pytest.raises(ValueError, match="by is 'seed', allowed are run, arm, auto"):
        compare_runs(seeds, by="seed")


def test_arms_that_are_not_complete_and_runs_of_several_folds_are_refused(study, tmp_path):
    folders = sorted(tmp_path.iterdir())
    with pytest.raises(ComparisonError, match="kd lacks a run of seed 1, fold 1"):
        compare_runs(folders[:-1], by="arm")
    with pytest.raises(ComparisonError, match=r"baseline_0_1 against .*baseline_0_0: patients differ: [0-9]+ missing"):
        compare_runs(folders[:2])


def test_a_difference_has_a_p_value_adjusted_for_the_number_of_rows(predictions, runs, tmp_path):
    write_predictions(degraded(predictions, 0.55, 1), tmp_path / "twin" / "test_predictions.csv")
    comparison = compare_runs([*runs, tmp_path / "twin"], resampling=Resampling(500))
    teacher, baseline, distilled, twin = comparison.rows
    for level in ("slices", "patients"):
        assert np.isnan(getattr(baseline, level).p)
        assert np.isnan(getattr(baseline, level).p_holm)
        levels = [getattr(row, level) for row in (teacher, distilled, twin)]
        assert [one.p_holm for one in levels] == pytest.approx(holm_reference(np.array([one.p for one in levels])))
        assert levels[0].p_holm < 0.05
        assert levels[2].p == 1


def test_patients_and_labels_that_differ_are_named(predictions, runs, tmp_path):
    last = sorted(set(predictions.patient))[-7:]
    fewer = predictions.take(~np.isin(predictions.patient, last))
    write_predictions(fewer, tmp_path / "old" / "test_predictions.csv")
    told = rf"old against baseline: patients differ: 7 missing \({', '.join(last[:5])} and 2 others\)"
    with pytest.raises(ComparisonError, match=told):
        compare_runs([*runs, tmp_path / "old"])
    other = replace(predictions, label=np.where(predictions.id == "3", (predictions.label + 1) % 3, predictions.label))
    write_predictions(other, tmp_path / "relabelled" / "test_predictions.csv")
    with pytest.raises(ComparisonError, match="relabelled against baseline: label differs for 3"):
        compare_runs([*runs, tmp_path / "relabelled"])


def test_a_run_that_learned_from_tested_patients_is_leaky(predictions, runs):
    families = sorted(set(predictions.family))
    record = {
        "data": {"training_families": families[:3]},
        "settings": {"network_uses": "image; from the tumour mask: rings"},
    }
    (runs[2] / "run.json").write_text(json.dumps(record))
    teacher, _, distilled = compare_runs(runs, resampling=FEW).rows
    assert (teacher.leaky, teacher.given) == ("", "")
    assert distilled.leaky == "3 of 39 patient families were trained on"
    assert distilled.given == "the tumour mask: rings"
    for run in runs:
        write_predictions(predictions, run / "training_predictions.csv")
    assert compare_runs(runs, split="training", resampling=FEW).rows[2].leaky == ""
