"""Splits against rules spelled out here: families by hand, shares counted with ``Counter``."""

import csv
import hashlib
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.splits import Assignment, SplitOptions, assign_splits, group_families, patient_family
from kdmri_monai.data.stratify import validation_families

FIGSHARE = Path(__file__).resolve().parents[3] / "shared" / "figshare"
PARTS = ("training", "validation", "test")


def reference_family(patient):
    """Digit and one letter at the end: the letter goes."""
    again = len(patient) > 1 and patient[-2] in "0123456789" and patient[-1].isascii() and patient[-1].isalpha()
    return patient[:-1] if again else patient


def reference_groups(rows):
    """Patient to the set of patients of its family: sets of (patient, digest) merged until none touch."""
    groups = [({patient}, {reference_family(patient)}, {digest}) for patient, digest in rows]
    merged = True
    while merged:
        merged = False
        for i in range(len(groups)):
            for j in range(len(groups) - 1, i, -1):
                if any(a & b for a, b in zip(groups[i], groups[j], strict=True)):
                    groups[i] = tuple(a | b for a, b in zip(groups[i], groups.pop(j), strict=True))
                    merged = True
    return {patient: frozenset(patients) for patients, _, _ in groups for patient in patients}


def record(number, patient, label=0, digest=None):
    digest = digest or f"image {number}"
    return SliceRecord(
        id=str(number),
        index=number,
        label=label,
        patient=patient,
        patient_source="cjdata/PID",
        source=f"{number}.mat",
        size=(512, 512),
        sha256=hashlib.sha256(digest.encode()).hexdigest(),
        has_mask=True,
    )


def figshare_like(seed=0, scale=1):
    """Ids, classes and slices a patient as in the Figshare set: MR ids are all glioma, some scanned again."""
    rng = random.Random(seed)
    patients = [(f"{100000 + i}", 0) for i in range(30 * scale)] + [(f"{110000 + i}", 2) for i in range(24 * scale)]
    patients += [(f"{120000 + i}", 1) for i in range(10 * scale)]
    for i in range(16 * scale):
        letters = rng.choice(["", "B", "BC", "CDE"])
        patients += [(f"MR{30000 + i}{letter}", 1) for letter in letters or [""]]
    rows = [(patient, label) for patient, label in patients for _ in range(rng.randint(3, 25))]
    return [record(number, patient, label) for number, (patient, label) in enumerate(rows, start=1)]


def by_part(records, assignment):
    return {part: [r for r in records if assignment.split[r.id] == part] for part in PARTS}


def families_of(records):
    return {reference_family(r.patient) for r in records}


def strata(records):
    return Counter((r.label, r.patient[:2] == "MR") for r in records)


@pytest.fixture(scope="module")
def real_records():
    if not (FIGSHARE / "index.csv").is_file():
        pytest.skip(f"the real slices are not at {FIGSHARE}")
    with (FIGSHARE / "index.csv").open() as file:
        return [record(int(row["slice"]), row["pid"], int(row["label"]) - 1) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("patient", "family"),
    [
        ("MR024780B", "MR024780"),
        ("MR024780g", "MR024780"),
        ("MR024780", "MR024780"),
        ("100360", "100360"),
        ("100360AB", "100360AB"),
        ("caseA", "caseA"),
        ("A", "A"),
        ("7b", "7"),
        ("7\u0661b", "7\u0661b"),
        ("12-B", "12-B"),
    ],
)
def test_family_drops_one_letter_after_a_digit_and_nothing_else(patient, family):
    assert patient_family(patient) == family == reference_family(patient)


def test_patients_that_share_an_image_are_one_family_over_any_number_of_steps():
    records = [
        record(1, "200B", digest="x"),
        record(2, "300", digest="x"),
        record(3, "300", digest="y"),
        record(4, "100", digest="y"),
        record(5, "200C", digest="z"),
        record(6, "400", digest="w"),
    ]
    assert group_families(records) == {"200B": "100", "200C": "100", "300": "100", "100": "100", "400": "400"}


