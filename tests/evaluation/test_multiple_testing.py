import itertools

import numpy as np
import pytest

from kdmri_monai.evaluation.multiple_testing import holm


def rejected_step_by_step(p_values, alpha):
    """Holm 1979 as written: go up from the smallest p-value and stop at the first that is too large for its step."""
    left = dict(enumerate(p_values))
    rejected = set()
    while left:
        smallest = min(left, key=left.get)
        if left[smallest] > alpha / len(left):
            break
        rejected.add(smallest)
        del left[smallest]
    return rejected


def adjusted_by_closed_testing(p_values):
    """The closed test of all intersections by Bonferroni: the largest ``size x smallest p`` of its sets."""
    tests = range(len(p_values))
    sets = [some for size in range(1, len(p_values) + 1) for some in itertools.combinations(tests, size)]
    return [
        max(min(1.0, len(some) * min(p_values[i] for i in some)) for some in sets if test in some) for test in tests
    ]


def test_it_is_the_closed_test_by_bonferroni():
    rng = np.random.default_rng(0)
    for count in range(1, 7):
        values = rng.random(count) ** 2
        assert holm(values) == pytest.approx(adjusted_by_closed_testing(values))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_it_rejects_what_the_step_down_procedure_rejects(alpha):
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = rng.random(5) ** 4
        assert set(np.flatnonzero(holm(values) <= alpha)) == rejected_step_by_step(values, alpha)


def test_known_values():
    # 4 x .01; 3 x .013 = .039 is raised to the one before; 2 x .03; the last one keeps to the order
    assert holm([0.03, 0.01, 0.04, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([0.7, 0.6]).tolist() == [1, 1]
    assert holm([]).shape == (0,)


def test_a_test_that_was_not_done_does_not_count():
    adjusted = holm([0.02, np.nan, 0.03])
    assert np.isnan(adjusted[1])
    assert adjusted[[0, 2]] == pytest.approx(holm([0.02, 0.03]))


def test_what_is_no_p_value_is_refused():
    with pytest.raises(ValueError, match=r"a p-value is 1\.2"):
        holm([0.1, 1.2])
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        holm(np.array([[0.1, 0.2]]))
