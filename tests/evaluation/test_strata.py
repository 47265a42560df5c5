"""Strata against masks by hand, quantiles by NumPy and scores by scikit-learn."""

import hashlib
import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.metrics_file import write_metrics
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.strata import find_strata, stratum_rows, tumour_areas

QUICK = Resampling(50)


def entries_of(table, **columns):
    """Entries of a datalist; a column that is empty for a slice is left out of its entry."""
    return [
        {"id": name} | {key: values[row] for key, values in columns.items() if values[row]}
        for row, name in enumerate(table.id.tolist())
    ]


def rows_by(rows, stratum):
    return {row["level"]: row for row in rows if row["stratum"] == stratum}


@pytest.fixture
def dataset(tmp_path):
    """A dataset folder of four slices of 8 x 8 pixels: tumours of 0, 1 and 16 pixels, and one without mask."""
    masks = np.zeros((4, 8, 8), dtype=np.uint8)
    masks[1, 2, 3], masks[2, 4:, 4:], masks[3] = 1, 1, 1
    np.save(tmp_path / "masks.npy", masks)
    np.save(tmp_path / "images.npy", masks)
    entries = [
        {"image": f"images.npy#{row}", "label": row % 3, "patient": f"p{row}", "family": f"p{row}", "id": f"s{row}",
         "source": f"{row}.mat", "patient_source": "cjdata/PID", "size": [8, 8],
         "sha256": hashlib.sha256(bytes([row])).hexdigest()}
        | ({"mask": f"masks.npy#{row}"} if row < 3 else {})
        for row in range(4)
    ]  # fmt: skip
    datalist = {"format": "kdmri-datalist-1", "numClasses": 3, "group_rule": "family", "training": [], "validation": []}
    datalist |= {"numTraining": 0, "numValidation": 0, "numTest": 4, "test": entries}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist))
    return tmp_path / "datalist.json"


def test_the_area_is_the_share_of_the_stored_mask(dataset):
    assert tumour_areas(dataset, "test") == {"s0": 0.0, "s1": 1 / 64, "s2": 0.25}


def test_masks_that_the_store_does_not_have_are_refused(dataset):
    np.save(dataset.parent / "masks.npy", np.zeros((2, 8, 8), dtype=np.uint8))
    with pytest.raises(IndexError, match=r"masks\.npy has 2 rows.*slice s2 asks for row 2"):
        tumour_areas(dataset, "test")


