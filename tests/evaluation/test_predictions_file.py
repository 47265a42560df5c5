import csv

import numpy as np
import pytest

from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions

HEADER = "id,patient,family,label,prediction,p_meningioma,p_glioma,p_pituitary_tumour"
GOOD = ["7,MR1A,MR1,1,1,0.25,0.5,0.25", "8,100360,100360,0,2,0.1,0.2,0.7"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test_predictions.csv"


def test_reading_gives_back_the_same_bits(predictions, path):
    write_predictions(predictions, path)
    again = read_predictions(path)
    for column in ("id", "patient", "family", "label", "probabilities"):
        np.testing.assert_array_equal(getattr(again, column), getattr(predictions, column))
    assert again.classes == predictions.classes == ("meningioma", "glioma", "pituitary tumour")


def test_extremes_and_awkward_names_survive(path):
    tiny = np.array([[5e-324, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    names = np.array(['a "quoted", name', "Ä\nnewline"])
    write_predictions(Predictions(names, names, names, np.array([0, 1]), tiny), path)
    again = read_predictions(path)
    np.testing.assert_array_equal(again.probabilities, tiny)
    assert again.id.tolist() == again.family.tolist() == names.tolist()


def test_the_file_is_plain_for_others_to_read(predictions, path):
    write_predictions(predictions, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == HEADER
    assert len(rows) == len(predictions)
    assert [int(row["prediction"]) for row in rows] == predictions.probabilities.argmax(axis=1).tolist()


def test_columns_may_stand_in_any_order_and_others_are_not_read(path):
    path.write_text(
        "\ufeffplane,p_meningioma,p_glioma,p_pituitary_tumour,label,prediction,family,patient,id\n"
        "axial,0.25,0.5,0.25,1,1,F,P,7\n",
        encoding="utf-8",
    )
    table = read_predictions(path)
    assert (table.id[0], table.patient[0], table.family[0], table.label[0]) == ("7", "P", "F", 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("8,P,F,3,2,0.1,0.2,0.7", "row 2: column label: is 3, allowed are 0..2"),
        ("8,P,F,one,2,0.1,0.2,0.7", "row 2: column label: 'one' is not a whole number"),
        ("8,P,F,99999999999999999999,2,0.1,0.2,0.7", "row 2: column label: '9{20}' is not a whole number of 64 bits"),
        ("8,P,F,0,1,0.1,0.2,0.7", "row 2: column prediction: is 1, the most probable class is 2"),
        ("8,P,F,0,2,0.1,high,0.7", "row 2: column p_glioma: 'high' is not a number"),
        ("8,P,F,0,2,0.1,,0.7", "row 2: column p_glioma: '' is not a number"),
        ("8,P,F,0,2,0.1,nan,0.7", "row 2: column p_glioma: nan is outside"),
        ("8,P,F,0,0,1.3,-0.2,-0.1", "row 2: column p_meningioma: 1.3 is outside"),
        ("8,P,F,0,2,0.1,0.2,0.6", "row 2: column p_meningioma .* sum is 0.9, not 1"),
        ("7,P,F,0,2,0.1,0.2,0.7", "row 2: column id: '7' already stands in row 1"),
        ("8,,F,0,2,0.1,0.2,0.7", "row 2: column patient: is empty"),
        ("8,P,F,0,2,0.1,0.2", "row 2: has 7 cells, the header has 8"),
        ('8,P,"F,0,2,0.1,0.2,0.7', "is not a CSV file"),
    ],
)
def test_a_bad_row_is_named_with_file_and_column(path, line, message):
    path.write_text("\n".join([HEADER, GOOD[0], line, ""]), encoding="utf-8")
    with pytest.raises(PredictionError, match=message) as error:
        read_predictions(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("name", ["id", "patient", "family", "label", "prediction"])
def test_a_missing_column_is_named(path, name):
    place = HEADER.split(",").index(name)
    rows = [",".join(cell for at, cell in enumerate(row.split(",")) if at != place) for row in (HEADER, *GOOD)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(PredictionError, match=f"{path.name}: column {name}: is missing"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column id: is missing"),
        (HEADER.encode(), "the table has no rows"),
        (b"id,patient,family,label,prediction,p_glioma\n7,P,F,0,0,1", "column p_<class>: 1 found, at least 2"),
        ((HEADER + ",id\n" + GOOD[0] + ",9").encode(), "column id: stands twice in the header"),
        ((HEADER + "\n").encode() + b"\xff\xfe,P,F,0,2,0.1,0.2,0.7", "is not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(PredictionError, match=message):
        read_predictions(path)


def test_a_class_name_that_the_header_cannot_hold_is_refused(path):
    table = Predictions(["1"], ["P"], ["F"], [0], [[0.5, 0.5]], ("low_grade", "high grade"))
    with pytest.raises(ValueError, match="'low_grade' holds an underscore"):
        write_predictions(table, path)
    assert not path.exists()


def test_a_failed_write_leaves_the_older_file(predictions, path, monkeypatch):
    path.write_text("older", encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_predictions(predictions, path)
    assert path.read_text(encoding="utf-8") == "older"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
