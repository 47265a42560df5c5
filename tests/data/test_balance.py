"""Weights: every class, patient or family counts alike, level by level."""

from collections import defaultdict

import pytest

from kdmri_monai.data.balance import balanced_weights

FIELD = {"class": "label", "patient": "patient", "family": "family"}


def slices():
    """Uneven in everything: class 0 has one patient of 1 slice, class 1 three of 2, 5 and 9, class 2 two of 4 and 4."""
    counts = {("A", "A", 0): 1, ("B", "B", 1): 2, ("MR1A", "MR1", 1): 5, ("MR1B", "MR1", 1): 9}
    counts |= {("C", "C", 2): 4, ("D", "D", 2): 4}
    return [
        {"patient": patient, "family": family, "label": label}
        for (patient, family, label), number in counts.items()
        for _ in range(number)
    ]


def totals(entries, weights, *levels):
    sums = defaultdict(float)
    for entry, weight in zip(entries, weights, strict=True):
        sums[tuple(entry[FIELD[level]] for level in levels)] += weight
    return sums


@pytest.mark.parametrize("by", [("class",), ("patient",), ("class", "patient"), ("class", "family"), ("family",)])
def test_every_group_of_a_level_has_the_same_share_of_its_parent(by):
    entries = slices()
    weights = balanced_weights(entries, by)
    for depth in range(1, len(by) + 1):
        by_parent = defaultdict(list)
        for group, total in totals(entries, weights, *by[:depth]).items():
            by_parent[group[:-1]].append(total)
        for shares in by_parent.values():
            assert shares == pytest.approx([shares[0]] * len(shares))
    innermost = defaultdict(set)
    for entry, weight in zip(entries, weights, strict=True):
        innermost[tuple(entry[FIELD[level]] for level in by)].add(round(weight, 12))
    assert all(len(found) == 1 for found in innermost.values())
    assert sum(weights) == pytest.approx(len(entries))


def test_class_and_patient_by_hand():
    entries = slices()
    weights = balanced_weights(entries)
    # 25 slices, 3 classes; class 1 has 3 patients, the one of most slices has 9
    assert weights[0] == pytest.approx(25 / 3)
    assert weights[16] == pytest.approx(25 / 3 / 3 / 9)
    # the same in families: class 1 has 2, and MR1 has 14 slices
    assert balanced_weights(entries, ("class", "family"))[16] == pytest.approx(25 / 3 / 2 / 14)


def test_a_patient_of_two_classes_has_a_share_in_both():
    entries = [{"patient": "A", "label": 0}, {"patient": "A", "label": 1}, {"patient": "B", "label": 1}]
    assert balanced_weights(entries) == pytest.approx([1.5, 0.75, 0.75])


def test_even_data_has_even_weights():
    entries = [{"patient": str(i // 2), "label": i // 2 % 3} for i in range(12)]
    assert balanced_weights(entries) == pytest.approx([1.0] * 12)


def test_the_order_of_the_entries_does_not_matter():
    entries = slices()
    assert balanced_weights(entries[::-1]) == balanced_weights(entries)[::-1]


def test_what_cannot_be_balanced_is_refused():
    for by in ((), ("scanner",), ("class", "class")):
        with pytest.raises(ValueError, match="allowed are different ones of class, patient, family"):
            balanced_weights(slices(), by)
    with pytest.raises(ValueError, match="no entries"):
        balanced_weights([])
    with pytest.raises(KeyError, match="family"):
        balanced_weights([{"patient": "A", "label": 0}], ("family",))
