import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kdmri_monai.evaluation.bounds import effective_number, score_bounds, spread_of, student_bounds
from kdmri_monai.evaluation.intervals import bootstrap, paired_bootstrap
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import NUDGE, Resampling, expanded_tail, probe_weights

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "interval_coverage.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("interval_coverage", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def score_bounds_by_search(share, effective, degrees, level):
    """Wilson 1927: the shares from which the estimate is t of *their* standard errors away, on a fine grid."""
    grid = np.linspace(0, 1, 200_001)
    limit = stats.t.ppf((1 + level) / 2, degrees)
    inside = np.abs(share - grid) <= limit * np.sqrt(grid * (1 - grid) / effective)
    return grid[inside].min(), grid[inside].max()


def all_right(families, slices=6):
    """Every slice of every family is right."""
    label_of = np.repeat(np.arange(3), families)
    family = np.repeat(np.arange(len(label_of)), slices)
    names = np.char.mod("%03d", family)
    return Predictions(
        np.arange(len(family)).astype(str), names, names, label_of[family], 0.1 + 0.7 * np.eye(3)[label_of[family]]
    )


def test_intervals_hold_the_truth_as_often_as_they_say_and_not_if_slices_counted_alone(benchmark):
    setting = next(s for s in benchmark.SETTINGS if s.families == (12, 15, 12) and s.correlation == 0.29 and s.uneven)
    honest = benchmark.coverage(setting, tables=150, replicates=150)
    # 94 %, and three Monte-Carlo errors of 1.9 points
    for name in ("balanced_accuracy", "difference of balanced_accuracy", "macro_f1"):
        assert 0.88 <= honest[name]["coverage"] <= 0.995, name
    naive = benchmark.coverage(setting, tables=30, replicates=100, clustered=False)
    for name in ("balanced_accuracy", "macro_f1"):
        assert naive[name]["coverage"] < 0.8, name
        assert naive[name]["width"] < 0.75 * honest[name]["width"], name


@pytest.mark.slow
def test_balanced_accuracy_is_covered_at_93_to_97_per_cent_in_every_setting(benchmark):
    for setting in benchmark.SETTINGS:
        found = benchmark.coverage(setting, tables=600, replicates=300, seed=10_000)
        for name in ("balanced_accuracy", "difference of balanced_accuracy"):
            allowed = 2.6 * found[name]["error"]
            assert 0.93 - allowed <= found[name]["coverage"] <= 0.97 + allowed, (setting.title, name)


def test_the_simulated_truth_is_what_many_families_show(benchmark):
    setting = benchmark.Setting((900, 700, 800), (0.8, 0.9, 0.95), 0.2, True)
    tables = benchmark.two_networks(setting, 1)
    truth = benchmark.truths(setting)
    old, new = (bootstrap(table, resampling=Resampling(2)) for table in tables)
    for name in benchmark.SHOWN:
        assert old[name].estimate == pytest.approx(truth[name], abs=0.025), name
    for name in benchmark.PAIRED:
        difference = new[name].estimate - old[name].estimate
        assert difference == pytest.approx(truth[f"difference of {name}"], abs=0.015), name


@pytest.mark.parametrize(
    ("share", "effective", "degrees"), [(0.9, 40.0, 11.0), (0.5, 7.5, 3.2), (1.0, 12, 11), (0, 5, 4)]
)
def test_score_bounds_are_the_values_from_which_the_estimate_is_t_errors_away(share, effective, degrees):
    found = score_bounds(share, effective, degrees, 0.9)
    assert found == pytest.approx(score_bounds_by_search(share, effective, degrees, 0.9), abs=1e-5)
    wide = score_bounds(2 * share - 1, effective, degrees, 0.9, limits=(-1, 1))
    assert wide == pytest.approx(tuple(2 * bound - 1 for bound in found))


def test_the_effective_number_of_independent_slices_is_their_number():
    assert effective_number(0.8, np.sqrt(0.8 * 0.2 / 50), (0, 1)) == pytest.approx(50)
    assert effective_number(0.6, 2 * np.sqrt(0.8 * 0.2 / 50), (-1, 1)) == pytest.approx(50)


def test_student_bounds_are_those_of_scipy():
    expected = stats.t.interval(0.9, 4.5, 0.3, 0.05)
    assert student_bounds(0.3, 0.05, 4.5, 0.9) == pytest.approx(expected)