@pytest.mark.parametrize("seed", range(5))
def test_families_are_those_of_a_search_by_hand(seed):
    rng = random.Random(seed)
    rows = [
        (f"{rng.randint(1, 40)}{rng.choice(['', '', 'A', 'B'])}", f"image {rng.randint(0, 150)}") for _ in range(60)
    ]
    families = group_families([record(i, patient, digest=digest) for i, (patient, digest) in enumerate(rows)])
    expected = reference_groups(rows)
    for patient, family in families.items():
        assert {other for other in families if families[other] == family} == expected[patient]
        assert family == min(reference_family(other) for other in expected[patient])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_family_is_in_two_splits_and_every_slice_is_tested_once_over_the_folds(seed):
    records = figshare_like(seed)
    tested = Counter()
    for fold in range(5):
        assignment = assign_splits(records, SplitOptions(fold=fold, seed=seed))
        parts = by_part(records, assignment)
        for one in PARTS:
            for other in PARTS:
                assert one == other or not families_of(parts[one]) & families_of(parts[other])
        assert {r.id for r in parts["test"]} == {i for i, number in assignment.fold.items() if number == fold}
        assert assignment.group_rule == "family"
        assert assignment.notes == ()
        tested.update(r.id for r in parts["test"])
    assert tested == Counter({r.id: 1 for r in records})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_fold_has_its_share_of_slices_and_patients_of_every_class_and_kind_of_id(seed):
    records = figshare_like(seed, scale=2)
    fold = assign_splits(records, SplitOptions(seed=seed)).fold
    patients = list({r.patient: r for r in records}.values())
    for rows, tolerance in ((records, 0.3), (patients, 0.35)):
        total = strata(rows)
        for number in range(5):
            held = strata([r for r in rows if fold[r.id] == number])
            for stratum, count in total.items():
                assert held[stratum] == pytest.approx(count / 5, rel=tolerance, abs=2), (number, stratum)


def test_folds_are_far_more_even_than_chance():
    records = figshare_like(3, scale=2)
    total = strata(records)
    names = sorted(families_of(records))

    def unevenness(fold_of):
        table = np.array(
            [[strata([r for r in records if fold_of(r) == k])[s] / total[s] for s in sorted(total)] for k in range(5)]
        )
        return table.std(axis=0).mean()

    fold = assign_splits(records, SplitOptions()).fold
    rng = np.random.default_rng(0)
    chance = [dict(zip(names, rng.permutation(len(names)) % 5, strict=True)) for _ in range(10)]
    by_chance = [unevenness(lambda r, c=c: c[reference_family(r.patient)]) for c in chance]
    assert unevenness(lambda r: fold[r.id]) < min(by_chance) / 2


