"""Measures of transfer against scikit-learn, SciPy and replicates written out."""

import json

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.intervals import seed_averaged
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling, expanded_tail, family_classes, family_weights
from kdmri_monai.evaluation.transfer import kl_to_teacher, transfer

SCORES = {
    "balanced_accuracy": balanced_accuracy_score,
    "accuracy": accuracy_score,
    "macro_f1": lambda label, prediction: f1_score(label, prediction, average="macro"),
}


def answering(table, prediction, seed=0):
    """Probabilities at random of which the largest is that of ``prediction``."""
    probabilities = np.random.default_rng(seed).dirichlet((2, 2, 2), len(table))
    rows, largest = np.arange(len(table)), probabilities.argmax(axis=1)
    swapped = probabilities.copy()
    swapped[rows, prediction], swapped[rows, largest] = probabilities[rows, largest], probabilities[rows, prediction]
    return Predictions(table.id, table.patient, table.family, table.label, swapped)


def right_at(table, share, seed):
    """A network that is right about so many slices, at random."""
    rng = np.random.default_rng(seed)
    wrong = (table.label + rng.integers(1, 3, len(table))) % 3
    return answering(table, np.where(rng.random(len(table)) < share, table.label, wrong), seed)


@pytest.fixture
def base(make_predictions):
    return make_predictions(families=(20, 20, 20))


@pytest.fixture
def arms(base):
    students = [right_at(base, share, seed) for seed, share in enumerate((0.85, 0.83, 0.87))]
    baselines = [right_at(base, share, seed + 10) for seed, share in enumerate((0.7, 0.72))]
    return students, baselines, right_at(base, 0.95, 20)


@pytest.mark.parametrize("metric", SCORES)
def test_retention_and_gap_closed_are_ratios_of_the_means_over_seeds(arms, metric):
    students, baselines, teacher = arms
    found = transfer(students, baselines, teacher, metric, Resampling(200))
    ours, plain, best = (
        np.mean([SCORES[metric](table.label, table.prediction) for table in tables])
        for tables in (students, baselines, [teacher])
    )
    expected = {"student": ours, "baseline": plain, "teacher": best, "gain": ours - plain, "gap": best - plain,
                "retention": ours / best, "gap_closed": (ours - plain) / (best - plain)}  # fmt: skip
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected)
    assert all(found[name]["low"] < found[name]["value"] < found[name]["high"] for name in expected)
    assert found["gap_closed_undefined"] is None
    assert (found["students"], found["baselines"], found["families"]) == (3, 2, 60)


def test_the_gain_is_that_of_the_seed_averaged_difference(arms):
    students, baselines, teacher = arms
    expected = seed_averaged(students, baselines, Resampling(300))["balanced_accuracy"]
    found = transfer(students, baselines, teacher, resampling=Resampling(300))["gain"]
    assert found == pytest.approx({"value": expected.estimate, "low": expected.low, "high": expected.high})


def test_bounds_of_the_ratios_come_from_joint_replicates(arms):
    students, baselines, teacher = arms
    resampling = Resampling(150, level=0.9, seed=5)
    families, stratum = np.unique(teacher.family), family_classes(teacher)
    kept, closed = [], []
    for weight in family_weights(stratum, resampling):
        rows = np.repeat(np.arange(len(teacher)), weight[np.searchsorted(families, teacher.family)])
        score = [
            np.mean([accuracy_score(table.label[rows], table.prediction[rows]) for table in tables])
            for tables in (students, baselines, [teacher])
        ]
        kept.append(score[0] / score[2])
        closed.append((score[0] - score[1]) / (score[2] - score[1]))
    tail = expanded_tail(0.9, len(stratum), 3)
    found = transfer(students, baselines, teacher, "accuracy", resampling)
    assert [found["retention"][key] for key in ("low", "high")] == pytest.approx(np.quantile(kept, [tail, 1 - tail]))
    outward = [np.quantile(closed, tail, method="lower"), np.quantile(closed, 1 - tail, method="higher")]
    assert [found["gap_closed"][key] for key in ("low", "high")] == pytest.approx(outward)


def test_a_gap_that_is_not_surely_there_cannot_be_closed(base):
    found = transfer([right_at(base, 0.8, 0)], [right_at(base, 0.8, 1)], right_at(base, 0.8, 2))
    assert np.isnan(list(found["gap_closed"].values())).all()
    assert found["gap"]["low"] < 0 < found["gap"]["high"]
    assert found["gap_closed_undefined"].startswith("the teacher is not surely ahead of the baseline: T - S is ")
    worse = transfer([right_at(base, 0.8, 0)], [right_at(base, 0.9, 1)], right_at(base, 0.6, 2))
    assert worse["gap"]["high"] < 0
    assert np.isnan(worse["gap_closed"]["value"])
    assert worse["gap_closed_undefined"] is not None


def test_a_student_that_is_its_teacher_has_taken_over_everything(base):
    teacher, baseline = right_at(base, 0.9, 0), right_at(base, 0.7, 1)
    found = transfer([teacher], [baseline], teacher, resampling=Resampling(200))
    for name in ("retention", "gap_closed"):
        assert found[name] == pytest.approx({"value": 1, "low": 1, "high": 1})
    for name, value in (("agreement", 1), ("copied_errors", 1), ("kl", 0)):
        assert found[name]["student"] == pytest.approx({"value": value, "low": value, "high": value})
    assert found["churn"]["value"] == pytest.approx((teacher.prediction != baseline.prediction).mean())


