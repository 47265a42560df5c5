"""Data with other classes than the three tumours: names, labels, datalist, messages."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.class_choice import chosen_classes
from kdmri_monai.data.class_names import check_classes, class_of_name, parse_label
from kdmri_monai.data.crossfit import crossfit_datalists
from kdmri_monai.data.datalist import check_num_classes, read_classes, read_datalist
from kdmri_monai.data.datalist_format import check_format
from kdmri_monai.data.errors import BadSourceError
from kdmri_monai.data.leakage import held_out_families, training_digests
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions
from kdmri_monai.data.summary import render_summary
from kdmri_monai.data.taxonomy import CLASSES

GRADES = ("low grade", "high grade")


def save_noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path):
    """Two slices of each of eight patients a class, folders named as people do; one folder of no class."""
    root = tmp_path / "pictures"
    for number in range(32):
        home = root / ("High-Grade", "low_grade")[number % 2] / f"p{number // 4}-{number % 2}"
        save_noise(home / f"{number}.png", number)
    save_noise(root / "unsure" / "x.png", 99)
    return root


@pytest.fixture
def table(tmp_path):
    """Six patients of three grades, labelled by number."""
    root = tmp_path / "table"
    rows = [["path", "label", "patient"]]
    for number in range(12):
        save_noise(root / f"{number}.png", number)
        rows.append([f"{number}.png", f"{2 + number // 2 % 3}", f"P{number // 2}"])
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def prepare(source, out, split=None, **options):
    options = PrepareOptions(store_size=32, workers=1, **options)
    return prepare_dataset(source, out, options, split or SplitOptions(external=True), progress=False)


def entries(datalist):
    return [entry for split in ("training", "validation", "test") for entry in datalist[split]]


def as_text(renderable):
    console = Console(width=120)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_labels_follow_the_order_of_the_names_and_not_that_of_the_folders(folders, tmp_path):
    datalist = prepare(folders, tmp_path / "out", classes=GRADES).datalist
    assert (datalist["classes"], datalist["numClasses"]) == (["low grade", "high grade"], 2)
    assert {(entry["id"].split("/")[0], entry["label"]) for entry in entries(datalist)} == {
        ("low_grade", 0),
        ("High-Grade", 1),
    }
    assert [finding["name"] for finding in datalist["skipped"]] == ["unsure"]
    assert "is not one of the classes low grade, high grade" in datalist["skipped"][0]["reason"]
    assert "tumour" not in datalist["description"]
    turned = prepare(folders, tmp_path / "turned", classes=GRADES[::-1]).datalist
    assert [1 - entry["label"] for entry in entries(turned)] == [entry["label"] for entry in entries(datalist)]


def test_the_summary_names_these_classes_alone(folders, tmp_path):
    result = prepare(folders, tmp_path / "out", SplitOptions(folds=3), classes=GRADES)
    table = result.counts["table"]
    assert list(table["all"]) == ["low grade", "high grade", "all"]
    assert [table["all"][name]["slices"] for name in GRADES] == [16, 16]
    shown = as_text(render_summary(result.counts, result.datalist["notes"]))
    assert "low grade" in shown
    assert not any(name in shown for name in CLASSES)


def test_notes_and_refusals_speak_of_these_classes(table, tmp_path):
    with (table / "labels.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["11.png", "1", "P5"])
    rows = (table / "labels.csv").read_text().replace("P4", "P5")
    (table / "labels.csv").write_text(rows)
    datalist = prepare(table, tmp_path / "out", classes=("a", "b", "c", "d")).datalist
    assert any("(" in finding["reason"] and "d in 2" in finding["reason"] for finding in datalist["skipped"])
    assert datalist["notes"] == ["the test part has no a"]


def test_numbers_are_labels_from_one_and_names_where_a_class_is_called_so(table, tmp_path):
    by_number = prepare(table, tmp_path / "a", classes=("one", "two", "three", "four")).datalist
    by_name = prepare(table, tmp_path / "b", classes=("2", "3", "4")).datalist
    assert [entry["label"] for entry in entries(by_number)] == [1, 1, 2, 2, 3, 3] * 2
    assert [entry["label"] for entry in entries(by_name)] == [0, 0, 1, 1, 2, 2] * 2
    with pytest.raises(ValueError, match="is '1', allowed are 2, 3, 4"):
        parse_label("1", ("2", "3", "4"))
    with pytest.raises(ValueError, match=r"is '3', allowed are 1\.\.2 or low grade, high grade"):
        parse_label("3", GRADES)
    assert class_of_name("glioma", GRADES) is None
    assert [class_of_name(name, ("grade 2", "grade 2+")) for name in ("Grade_2", "GRADE 2+", "grade")] == [0, 1, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("low grade,high grade", ("low grade", "high grade")),
        (" Grade_II , grade (IV)", ("Grade II", "grade (IV)")),
        (None, CLASSES),
    ],
)
def test_names_are_given_on_the_command_line(tmp_path, text, expected):
    assert chosen_classes(text, tmp_path) == expected


def test_names_come_from_a_file_from_folders_or_from_the_labels_of_a_table(folders, table, tmp_path):
    (tmp_path / "names.txt").write_text("\ufeffzwei\n\nein_s\n", encoding="utf-8")
    assert chosen_classes(str(tmp_path / "names.txt"), folders) == ("zwei", "ein s")
    assert chosen_classes("found", folders) == ("High-Grade", "low grade", "unsure")
    assert chosen_classes("found", table) == ("2", "3", "4")
    assert chosen_classes("found", table / "labels.csv") == ("2", "3", "4")
    save_noise(tmp_path / "parted" / "train" / "a" / "1.png", 1)
    save_noise(tmp_path / "parted" / "test" / "a" / "1.png", 2)
    with pytest.raises(BadSourceError, match=r"its folders \(test, train\) are not named after classes"):
        chosen_classes("found", tmp_path / "parted")
    with pytest.raises(BadSourceError, match="has no table and no folders with pictures"):
        chosen_classes("found", folders / "unsure")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("one",), "at least two are needed"),
        (("a", "A"), "'a' and 'A' differ in nothing but case"),
        (("low-grade", "low grade"), "differ in nothing but case or separators"),
        (("a", "all"), "'all' is not allowed"),
        (("a", "b/c"), "'b/c' is not allowed"),
        (("a", "b_c"), "'b_c' is not allowed"),
        (("a", "b, c"), "'b, c' is not allowed"),
        (("a", "=cmd"), "'=cmd' is not allowed"),
        (("a", "x. y"), "'x. y' is not allowed"),
        (("a", " b"), "' b' is not allowed"),
        (("a", "b\nc"), "is not allowed"),
        (("a", "b" * 61), "at most 60 characters"),
    ],
)
def test_names_that_a_table_could_not_bear_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        check_classes(names)
    with pytest.raises(ValueError, match=message):
        PrepareOptions(classes=names)


def test_folders_of_other_classes_are_pointed_to_the_option(folders, tmp_path):
    with pytest.raises(BadSourceError, match=r"meningioma, glioma or pituitary tumour; for other classes name them"):
        prepare(folders, tmp_path / "out")


def test_files_of_the_figshare_set_keep_their_three(cjdata, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1.mat").write_bytes(cjdata())
    with pytest.raises(BadSourceError, match="holds cjdata files, whose classes are meningioma, glioma, pituitary"):
        prepare(tmp_path / "files", tmp_path / "out", classes=GRADES)


def test_classes_decide_the_fingerprint_and_the_three_leave_it_as_it_was(folders, tmp_path):
    assert "classes" not in PrepareOptions().as_dict()
    assert prepare(folders, tmp_path / "out", classes=GRADES).action == "prepared"
    assert prepare(folders, tmp_path / "out", classes=GRADES).action == "nothing to do"
    with pytest.raises(BadSourceError):
        prepare(folders, tmp_path / "out", classes=GRADES[::-1])


@pytest.fixture
def datalist_path(folders, tmp_path):
    prepare(folders, tmp_path / "out", SplitOptions(folds=4, validation=0.2), classes=GRADES)
    return tmp_path / "out" / "datalist.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(numClasses=3), "numClasses is 3, expected 2: low grade, high grade"),
        (lambda content: content.update(numClasses=1), "numClasses is 1, expected a whole number from 2"),
        (lambda content: content.pop("classes"), r"numClasses is 2, expected 3: .*\(classes is missing\)"),
        (lambda content: content.update(classes="ab"), "classes is 'ab', expected a list of names"),
        (lambda content: content.update(classes=["a", "a"]), "differ in nothing but case"),
        (
            lambda content: content["test"][0].update(label=2),
            r"test, entry 0: label is 2, expected .* 0 \.\. 1",
        ),
    ],
)
def test_a_datalist_whose_classes_do_not_fit_is_refused(datalist_path, change, message):
    content = json.loads(datalist_path.read_text())
    change(content)
    with pytest.raises(ValueError, match=message):
        check_format(content, "D/datalist.json")


def test_a_datalist_without_names_has_the_three(datalist_path, tmp_path):
    content = json.loads(datalist_path.read_text())
    del content["classes"]
    content["numClasses"] = 3
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert read_classes(tmp_path / "old.json") == list(CLASSES)
    assert read_classes(datalist_path) == list(GRADES)
    assert read_classes(tmp_path / "none.json") == list(CLASSES)


def test_another_number_of_classes_is_refused_by_both_numbers(datalist_path, tmp_path):
    check_num_classes(datalist_path, 2)
    with pytest.raises(ValueError, match=r"has 2 classes \(low grade, high grade\), num_classes is 3"):
        check_num_classes(datalist_path, 3)
    with pytest.raises(FileNotFoundError):
        check_num_classes(tmp_path / "none.json", 3)


def test_crossfitted_lists_keep_the_classes_and_name_the_one_that_is_lost(datalist_path):
    for path in crossfit_datalists(datalist_path, parts=2):
        assert read_datalist(path)["classes"] == list(GRADES)
    content = json.loads(datalist_path.read_text())
    low = {entry["family"] for entry in content["training"] if entry["label"] == 0}
    kept = min(low)
    content["training"] = [e for e in content["training"] if e["label"] == 1 or e["family"] == kept]
    content["numTraining"] = len(content["training"])
    datalist_path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no low grade is left to train on"):
        crossfit_datalists(datalist_path, parts=2)


def test_held_out_families_count_by_every_name_and_digests_are_those_of_training(datalist_path):
    content = read_datalist(datalist_path)
    content["test"][0]["family"] = "somebody else"
    names = held_out_families(content)
    assert {"somebody else", content["test"][0]["patient"], content["validation"][0]["family"]} <= names
    assert not names & {entry["family"] for entry in content["training"]}
    assert training_digests(content) == {entry["sha256"] for entry in content["training"]}


def test_the_command_takes_the_names_and_shows_the_classes(folders, tmp_path):
    given = ["prepare", str(folders), str(tmp_path / "out"), "--size", "32", "--workers", "1", "--external", "--quiet"]
    told = CliRunner().invoke(app, [*given, "--classes", "low grade,high_grade"])
    assert told.exit_code == 0, told.output
    assert "high grade" in told.output
    assert read_classes(tmp_path / "out" / "datalist.json") == list(GRADES)
    told = CliRunner().invoke(app, [*given, "--classes", "low grade"])
    assert told.exit_code != 0
    assert "at least two are needed" in told.output