def test_patients_are_more_even_than_where_only_slices_count():
    rng = random.Random(5)
    rows = [(f"{i}", i % 3) for i in range(120) for _ in range(rng.choice([1, 1, 2, 5, 30]))]
    records = [record(number, patient, label) for number, (patient, label) in enumerate(rows)]
    patients, labels = np.array(rows).T
    ours, slices_only = [], []
    for seed in range(10):
        fold = assign_splits(records, SplitOptions(seed=seed)).fold
        ours.append(np.std(list(Counter(fold[r.id] for r in {r.patient: r for r in records}.values()).values())))
        plain = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, patients)
        slices_only.append(np.std([len(set(patients[test])) for _, test in plain]))
    assert np.mean(ours) < 0.5 * np.mean(slices_only)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_slices_does_not_matter(seed):
    records = figshare_like()
    records += [record(8000 + i, f"two{i % 6}", i // 6 % 2) for i in range(60)]  # patients of two classes
    shuffled = records[:]
    random.Random(seed).shuffle(shuffled)
    options = SplitOptions(seed=seed)
    assert assign_splits(records, options) == assign_splits(shuffled, options)


def test_the_hash_seed_of_python_does_not_matter():
    code = (
        "import importlib.util, json; from kdmri_monai.data.splits import SplitOptions, assign_splits\n"
        f"spec = importlib.util.spec_from_file_location('t', {__file__!r})\n"
        "t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)\n"
        "a = assign_splits(t.figshare_like(), SplitOptions(seed=4))\n"
        "print(json.dumps([sorted(a.split.items()), sorted(a.fold.items())]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_another_seed_gives_other_folds_and_another_validation_part():
    records = figshare_like()
    one, other = (assign_splits(records, SplitOptions(seed=seed)) for seed in (0, 1))
    assert one.fold != other.fold
    assert one.split != other.split


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.3, 0.5])
def test_validation_is_near_the_share_asked_for_in_every_class_and_kind_of_id(fraction):
    records = figshare_like(scale=2)
    parts = by_part(records, assign_splits(records, SplitOptions(validation=fraction)))
    rest = strata(parts["training"] + parts["validation"])
    held = strata(parts["validation"])
    assert sum(held.values()) == pytest.approx(fraction * sum(rest.values()), rel=0.15)
    for stratum, count in rest.items():
        assert held[stratum] == pytest.approx(fraction * count, rel=0.3, abs=13), stratum


def test_validation_of_nothing_is_empty_and_the_rest_is_training():
    records = figshare_like()
    assignment = assign_splits(records, SplitOptions(validation=0))
    assert set(assignment.split.values()) == {"training", "test"}
    assert assignment.notes == ()


@pytest.mark.parametrize("fraction", [0.001, 0.15, 0.9, 0.999])
def test_every_class_with_two_families_is_in_training_and_in_validation(fraction):
    records = [record(10 * i + j, f"{i}", i % 3) for i in range(12) for j in range(10)]
    parts = by_part(records, assign_splits(records, SplitOptions(folds=2, validation=fraction)))
    assert {r.label for r in parts["training"]} == {r.label for r in parts["validation"]} == {0, 1, 2}


def test_validation_takes_families_by_digest_so_that_a_new_patient_moves_no_other():
    few = [record(i, f"{i}", i % 3) for i in range(90)]
    more = [*few, record(900, "900", 0)]
    families = {r.patient: r.patient for r in more}
    before, after = (validation_families(rows, families, 0.3, 5, "salt") for rows in (few, more))
    assert len(before) == 27
    assert len(before ^ (after - {"900"})) <= 1


def test_small_data_are_split_with_notes_and_without_a_warning():
    records = [record(i, f"{i}", i % 3) for i in range(6)]
    assignment = assign_splits(records, SplitOptions(folds=5))
    assert Counter(assignment.fold.values()).keys() == {0, 1, 2, 3, 4}
    assert "glioma: 2 patient families, fewer than 5 folds; some folds are without it" in assignment.notes
    assert any(note.startswith("the test part has no ") for note in assignment.notes)


def test_a_note_names_each_class_that_a_part_is_without():
    records = [record(i, f"{i}", 0 if i < 20 else 1) for i in range(21)]
    assignment = assign_splits(records, SplitOptions(folds=2))
    parts = by_part(records, assignment)
    for part in PARTS:
        present = {r.label for r in parts[part]}
        names = ("meningioma", "glioma", "pituitary tumour")
        absent = [name for label, name in enumerate(names) if label not in present]
        assert f"the {part} part has no {', no '.join(absent)}" in assignment.notes


def test_fewer_families_than_folds_are_refused_with_both_numbers():
    records = [record(i, f"MR{i // 4}{'ABCD'[i % 4]}", i // 4) for i in range(12)]
    with pytest.raises(ValueError, match="5 folds need 5 patient families at least, the data set has 3"):
        assign_splits(records, SplitOptions())


def test_kinds_of_id_with_few_families_do_not_spoil_the_balance_of_classes():
    names = [f"{a}{b}{c}" for a in "abcde" for b in "fghij" for c in "klm"]  # every id is a kind of its own
    records = [record(10 * i + j, name, i % 3) for i, name in enumerate(names) for j in range(3)]
    fold = assign_splits(records, SplitOptions()).fold
    held = Counter((fold[r.id], r.label) for r in records)
    assert set(held.values()) == {15}


def test_external_data_are_all_test():
    records = figshare_like()
    assignment = assign_splits(records, SplitOptions(external=True))
    assert assignment == Assignment({r.id: "test" for r in records}, {}, "family", ())


def test_without_a_test_part_all_families_learn_or_validate():
    records = figshare_like()
    assignment = assign_splits(records, SplitOptions(whole=True, validation=0.1))
    assert set(assignment.split.values()) == {"training", "validation"}
    assert assignment.fold == {}
    assert assignment.group_rule == "family"
    assert any("no test part" in note for note in assignment.notes)
    families = {
        split: {r.patient for r in records if assignment.split[r.id] == split} for split in ("training", "validation")
    }
    grouped = group_families(records)
    sides = [{grouped[patient] for patient in patients} for patients in families.values()]
    assert not sides[0] & sides[1]
    share = sum(split == "validation" for split in assignment.split.values()) / len(records)
    assert 0.05 < share < 0.2
    assert set(assign_splits(records, SplitOptions(whole=True, validation=0)).split.values()) == {"training"}


def test_a_note_counts_families_merged_by_an_identical_image():
    records = [*figshare_like(), record(9001, "555", digest="same"), record(9002, "666", digest="same")]
    assignment = assign_splits(records, SplitOptions())
    assert assignment.split["9001"] == assignment.split["9002"]
    assert assignment.notes == ("1 families share an identical image with another one and count as part of it",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 1}, "folds is 1, allowed are 2 and more"),
        ({"fold": 5}, r"fold is 5, allowed are 0 \.\. 4"),
        ({"fold": -1}, "fold is -1"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"external": True, "folds_file": Path("cvind.mat")}, "takes no folds file"),
        ({"whole": True, "external": True}, "whole takes neither"),
        ({"whole": True, "folds_file": Path("cvind.mat")}, "whole takes neither"),
    ],
)
def test_options_outside_their_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SplitOptions(**arguments)