def test_a_student_that_is_the_baseline_has_closed_nothing(base):
    baseline = right_at(base, 0.7, 1)
    found = transfer([baseline], [baseline], right_at(base, 0.95, 0), resampling=Resampling(200))
    assert found["gap_closed"] == {"value": 0, "low": 0, "high": 0}
    assert found["churn"] == {"value": 0, "low": 0, "high": 0}
    assert all(found[name]["difference"] == {"value": 0, "low": 0, "high": 0} for name in ("agreement", "kl"))


def test_agreement_and_copied_errors_are_shares_of_slices(arms):
    students, baselines, teacher = arms
    found = transfer(students, baselines, teacher, resampling=Resampling(200))
    wrong = teacher.prediction != teacher.label
    assert found["teacher_errors"] == wrong.sum()
    for name, tables in (("student", students), ("baseline", baselines)):
        alike = np.array([table.prediction == teacher.prediction for table in tables])
        assert found["agreement"][name]["value"] == pytest.approx(alike.mean())
        assert found["copied_errors"][name]["value"] == pytest.approx(alike[:, wrong].mean())
    for measure in ("agreement", "copied_errors", "kl"):
        values = {name: number["value"] for name, number in found[measure].items()}
        assert values["difference"] == pytest.approx(values["student"] - values["baseline"])


def test_another_mistake_than_the_teachers_is_not_a_copied_one(base):
    teacher = answering(base, (base.label + 1) % 3)
    other, same = answering(base, (base.label + 2) % 3, 1), answering(base, (base.label + 1) % 3, 2)
    found = transfer([same], [other], teacher, resampling=Resampling(20))
    assert found["copied_errors"]["student"]["value"] == 1
    assert found["copied_errors"]["baseline"]["value"] == 0


def test_a_teacher_without_errors_gives_nothing_to_copy(base):
    found = transfer([right_at(base, 0.8, 0)], [right_at(base, 0.7, 1)], right_at(base, 1.1, 2))
    assert found["teacher_errors"] == 0
    assert np.isnan([found["copied_errors"][name]["value"] for name in ("student", "baseline", "difference")]).all()
    assert found["agreement"]["student"]["value"] == pytest.approx(found["student"]["value"], abs=0.05)


def test_divergence_is_from_the_teacher_to_the_student_in_nats(arms):
    students, baselines, teacher = arms
    found = transfer(students, baselines, teacher, resampling=Resampling(200))
    expected = np.mean([entropy(teacher.probabilities, table.probabilities, axis=1) for table in students])
    back = np.mean([entropy(table.probabilities, teacher.probabilities, axis=1) for table in students])
    assert found["kl"]["student"]["value"] == pytest.approx(expected)
    assert found["kl"]["student"]["value"] != pytest.approx(back, rel=1e-3)
    assert found["kl"]["student"]["low"] < expected < found["kl"]["student"]["high"]


def test_divergence_of_probabilities_of_zero_is_finite(base):
    sure = np.eye(3)[base.label]
    hard = Predictions(base.id, base.patient, base.family, base.label, sure)
    np.testing.assert_array_equal(kl_to_teacher(hard, hard), 0)
    other = Predictions(base.id, base.patient, base.family, base.label, np.roll(sure, 1, axis=1))
    np.testing.assert_allclose(kl_to_teacher(hard, other), -np.log(np.finfo(float).eps))


def test_churn_stands_beside_that_of_another_seed(arms):
    students, baselines, teacher = arms
    found = transfer(students, baselines, teacher, resampling=Resampling(200))
    pairs = [one.prediction != other.prediction for one in students for other in baselines]
    assert found["churn"]["value"] == pytest.approx(np.mean(pairs))
    assert found["churn_between_baselines"]["value"] == pytest.approx(
        (baselines[0].prediction != baselines[1].prediction).mean()
    )
    alone = transfer(students, baselines[:1], teacher, resampling=Resampling(20))
    assert np.isnan(list(alone["churn_between_baselines"].values())).all()


def test_tables_are_matched_by_id(arms):
    students, baselines, teacher = arms
    shuffled = [table.take(np.random.default_rng(0).permutation(len(table))) for table in students]
    once, again = (transfer(tables, baselines, teacher, resampling=Resampling(50)) for tables in (students, shuffled))
    for name in ("gain", "churn"):
        assert once[name] == pytest.approx(again[name])
    assert once["kl"]["student"] == pytest.approx(again["kl"]["student"])


def test_the_result_can_be_written_as_json(arms, tmp_path):
    found = transfer(arms[0], arms[1][:1], arms[2], resampling=Resampling(20))
    write_metrics(found, tmp_path / "transfer.json")
    read = json.loads((tmp_path / "transfer.json").read_text())
    assert read["churn_between_baselines"] == {"value": None, "low": None, "high": None}
    assert read["gap_closed"]["value"] == found["gap_closed"]["value"]


def test_tables_that_cannot_be_compared_are_refused(arms):
    students, baselines, teacher = arms
    with pytest.raises(ComparisonError, match="0 students and 2 baselines"):
        transfer([], baselines, teacher)
    with pytest.raises(ComparisonError, match="3 students and 0 baselines"):
        transfer(students, [], teacher)
    with pytest.raises(ComparisonError, match="slices differ: 1 missing"):
        transfer(students, [baselines[0].take(np.arange(1, len(teacher)))], teacher)
    with pytest.raises(ValueError, match="metric is 'mcc', allowed are balanced_accuracy, accuracy, macro_f1"):
        transfer(students, baselines, teacher, "mcc")
