"""Datalists of cross-fitted teachers: whole families, each left out once, no test patient anywhere."""

import hashlib
import json
from collections import Counter

import pytest

from kdmri_monai.data.crossfit import crossfit_datalists
from kdmri_monai.data.datalist import build_datalist, read_datalist, write_datalist
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.leakage import check_leakage
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.splits import SplitOptions, assign_splits

SPLITS = ("training", "validation", "test")


def record(number):
    patient = number // 4
    return SliceRecord(
        id=str(number + 1),
        index=number,
        label=patient % 3,
        # gliomas of odd number are scanned again: two ids of one family
        patient=f"MR{patient // 6:03d}{'AB'[number % 2]}" if patient % 6 == 1 else f"{patient:03d}",
        patient_source="cjdata/PID",
        source=f"one.zip/{number + 1}.mat",
        size=(512, 512),
        sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        has_mask=number % 2 == 0,
    )


@pytest.fixture
def path(tmp_path):
    records = [record(number) for number in range(360)]
    options = SplitOptions(fold=1, seed=3)
    provenance = {"name": "phantom", "description": "made here", "counts": {"slices": 360}}
    write_datalist(build_datalist(records, assign_splits(records, options), options, provenance), tmp_path / "d.json")
    return tmp_path / "d.json"


def families(entries):
    return {entry["family"] for entry in entries}


def ids(entries):
    return {entry["id"] for entry in entries}


def test_every_training_family_is_left_out_exactly_once_and_tested_there(path):
    whole = read_datalist(path)
    lists = [read_datalist(name) for name in crossfit_datalists(path)]
    left_out = Counter(family for part in lists for family in families(part["test"]))
    assert left_out == dict.fromkeys(families(whole["training"]), 1)
    for part in lists:
        assert not families(part["training"]) & families(part["test"])
        assert ids(part["training"]) | ids(part["test"]) == ids(whole["training"])
        assert part["validation"] == whole["validation"]
    held = {entry["patient"] for part in lists for entry in part["test"]}
    assert any(name.endswith("A") for name in held)


def test_no_list_holds_a_test_patient_of_the_data_set(path):
    tested = ids(read_datalist(path)["test"])
    for name in crossfit_datalists(path, parts=4):
        part = read_datalist(name)
        assert not tested & {slice_id for split in SPLITS for slice_id in ids(part[split])}


def test_parts_hold_equal_shares_of_the_classes(path):
    for name in crossfit_datalists(path):
        counts = Counter(entry["label"] for entry in read_datalist(name)["test"])
        assert max(counts.values()) - min(counts.values()) <= 12  # three patients of four slices
        assert counts.keys() == {0, 1, 2}


def test_the_lists_are_sound_and_say_what_they_are(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lists = crossfit_datalists(path, parts=3, seed=5)
    assert [name.name for name in lists] == [f"d.crossfit-{part}-of-3.json" for part in range(3)]
    for number, name in enumerate(lists):
        part = read_datalist(name)
        check_leakage(part)
        assert part["crossfit"] == {"part": number, "of": "d.json", "sha256": digest, "parts": 3, "seed": 5}
        assert part["notes"][-1].startswith(f"part {number} of 3 of the training split of d.json is the test split")
        assert "counts" not in part  # of the splits before
        assert part["name"] == "phantom"


def test_the_same_datalist_gives_the_same_bytes_and_another_seed_others(path):
    before = [name.read_bytes() for name in crossfit_datalists(path)]
    assert [name.read_bytes() for name in crossfit_datalists(path)] == before
    assert [name.read_bytes() for name in crossfit_datalists(path, seed=1)] != before
    assert not list(path.parent.glob(".*"))


def test_patients_whom_a_person_has_linked_stay_together(path):
    content = json.loads(path.read_text())
    linked = sorted(families(content["training"]))[:6]
    for entry in content["training"]:
        if entry["family"] in linked:
            entry["family"] = "one family"
    path.write_text(json.dumps(content))
    tests = [families(read_datalist(name)["test"]) for name in crossfit_datalists(path)]
    assert sum("one family" in part for part in tests) == 1


def test_lists_that_cannot_be_made_are_refused_and_nothing_is_written(path):
    with pytest.raises(ValueError, match="parts is 1, allowed are 2 and more"):
        crossfit_datalists(path, parts=1)
    with pytest.raises(ValueError, match="99 parts want as many training families, there are"):
        crossfit_datalists(path, parts=99)
    assert [file.name for file in path.parent.iterdir()] == ["d.json"]
    first = crossfit_datalists(path)[0]
    with pytest.raises(ValueError, match="is itself one of 3 parts"):
        crossfit_datalists(first)
    with pytest.raises(FileNotFoundError, match="kdmri prepare"):
        crossfit_datalists(path.with_name("none.json"))


def test_a_class_of_one_family_is_refused(path):
    content = json.loads(path.read_text())
    gliomas = [entry for entry in content["training"] if entry["label"] == 1]
    kept = [entry for entry in content["training"] if entry["label"] != 1]
    content["training"] = kept + [entry for entry in gliomas if entry["family"] == gliomas[0]["family"]]
    content["numTraining"] = len(content["training"])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no glioma is left to train on"):
        crossfit_datalists(path)


def test_a_datalist_that_leaks_is_refused(path):
    content = json.loads(path.read_text())
    content["test"][0]["patient"] = content["training"][0]["patient"]  # of which the lists would keep no trace
    path.write_text(json.dumps(content))
    with pytest.raises(LeakageError, match="patients in more than one split"):
        crossfit_datalists(path)
