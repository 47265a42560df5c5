"""The datalist on disk: its form, its messages, and what a training run gets of it."""

import copy
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kdmri_monai.data.datalist import build_datalist, load_split, read_datalist, write_datalist
from kdmri_monai.data.errors import LeakageError
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.splits import SplitOptions, assign_splits

PARTS = ("training", "validation", "test")
PROVENANCE = {"name": "phantom", "description": "made here", "source": {"kind": "test"}, "skipped": []}


def record(number):
    return SliceRecord(
        id=str(number + 1),
        index=number,
        label=number // 4 % 3,
        patient=f"{number // 4:03d}",
        patient_source="cjdata/PID",
        source=f"one.zip/{number + 1}.mat",
        size=(512, 256),
        sha256=hashlib.sha256(bytes([number])).hexdigest(),
        has_mask=number % 2 == 0,
        plane="axial" if number % 5 else None,
    )


@pytest.fixture
def records():
    return [record(number) for number in range(120)]


@pytest.fixture
def datalist(records):
    options = SplitOptions(fold=1, seed=3)
    return build_datalist(records, assign_splits(records, options), options, PROVENANCE)


@pytest.fixture
def path(tmp_path, datalist):
    folder = tmp_path / "data # 1"
    folder.mkdir()
    for name in ("images.npy", "masks.npy"):
        np.save(folder / name, np.zeros((120, 4, 4), np.uint8))
    write_datalist(datalist, folder / "datalist.json")
    return folder / "datalist.json"