def test_every_level_has_the_scores_of_its_slices(predictions):
    planes = np.random.default_rng(0).choice(
        ["axial", "coronal", "sagittal", ""], len(predictions), p=[0.5, 0.3, 0.1, 0.1]
    )
    rows = stratum_rows(predictions, find_strata(predictions, entries_of(predictions, plane=planes)), QUICK)
    found = rows_by(rows, "plane")
    assert list(found) == ["axial", "coronal", "sagittal"]
    for plane, row in found.items():
        inside = planes == plane
        label, prediction = predictions.label[inside], predictions.prediction[inside]
        assert (row["n"], row["families"]) == (inside.sum(), len(set(predictions.family[inside])))
        assert row["accuracy"]["value"] == pytest.approx((label == prediction).mean())
        assert row["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(label, prediction))
        assert row["accuracy"]["low"] < row["accuracy"]["value"] < row["accuracy"]["high"]
        recall = recall_score(label, prediction, average=None)
        assert [row["recall"][name]["value"] for name in predictions.classes] == pytest.approx(recall)
        assert [row["recall"][name]["n"] for name in predictions.classes] == np.bincount(label).tolist()


def test_a_level_without_a_class_has_no_balanced_accuracy(predictions):
    patient = np.where(predictions.label == 1, "MR1", np.char.add("1", predictions.patient))
    table = Predictions(predictions.id, patient, predictions.family, predictions.label, predictions.probabilities)
    found = rows_by(stratum_rows(table, find_strata(table, entries_of(table)), QUICK), "id_source")
    assert list(found) == ["MR", "numeric"]
    assert np.isnan(list(found["MR"]["balanced_accuracy"].values())).all()
    assert found["MR"]["recall"]["meningioma"] is None
    assert found["MR"]["recall"]["glioma"]["value"] == found["MR"]["accuracy"]["value"]
    assert found["numeric"]["recall"]["glioma"] is None


def test_areas_are_cut_at_the_terciles_of_the_slices_that_have_one(predictions):
    rng = np.random.default_rng(1)
    areas = dict(zip(predictions.id[10:].tolist(), rng.gamma(2, 0.01, len(predictions) - 10).tolist(), strict=True))
    strata = find_strata(predictions, entries_of(predictions), areas | {"of another split": 0.9})
    names, level = strata.levels["tumour_area"]
    assert (level[:10] == -1).all()
    low, high = np.quantile(list(areas.values()), [1 / 3, 2 / 3])
    values = np.array(list(areas.values()))
    assert level[10:].tolist() == ((values > low).astype(int) + (values > high)).tolist()
    assert names == (f"up to {100 * low:.2g} %", f"above {100 * low:.2g} %, up to {100 * high:.2g} %",
                     f"above {100 * high:.2g} %")  # fmt: skip
    counts = [row["n"] for row in stratum_rows(predictions, strata, QUICK) if row["stratum"] == "tumour_area"]
    assert sum(counts) == len(areas)
    assert max(counts) - min(counts) <= 1


def test_slices_of_a_patient_are_counted_in_the_table():
    counts = {"a": 1, "b": 5, "c": 6, "d": 12, "e": 13}
    patient = np.repeat(list(counts), list(counts.values()))
    ids = np.arange(len(patient)).astype(str)
    table = Predictions(ids, patient, patient, np.zeros(len(ids), int), np.tile([0.5, 0.3, 0.2], (len(ids), 1)))
    names, level = find_strata(table, entries_of(table)).levels["slices_of_patient"]
    assert names == ("1-5", "6-12", "13 or more")
    assert {name: names[number] for name, number in zip(patient.tolist(), level.tolist(), strict=True)} == {
        "a": "1-5", "b": "1-5", "c": "6-12", "d": "6-12", "e": "13 or more"
    }  # fmt: skip
    some = table.take(np.isin(patient, ["a", "e"]))
    names, level = find_strata(some, entries_of(some)).levels["slices_of_patient"]
    assert names == ("1-5", "13 or more")
    assert level.tolist() == [0] + [1] * 13


def test_a_stratum_that_is_not_known_is_absent_with_its_reason(predictions):
    strata = find_strata(predictions, entries_of(predictions))
    assert set(strata.levels) == {"id_source", "slices_of_patient"}
    assert strata.absent["plane"] == "the datalist says of no slice in which plane it lies"
    assert strata.absent["tumour_area"] == "no tumour areas are given"
    assert find_strata(predictions, entries_of(predictions), {}).absent["tumour_area"] == "no slice has a mask"


def test_slices_are_matched_by_id_and_not_by_place(predictions):
    planes = np.random.default_rng(0).choice(["axial", "coronal"], len(predictions))
    entries = entries_of(predictions, plane=planes)
    once, again = (find_strata(predictions, given).levels["plane"][1].tolist() for given in (entries, entries[::-1]))
    assert once == again == (planes == "coronal").astype(int).tolist()


def test_slices_that_the_datalist_does_not_have_are_refused(predictions):
    with pytest.raises(ComparisonError, match=r"7 slices are not in the datalist, among them 0, 1, 2, 3, 4$"):
        find_strata(predictions, entries_of(predictions)[7:])


def test_rows_can_be_written_as_json(predictions, tmp_path):
    rows = stratum_rows(predictions, find_strata(predictions, entries_of(predictions)), QUICK)
    write_metrics({"rows": rows}, tmp_path / "strata.json")
    assert len(json.loads((tmp_path / "strata.json").read_text())["rows"]) == len(rows)
