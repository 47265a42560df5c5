"""Limits found with every family counted alike."""

import numpy as np
import pytest

from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.sharing.trust_limits import (
    Usual,
    confidence_limit,
    family_weights,
    usual_ranges,
    weighted_quantile,
)


def test_a_family_of_many_slices_counts_as_much_as_one_of_few():
    weights = family_weights(["a", "a", "a", "b"])
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.51, 4.0), (0.95, 4.0), (1.0, 4.0)])
def test_a_quantile_is_of_families_and_not_of_slices(share, expected):
    weights = family_weights(["a", "a", "a", "b"])
    assert weighted_quantile(np.array([3.0, 1.0, 2.0, 4.0]), weights, share) == expected


def test_equal_weights_give_numpys_quantile():
    values = np.random.default_rng(0).normal(size=101)
    for share in (0.1, 0.5, 0.95):
        expected = np.quantile(values, share, method="inverted_cdf")
        assert weighted_quantile(values, np.full(101, 1 / 101), share) == pytest.approx(expected)


def test_about_one_slice_in_twenty_of_new_families_lies_beyond_the_limit_of_95_percent():
    random, beyond = np.random.default_rng(1), []
    for _ in range(300):
        family = np.repeat(np.arange(40), random.integers(1, 25, 40))
        values = random.normal(size=40)[family] + random.normal(size=len(family))
        limit = weighted_quantile(values, family_weights(family.astype(str)), 0.95)
        beyond.append((random.normal(size=500) + random.normal(size=500) > limit).mean())
    assert np.mean(beyond) == pytest.approx(0.055, abs=0.012)


def test_ranges_are_widened_until_the_share_of_validation_slices_lies_in_all_of_them():
    random = np.random.default_rng(2)
    training = {name: random.normal(size=2000) for name in "abc"}
    validation = {name: random.normal(0, 1.5, 500) for name in "abc"}
    even = np.full(2000, 1 / 2000), np.full(500, 1 / 500)
    ranges = usual_ranges(training, even[0], validation, even[1], dict.fromkeys("abc", 0.1))
    inside = np.all([(validation[n] >= ranges[n].least) & (validation[n] <= ranges[n].most) for n in "abc"], axis=0)
    assert inside.mean() == pytest.approx(0.98, abs=0.003)
    for name in "abc":
        usual = ranges[name]
        assert (usual.low, usual.high) == pytest.approx(np.quantile(training[name], [0.005, 0.995]), abs=0.1)
        assert usual.low - usual.least == pytest.approx(usual.most - usual.high)


def test_a_range_that_is_a_point_has_room_as_wide_as_what_says_nothing():
    even = np.full(10, 0.1)
    validation = {"a": np.linspace(0, 0.2, 10)}
    usual = usual_ranges({"a": np.zeros(10)}, even, validation, even, {"a": 0.1}, share=1.0)["a"]
    assert usual.most == pytest.approx(0.2)
    assert usual.excess(0.2) <= 0 < usual.excess(0.21)


def test_how_odd_a_value_is_grows_on_both_sides():
    usual = Usual(0.0, 1.0, -0.5, 1.5)
    assert [usual.excess(value) for value in (-2.5, -0.5, 0.5, 1.5, 3.5)] == [1.0, 0.0, -0.5, 0.0, 1.0]


def table(confidence, right, families=20):
    """Two classes; the decided one has this probability."""
    count = len(confidence)
    label = np.where(right, 0, 1)
    family = np.array([f"{number % families}/{label[number]}" for number in range(count)])
    probabilities = np.stack([confidence, 1 - np.asarray(confidence)], axis=1)
    return Predictions(np.arange(count).astype(str), family, family, label, probabilities, ("a", "b"))


def test_the_limit_decides_as_many_slices_as_the_risk_allows():
    confidence = np.linspace(0.99, 0.51, 200)
    right = np.ones(200, bool)
    right[100:] = np.arange(100) % 2 == 0  # the surest hundred are right, then every second
    found = confidence_limit(table(confidence, right), 0.1)
    decided = confidence >= found.least
    assert (~right[decided]).mean() <= 0.1
    assert (~right[confidence >= found.least - 0.03]).mean() > 0.1
    assert found.risk == pytest.approx((~right[decided]).mean(), abs=0.01)
    assert found.coverage == pytest.approx(decided.mean(), abs=0.01)
    assert found.risk_low <= found.risk <= found.risk_high


def test_a_network_that_is_wrong_where_it_is_surest_has_no_limit():
    assert confidence_limit(table(np.linspace(0.99, 0.51, 100), np.arange(100) % 2 == 0), 0.05) is None


def test_a_network_that_is_always_right_decides_everything():
    found = confidence_limit(table(np.linspace(0.99, 0.51, 100), np.ones(100, bool)), 0.05)
    assert found.coverage == 1.0
    assert found.least == pytest.approx(0.51)