def rewrite(path, edit):
    """The file as a person would change it: without the checks of ``write_datalist``."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_every_slice_is_in_the_split_and_fold_that_it_was_assigned(records, datalist):
    assignment = assign_splits(records, SplitOptions(fold=1, seed=3))
    entries = {entry["id"]: (part, entry) for part in PARTS for entry in datalist[part]}
    assert entries.keys() == {r.id for r in records}
    for r in records:
        part, entry = entries[r.id]
        expected = {
            "image": f"images.npy#{r.index}",
            "label": r.label,
            "patient": r.patient,
            "family": r.patient,
            "id": r.id,
            "fold": assignment.fold[r.id],
            "source": r.source,
            "patient_source": r.patient_source,
            "size": [512, 256],
            "sha256": r.sha256,
        }
        if r.has_mask:
            expected["mask"] = f"masks.npy#{r.index}"
        if r.plane:
            expected["plane"] = r.plane
        assert (part, entry) == (assignment.split[r.id], expected)


def test_the_head_says_how_the_list_was_made(records, datalist, tmp_path):
    for part in PARTS:
        assert datalist[f"num{part.capitalize()}"] == len(datalist[part])
    expected = {
        "format": "kdmri-datalist-1",
        "numClasses": 3,
        "group_rule": "family",
        "folds": 5,
        "fold": 1,
        "seed": 3,
        "validation_fraction": 0.15,
        "folds_file": None,
        "notes": [],
        **PROVENANCE,
    }
    assert {key: datalist[key] for key in expected} == expected

    file = tmp_path / "folds.txt"
    file.write_text("".join(str(1 + number // 24) for number in range(120)))
    options = SplitOptions(folds_file=file)
    published = build_datalist(records, assign_splits(records, options), options, {})
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert published["folds_file"] == {"name": "folds.txt", "sha256": digest, "sizes": [24] * 5}
    assert published["group_rule"] == "patient"
    assert len(published["notes"]) == 1


def test_external_data_have_no_folds(records, tmp_path):
    options = SplitOptions(external=True)
    datalist = build_datalist(records, assign_splits(records, options), options, {})
    assert datalist["folds"] is datalist["fold"] is datalist["validation_fraction"] is None
    assert (datalist["numTraining"], datalist["numValidation"], datalist["numTest"]) == (0, 0, 120)
    assert not any("fold" in entry for entry in datalist["test"])
    write_datalist(datalist, tmp_path / "datalist.json")
    assert read_datalist(tmp_path / "datalist.json") == datalist


def test_provenance_may_not_overwrite_what_is_computed(records):
    options = SplitOptions()
    with pytest.raises(ValueError, match="computes itself: group_rule, test"):
        build_datalist(records, assign_splits(records, options), options, {"test": [], "group_rule": "slice"})


def test_the_file_is_read_as_it_was_written(path, datalist):
    assert read_datalist(path) == datalist


def test_monai_reads_the_file_in_its_own_way(path, datalist):
    from monai.data import load_decathlon_datalist

    entries = load_decathlon_datalist(path, is_segmentation=False, data_list_key="validation")
    assert [entry["label"] for entry in entries] == [entry["label"] for entry in datalist["validation"]]
    assert entries[0]["image"] == str(path.parent / datalist["validation"][0]["image"])


def test_the_order_of_the_slices_does_not_change_a_byte(path, records, tmp_path):
    options = SplitOptions(fold=1, seed=3)
    backwards = records[::-1]
    other = tmp_path / "other.json"
    write_datalist(build_datalist(backwards, assign_splits(backwards, options), options, PROVENANCE), other)
    assert other.read_bytes() == path.read_bytes()
    assert path.read_bytes().endswith(b"}\n")


def test_a_list_that_leaks_or_is_malformed_is_not_written(path, datalist):
    before = path.read_bytes()
    leaking = copy.deepcopy(datalist)
    leaking["test"].append(leaking["training"].pop())
    leaking["numTest"] += 1
    leaking["numTraining"] -= 1
    with pytest.raises(LeakageError):
        write_datalist(leaking, path)
    del datalist["numTest"]
    with pytest.raises(ValueError, match="numTest is missing"):
        write_datalist(datalist, path)
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["datalist.json", "images.npy", "masks.npy"]


def test_a_list_is_replaced_and_not_written_over(path, datalist):
    before = path.read_bytes()
    os.link(path, path.parent / "old name")
    write_datalist({**datalist, "name": "another"}, path)
    assert (path.parent / "old name").read_bytes() == before
    assert read_datalist(path)["name"] == "another"


def test_a_write_that_the_system_cuts_short_leaves_the_old_list(path):
    before = path.read_bytes()
    code = (
        "import json, pathlib, resource, sys; from kdmri_monai.data.datalist import write_datalist\n"
        "path = pathlib.Path(sys.argv[1]); datalist = json.loads(path.read_text())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "datalist['name'] = 'another'\n"
        "try:\n    write_datalist(datalist, path)\n"
        "except OSError as error:\n    sys.exit(0 if 'too large' in str(error) else 3)\n"
        "sys.exit(4)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["datalist.json", "images.npy", "masks.npy"]


@pytest.mark.parametrize("part", PARTS)
def test_entries_come_with_absolute_paths_that_keep_their_row(path, datalist, part, monkeypatch):
    monkeypatch.chdir(path.parent)
    entries = load_split("datalist.json", part)
    assert len(entries) == len(datalist[part])
    for loaded, entry in zip(entries, datalist[part], strict=True):
        expected = {key: entry[key] for key in ("label", "patient", "family", "id", "source", "sha256")}
        expected |= {"plane": entry["plane"]} if "plane" in entry else {}
        expected |= {key: f"{path.parent}/{entry[key]}" for key in ("image", "mask") if key in entry}
        assert loaded == expected


def test_neither_the_size_nor_the_fold_of_a_slice_is_handed_on(path):
    assert not {"size", "fold", "patient_source"} & {key for entry in load_split(path, "training") for key in entry}


def test_an_unknown_split_is_refused_with_those_that_there_are(path):
    with pytest.raises(ValueError, match="split is 'train', allowed are training, validation, test"):
        load_split(path, "train")


def test_an_empty_split_is_refused_with_those_that_are_filled(path):
    def empty(content):
        content["validation"], content["numValidation"] = [], 0

    rewrite(path, empty)
    with pytest.raises(ValueError, match=r"datalist\.json: validation is empty; slices are in training, test"):
        load_split(path, "validation")


def test_a_missing_list_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"kdmri prepare SOURCE {tmp_path}"):
        load_split(tmp_path / "datalist.json", "training")


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
def test_a_missing_store_is_named(path, name):
    (path.parent / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}, named in .*datalist\.json, does not exist"):
        load_split(path, "training")


@pytest.mark.parametrize("part", PARTS)
def test_a_leak_in_any_split_is_refused_whichever_split_is_loaded(path, part):
    def leak(content):
        content["test"].append(content["training"].pop(0))
        content["numTest"] += 1
        content["numTraining"] -= 1

    rewrite(path, leak)
    with pytest.raises(LeakageError, match="training and test"):
        load_split(path, part)


@pytest.mark.parametrize("key", ["image", "mask"])
@pytest.mark.parametrize("text", ["../images.npy#0", "/etc/passwd#0", "a/../../images.npy", "..", ".", "../data # 1/x"])
def test_a_path_that_leaves_the_folder_is_refused(path, key, text):
    rewrite(path, lambda content: content["training"][1].update({key: text}))
    with pytest.raises(
        ValueError, match=rf"datalist\.json: training, entry 1: {key} is .*, expected a path inside the folder"
    ):
        load_split(path, "training")


def test_a_path_without_a_row_and_one_in_a_subfolder_are_made_absolute(path):
    (path.parent / "more").mkdir()
    (path.parent / "more" / "1.png").touch()
    rewrite(path, lambda content: content["training"][0].update(image="more/x/../1.png"))
    assert load_split(path, "training")[0]["image"] == f"{path.parent}/more/1.png"


@pytest.mark.parametrize("spelling", ["./{file}#{row}", "{file}#0{row}", "more/..//{file}#{row}"])
def test_one_row_of_the_store_spelled_in_two_ways_is_one_image(path, spelling):
    def spell(content):
        file, row = content["training"][0]["image"].split("#")
        content["test"][0]["image"] = spelling.format(file=file, row=row)

    rewrite(path, spell)
    with pytest.raises(LeakageError, match="stored images in more than one split: 1"):
        load_split(path, "test")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("label", 3, "a whole number 0 .. 2"),
        ("label", -1, "a whole number 0 .. 2"),
        ("label", 1.0, "a whole number 0 .. 2"),
        ("label", True, "a whole number 0 .. 2"),
        ("label", "1", "a whole number 0 .. 2"),
        ("patient", 100360, "a text"),
        ("patient", " ", "a text"),
        ("family", None, "a text"),
        ("id", 17, "a text"),
        ("image", "images.npy\0#1", "a path inside the folder of the datalist"),
        ("mask", "", "a path inside the folder of the datalist"),
        ("mask", 4, "a path inside the folder of the datalist"),
        ("source", [], "a text"),
        ("patient_source", {}, "a text"),
        ("size", [512], "two whole numbers"),
        ("size", [512, 0], "two whole numbers"),
        ("size", 512, "two whole numbers"),
        ("sha256", "abc", "64 hexadecimal digits"),
        ("sha256", "A" * 64, "64 hexadecimal digits"),
        ("sha256", "a" * 65, "64 hexadecimal digits"),
        ("sha256", 5, "64 hexadecimal digits"),
        ("fold", -1, "a whole number from 0"),
        ("plane", "oblique", "one of axial, coronal, sagittal"),
        ("plane", ["axial"], "one of axial, coronal, sagittal"),
    ],
)
def test_a_wrong_field_is_refused_with_file_split_entry_and_field(path, field, value, expected):
    rewrite(path, lambda content: content["validation"][2].update({field: value}))
    with pytest.raises(ValueError, match="expected") as caught:
        read_datalist(path)
    assert f"{path}: validation, entry 2: {field} is {value!r}, expected {expected}" in str(caught.value)


@pytest.mark.parametrize(
    "field", ["image", "label", "patient", "family", "id", "source", "patient_source", "size", "sha256"]
)
def test_a_missing_field_is_refused_with_file_split_entry_and_field(path, field):
    rewrite(path, lambda content: content["test"][0].pop(field))
    with pytest.raises(ValueError, match="missing") as caught:
        read_datalist(path)
    assert str(caught.value) == f"{path}: test, entry 0: {field} is missing"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.update(format="kdmri-datalist-9"), "format is 'kdmri-datalist-9', this version reads"),
        (lambda content: content.pop("format"), "format is None, this version reads 'kdmri-datalist-1'"),
        (lambda content: content.pop("test"), "test is missing"),
        (lambda content: content.pop("group_rule"), "group_rule is missing"),
        (lambda content: content.update(test={}), r"test is \{\}, expected a list"),
        (lambda content: content.update(numClasses=4), "numClasses is 4, expected 3"),
        (lambda content: content["training"].pop(), "numTraining is .*, but training has"),
        (lambda content: content["test"].__setitem__(1, "x"), "test, entry 1: expected an object, got 'x'"),
        (lambda content: content["test"][1].update(id=content["test"][0]["id"]), "test, entry 1: id .* stands twice"),
    ],
)
def test_a_list_of_another_form_is_refused(path, edit, message):
    rewrite(path, edit)
    with pytest.raises(ValueError, match=message) as caught:
        read_datalist(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a JSON file"),
        (b'{"format": ', "not a JSON file: .*line 1"),
        (b"\xff\xfe", "not a JSON file"),
        (b"[1, 2]", r"expected a JSON object, got \[1, 2\]"),
        (b'{"test": [1], "test": []}', "keys stand twice in one object: test"),
    ],
)
def test_what_is_no_datalist_at_all_is_refused(tmp_path, content, message):
    path = tmp_path / "datalist.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_datalist(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("rule", ["slice", "Patient"])
def test_an_unknown_group_rule_is_refused_when_a_split_is_loaded(path, rule):
    rewrite(path, lambda content: content.update(group_rule=rule))
    with pytest.raises(LeakageError, match=f"group_rule is '{rule}'"):
        load_split(path, "training")
