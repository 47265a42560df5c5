"""Predictions as a CSV file: one row a slice, full precision, read back exactly as written."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdmri_monai.data.atomic import replacing
from kdmri_monai.evaluation.errors import PredictionError
from kdmri_monai.evaluation.predictions import Predictions, probability_columns

NAMES = ("id", "patient", "family", "label", "prediction")


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Writes id, patient, family, label, prediction and one ``p_<class>`` column a class.

    Args:
        predictions: Table to be written. Labels are 0..K-1; floats are written so that reading gives the same bits.
        path: File to be written or replaced.

    Raises:
        ValueError: A class name holds an underscore, which stands for a blank in the header.
        OSError: The file cannot be written; an older one is then as it was.
    """
    for name in predictions.classes:
        if "_" in name:
            raise ValueError(f"class name {name!r} holds an underscore, which stands for a blank in the header")
    columns = (predictions.id, predictions.patient, predictions.family, predictions.label, predictions.prediction)
    rows = zip(*(column.tolist() for column in columns), predictions.probabilities.tolist(), strict=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*NAMES, *probability_columns(predictions.classes)])
        writer.writerows([*row[:-1], *map(repr, row[-1])] for row in rows)


def read_predictions(path: Path) -> Predictions:
    """Reads and checks a predictions file.

    Args:
        path: CSV file with the columns that ``write_predictions`` writes, in any order; further columns are
            not read.

    Returns:
        The table; its classes are those of the ``p_`` columns, in the order of the header.

    Raises:
        PredictionError: The file is not such a table; the message names file, row (from 1, below the header)
            and column.
        OSError: The file cannot be read.
    """
    try:
        header, rows = _read_cells(path)
        return _parse(header, rows)
    except PredictionError as error:
        raise error.in_file(path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PredictionError(f"is not a CSV file in UTF-8: {error}", path=path) from None


def _read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:  # a spreadsheet may have put a byte-order mark
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        rows = [row for row in reader if row]
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise PredictionError("stands twice in the header", column=min(repeated))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise PredictionError(f"has {len(row)} cells, the header has {len(header)}", number)
    return header, rows


def _parse(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Predictions:
    probabilities = [name for name in header if name.startswith("p_")]
    for name in NAMES:
        if name not in header:
            raise PredictionError("is missing", column=name)
    if len(probabilities) < 2:
        raise PredictionError(f"{len(probabilities)} found, at least 2 are needed", column="p_<class>")
    names = {name: [row[header.index(name)] for row in rows] for name in ("id", "patient", "family")}
    label, prediction = (_whole_numbers(rows, header.index(name), name) for name in ("label", "prediction"))
    values = [_numbers(rows, header.index(name), name) for name in probabilities]
    table = Predictions(
        **{name: np.array(cells, dtype=np.str_) for name, cells in names.items()},
        label=np.array(label, dtype=np.int64),
        probabilities=np.array(values, dtype=np.float64).T.reshape(len(rows), len(probabilities)),
        classes=tuple(name[2:].replace("_", " ") for name in probabilities),
    )
    _check_prediction(table, prediction)
    return table


def _whole_numbers(rows: Sequence[Sequence[str]], column: int, name: str) -> list[int]:
    numbers = []
    for number, row in enumerate(rows, start=1):
        try:
            numbers.append(int(np.int64(int(row[column]))))
        except (ValueError, OverflowError):
            raise PredictionError(f"{row[column]!r} is not a whole number of 64 bits", number, name) from None
    return numbers


def _numbers(rows: Sequence[Sequence[str]], column: int, name: str) -> list[float]:
    numbers = []
    for number, row in enumerate(rows, start=1):
        try:
            numbers.append(float(row[column]))
        except ValueError:
            raise PredictionError(f"{row[column]!r} is not a number", number, name) from None
    return numbers


def _check_prediction(table: Predictions, prediction: Sequence[int]) -> None:
    wrong = np.flatnonzero(table.prediction != np.array(prediction))
    if wrong.size:
        at = int(wrong[0])
        raise PredictionError(
            f"is {prediction[at]}, the most probable class is {table.prediction[at]}", at + 1, "prediction"
        )
