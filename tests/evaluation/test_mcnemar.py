from math import comb

import numpy as np
import pytest

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.independent_rows import by_family
from kdmri_monai.evaluation.mcnemar import mcnemar
from kdmri_monai.evaluation.predictions import Predictions, by_patient


def exact_p(gained, lost):
    """Twice the smaller tail of the binomial distribution of one half, at most 1."""
    total = gained + lost
    return min(1.0, 2 * sum(comb(total, i) for i in range(min(gained, lost) + 1)) / 2**total)


def patients(right):
    """One patient a row, of three classes in turn, decided rightly where ``right``."""
    label = np.arange(len(right)) % 3
    decided = np.where(right, label, (label + 1) % 3)
    names = np.array([f"p{number:03d}" for number in range(len(right))])
    return Predictions(names, names, names, label, 0.1 + 0.7 * np.eye(3)[decided])


def pair(both, gained, lost, neither):
    new = np.repeat([True, True, False, False], (both, gained, lost, neither))
    old = np.repeat([True, False, True, False], (both, gained, lost, neither))
    return patients(new), patients(old)


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (9, 2), (2, 9), (5, 5), (14, 3)])
def test_it_is_the_binomial_test_of_the_patients_that_differ(gained, lost):
    found = mcnemar(*pair(20, gained, lost, 4))
    assert (found.only_candidate, found.only_reference, found.n) == (gained, lost, 24 + gained + lost)
    assert found.p == pytest.approx(exact_p(gained, lost))


def test_patients_that_both_have_right_or_wrong_say_nothing():
    assert mcnemar(*pair(5, 8, 1, 0)).p == mcnemar(*pair(200, 8, 1, 90)).p
    assert mcnemar(*pair(10, 0, 0, 3)).p == 1


def test_the_order_of_the_patients_does_not_matter():
    new, old = pair(20, 9, 2, 4)
    assert mcnemar(new.take(np.random.default_rng(0).permutation(len(new))), old) == mcnemar(new, old)


def test_slices_are_refused(predictions):
    with pytest.raises(ComparisonError, match=r"McNemar's test .* patient '\w+' has \d+ of the 542 rows.* by_patient"):
        mcnemar(predictions, predictions)
    table = by_patient(predictions)
    with pytest.raises(ComparisonError, match=r"family '\w+' has 2 of the \d+ rows.* by by_family"):
        mcnemar(table, table)
    assert mcnemar(by_family(predictions), by_family(predictions)).n == len(np.unique(predictions.family))


def test_other_patients_are_refused():
    new, old = pair(20, 9, 2, 4)
    with pytest.raises(ComparisonError, match="slices differ: 1 missing"):
        mcnemar(new.take(np.arange(1, len(new))), old)


def test_a_family_is_one_row_with_the_mean_log_probability_of_its_slices(predictions):
    table = by_family(predictions)
    first = predictions.take(predictions.family == table.id[0])
    expected = np.exp(np.log(first.probabilities).mean(axis=0))
    assert table.probabilities[0] == pytest.approx(expected / expected.sum())
    assert table.label[0] == first.label[0]
    assert (table.id == table.family).all()