def test_slices_without_unique_ids_are_refused():
    with pytest.raises(ValueError, match="1 slice ids stand more than once: 7"):
        assign_splits([record(7, "1"), record(7, "2")], SplitOptions())
    with pytest.raises(ValueError, match="no slices"):
        assign_splits([], SplitOptions())


def folds_text(path, folds):
    path.write_text("".join(str(fold) for fold in folds))
    return path


def published(tmp_path, fold=0, **arguments):
    """Ten families of two slices in each of five folds, one family of two ids across folds 1 and 2."""
    records = [record(i + 1, f"{(i // 2):03d}", (i // 2) % 3) for i in range(100)]
    folds = [1 + i // 20 for i in range(100)]
    records += [record(101, "MR900A", 1), record(102, "MR900B", 1)]
    path = folds_text(tmp_path / "folds.txt", [*folds, 1, 2, 5])
    return records, SplitOptions(fold=fold, folds_file=path, **arguments)


def test_fold_zero_is_published_fold_one(tmp_path):
    records, options = published(tmp_path)
    assignment = assign_splits(records, options)
    assert {r.id for r in by_part(records, assignment)["test"]} == {str(i) for i in range(1, 21)} | {"101"}
    assert assignment.group_rule == "patient"
    assert assignment.notes == (
        "test is fold 1 of folds.txt (sizes 21, 21, 20, 20, 21); "
        "2 slices of 2 patients belong to 1 families that cross folds",
    )


def test_validation_and_training_share_no_family_under_published_folds(tmp_path):
    records, _ = published(tmp_path)
    records += [record(103 + i, f"MR9{i % 2:02d}{'CDEFGH'[i // 2]}", 1) for i in range(12)]
    path = folds_text(
        tmp_path / "more.txt", [*(1 + i // 20 for i in range(100)), 1, 2, *(2 + i % 4 for i in range(12))]
    )
    for fold in range(5):
        for seed in range(5):
            parts = by_part(records, assign_splits(records, SplitOptions(fold=fold, seed=seed, folds_file=path)))
            assert parts["validation"]
            assert not families_of(parts["validation"]) & families_of(parts["training"])


def test_the_seed_picks_the_validation_part_of_published_folds(tmp_path):
    records, _ = published(tmp_path)
    file = tmp_path / "folds.txt"
    parts = [by_part(records, assign_splits(records, SplitOptions(seed=s, folds_file=file))) for s in range(4)]
    assert len({frozenset(r.patient for r in part["validation"]) for part in parts}) == 4


def test_published_folds_that_split_a_patient_are_refused(tmp_path):
    records, options = published(tmp_path)
    records[25] = record(26, records[0].patient)
    with pytest.raises(LeakageError, match=r"folds\.txt puts 1 patients on two sides: 000"):
        assign_splits(records, options)


def test_an_image_on_both_sides_of_the_published_test_part_is_refused(tmp_path):
    records, options = published(tmp_path)
    records[0] = record(1, records[0].patient, digest="same")
    records[99] = record(100, records[99].patient, digest="same")
    with pytest.raises(LeakageError, match="1 identical images on two sides"):
        assign_splits(records, options)
    elsewhere = SplitOptions(fold=2, folds_file=options.folds_file)
    split = assign_splits(records, elsewhere).split
    assert split["1"] == split["100"], "the patients of both images are one family outside the test part"


def test_published_folds_have_to_fit_the_slices_and_the_number_asked_for(tmp_path):
    records, options = published(tmp_path)
    with pytest.raises(ValueError, match="has 5 folds, asked for are 4"):
        assign_splits(records, SplitOptions(folds=4, folds_file=options.folds_file))
    with pytest.raises(ValueError, match="has no fold for 2 slices: 500, x1"):
        assign_splits([*records, record(500, "x"), record("x1", "y")], options)
    with pytest.raises(ValueError, match=r"lie in folds \[0\]: fold 3 cannot be the test part"):
        assign_splits(records[:10], SplitOptions(fold=3, folds_file=options.folds_file))


def test_the_real_set_splits_evenly_by_family(real_records):
    fold = assign_splits(real_records, SplitOptions()).fold
    for rows, tolerance in ((real_records, 0.15), (list({r.patient: r for r in real_records}.values()), 0.25)):
        total = strata(rows)
        for number in range(5):
            held = strata([r for r in rows if fold[r.id] == number])
            for stratum, count in total.items():
                assert held[stratum] == pytest.approx(count / 5, rel=tolerance), (number, stratum)


def test_the_published_folds_of_the_real_set_are_followed_and_their_crossings_counted(real_records):
    digits = (FIGSHARE / "folds.txt").read_text().strip()
    where = defaultdict(set)
    for r in real_records:
        where[reference_family(r.patient)].add(digits[int(r.id) - 1])
    crossing = [r for r in real_records if len(where[reference_family(r.patient)]) > 1]
    expected = (
        f"{len(crossing)} slices of {len({r.patient for r in crossing})} patients belong to "
        f"{len(families_of(crossing))} families that cross folds"
    )
    for fold in range(5):
        assignment = assign_splits(real_records, SplitOptions(fold=fold, folds_file=FIGSHARE / "folds.txt"))
        parts = by_part(real_records, assignment)
        assert {r.id for r in parts["test"]} == {r.id for r in real_records if digits[int(r.id) - 1] == str(fold + 1)}
        assert not families_of(parts["training"]) & families_of(parts["validation"])
        assert len(parts["validation"]) == pytest.approx(0.15 * (len(real_records) - len(parts["test"])), rel=0.15)
        assert expected in assignment.notes[0]
        assert "sizes 570, 655, 562, 613, 664" in assignment.notes[0]
