"""Hand-edited datalists: what leaks is refused, whatever the entries claim."""

import logging

import pytest

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.leakage import check_leakage

PARTS = ("training", "validation", "test")


def entry(number, patient, family=None):
    return {
        "image": f"images.npy#{number}",
        "label": number % 3,
        "patient": patient,
        "family": patient if family is None else family,
        "id": str(number),
        "sha256": f"{number:064x}",
    }


@pytest.fixture
def datalist():
    entries = [entry(i, f"{i // 3:03d}") for i in range(90)]
    return {"group_rule": "family", "training": entries[:60], "validation": entries[60:75], "test": entries[75:]}


def test_a_clean_datalist_passes_without_a_word(datalist, caplog):
    check_leakage(datalist)
    assert not caplog.records


@pytest.mark.parametrize("source", PARTS)
@pytest.mark.parametrize("target", PARTS)
def test_an_entry_moved_to_another_split_is_found(datalist, source, target):
    if source == target:
        return
    moved = datalist[source].pop(0)
    datalist[target].append(moved)
    with pytest.raises(LeakageError) as caught:
        check_leakage(datalist)
    where = " and ".join(part for part in PARTS if part in (source, target))
    assert f"patients in more than one split: 1: {moved['patient']} ({where})" in str(caught.value)
    assert f"patient families in more than one split: 1: {moved['patient']} ({where})" in str(caught.value)


def test_family_fields_that_hide_a_family_are_seen_through(datalist):
    datalist["training"].append(entry(900, "MR024780B", family="one"))
    datalist["test"].append(entry(901, "MR024780G", family="another"))
    with pytest.raises(LeakageError, match=r"^patient families in .* 1: MR024780 \(training and test\)$"):
        check_leakage(datalist)


def test_a_family_that_only_the_entries_know_of_is_kept_together(datalist):
    datalist["training"].append(entry(900, "smith", family="kin"))
    datalist["test"].append(entry(901, "jones", family="kin"))
    with pytest.raises(LeakageError, match=r"^patient families in .* 1: jones \(training and test\)$"):
        check_leakage(datalist)


def test_families_are_followed_over_any_number_of_steps(datalist):
    datalist["training"] += [entry(900, "MR1B"), entry(901, "MR1C", family="kin")]
    datalist["test"].append(entry(902, "MR2A", family="kin"))
    with pytest.raises(LeakageError, match=r"patient families .* 1: MR1 \(training and test\)"):
        check_leakage(datalist)


@pytest.mark.parametrize(
    ("field", "what"), [("sha256", "identical images"), ("id", "slice ids"), ("image", "stored images")]
)
def test_one_slice_under_another_patient_is_found_by_each_of_its_marks(datalist, field, what):
    datalist["test"].append(entry(900, "nobody"))
    datalist["test"][-1][field] = datalist["validation"][0][field]
    with pytest.raises(LeakageError, match=rf"{what} in more than one split: 1: .* \(validation and test\)"):
        check_leakage(datalist)


def test_the_message_counts_all_offenders_and_names_five(datalist):
    datalist["test"] += [entry(900 + i, datalist["training"][3 * i]["patient"]) for i in range(8)]
    with pytest.raises(LeakageError) as caught:
        check_leakage(datalist)
    sentence = str(caught.value).split("; ")[0]
    named = ", ".join(f"{i:03d} (training and test)" for i in range(5))
    assert sentence == f"patients in more than one split: 8: {named} and 3 more"


@pytest.mark.parametrize("rule", ["Family", "slice", "", None, ["family"]])
def test_an_unknown_group_rule_is_refused(datalist, rule):
    datalist["group_rule"] = rule
    with pytest.raises(LeakageError, match=r"group_rule is .*, allowed are family, patient"):
        check_leakage(datalist)


def test_a_missing_group_rule_is_refused(datalist):
    del datalist["group_rule"]
    with pytest.raises(LeakageError, match="group_rule is None"):
        check_leakage(datalist)


@pytest.mark.parametrize("folds_file", [{}, None])
def test_the_weaker_rule_needs_published_folds(datalist, folds_file):
    datalist |= {"group_rule": "patient", "folds_file": folds_file}
    with pytest.raises(LeakageError, match="which only a datalist of published folds"):
        check_leakage(datalist)


def under_published_folds(datalist):
    return datalist | {"group_rule": "patient", "folds_file": {"name": "cvind.mat"}}


@pytest.mark.parametrize("part", ["training", "validation"])
def test_published_folds_may_cross_a_family_to_the_test_part_with_a_warning_that_counts(datalist, caplog, part):
    datalist[part] += [entry(900, "MR5B", "MR5"), entry(901, "MR5B", "MR5")]
    datalist["test"].append(entry(902, "MR5C", "MR5"))
    with caplog.at_level(logging.WARNING):
        check_leakage(under_published_folds(datalist))
    (record,) = caplog.records
    assert "3 slices belong to 1 patient families that cross" in record.getMessage()


def test_published_folds_may_not_cross_a_family_between_training_and_validation(datalist):
    datalist["training"].append(entry(900, "MR5B", "x"))
    datalist["validation"].append(entry(901, "MR5C", "y"))
    with pytest.raises(LeakageError, match=r"patient families .* 1: MR5 \(training and validation\)"):
        check_leakage(under_published_folds(datalist))


@pytest.mark.parametrize("field", ["patient", "sha256"])
def test_published_folds_may_cross_neither_patients_nor_images(datalist, field):
    datalist["test"].append(entry(900, "nobody"))
    datalist["test"][-1][field] = datalist["training"][0][field]
    with pytest.raises(LeakageError, match=r"in more than one split: 1: .* \(training and test\)"):
        check_leakage(under_published_folds(datalist))