def test_degrees_of_freedom_of_one_class_and_of_classes_together():
    one = np.zeros(12, dtype=np.int64)
    even = np.tile([1.0, -1.0], 6)
    assert spread_of(even, one).degrees == pytest.approx(11)
    assert spread_of(even, one).observed == pytest.approx(11)
    assert spread_of(even, one).correction == pytest.approx(np.sqrt(12 / 11))
    single = np.eye(12)[0]  # one family does it all: its square against 0, as uneven as can be
    squared = (single - 1 / 12) ** 2
    assert spread_of(single, one).degrees == pytest.approx(11)
    assert spread_of(single, one).observed == pytest.approx(2 * 12 * squared.mean() ** 2 / squared.var())
    assert spread_of(single, one).observed < 3
    # Satterthwaite: variances a and b of 5 and 7 degrees of freedom
    two = np.repeat([0, 1], (6, 8))
    influence = np.concatenate((np.tile([2.0, -2.0], 3), np.tile([1.0, -1.0], 4)))
    a, b = 6 * 4 * 6 / 5, 8 * 1 * 8 / 7
    assert spread_of(influence, two).degrees == pytest.approx((a + b) ** 2 / (a**2 / 5 + b**2 / 7))
    assert spread_of(np.ones(14), two).degrees == 12  # no family has an influence beyond its class
    assert spread_of(np.ones(2), np.arange(2)).degrees == 0


def test_where_all_is_right_every_family_counts_as_one_slice():
    found = bootstrap(all_right((12, 15, 9)), resampling=Resampling(50))
    for name, families, classes in (
        ("sensitivity/pituitary tumour", 9, 1), ("sensitivity/glioma", 15, 1), ("specificity/glioma", 21, 2),
        ("accuracy", 36, 3), ("balanced_accuracy", 36, 3), ("mcc", 36, 3),
    ):  # fmt: skip
        low = 1 / (1 + stats.t.ppf(0.975, families - classes) ** 2 / families)
        assert found[name].low == pytest.approx(2 * low - 1 if name == "mcc" else low), name
        assert (found[name].estimate, found[name].high) == (1, 1), name
    # not far from the exact binomial bound of as many families, all of them right
    assert found["sensitivity/pituitary tumour"].low == pytest.approx(0.025 ** (1 / 9), abs=0.05)


def test_a_class_of_one_family_has_no_bounds():
    found = bootstrap(all_right((12, 15, 1)), resampling=Resampling(50))
    assert np.isnan(found["sensitivity/pituitary tumour"].low)
    assert found["sensitivity/glioma"].low > 0.7
    assert found["balanced_accuracy"].low < 1
    difference = paired_bootstrap(all_right((12, 15, 1)), all_right((12, 15, 1)), Resampling(50))
    assert np.isnan(difference["sensitivity/pituitary tumour"].low)
    assert difference["sensitivity/glioma"].low == difference["sensitivity/glioma"].high == 0


def test_bounds_do_not_leave_the_range_of_a_metric(make_predictions):
    for seed in range(20):
        table = make_predictions(families=(4, 5, 4), found=(0.97, 0.9, 0.5), seed=seed)
        for name, interval in bootstrap(table, resampling=Resampling(100)).items():
            least = -1 if name == "mcc" else 0
            assert least <= interval.low <= interval.estimate <= interval.high <= 1, name


def test_tails_come_back_to_nominal_with_many_families():
    assert expanded_tail(0.95, 100_000, 3) == pytest.approx(0.025, rel=1e-3)
    assert expanded_tail(0.95, 12, 3) < 0.012
    assert np.isnan(expanded_tail(0.95, 3, 3))


def test_probes_are_the_table_itself_each_family_nudged_and_each_class_alone():
    stratum = np.array([2, 0, 2])
    nudged = np.ones((3, 3)) + NUDGE * np.eye(3)
    expected = np.concatenate((np.ones((1, 3)), nudged, [[0, 1, 0], [1, 0, 1]]))
    assert probe_weights(stratum) == pytest.approx(expected)


def test_a_single_replicate_has_no_bounds(predictions):
    interval = bootstrap(predictions, resampling=Resampling(1))["accuracy"]
    assert interval.estimate == pytest.approx((predictions.prediction == predictions.label).mean())
    assert np.isnan([interval.low, interval.high]).all()
