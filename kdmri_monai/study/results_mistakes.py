"""Whose slices an arm gets wrong: a few patients as a whole, or some slices of many."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.predictions import Predictions

WORST = 10
"""Patients that are listed."""


def mistakes_of(tables: Sequence[Predictions], teacher: Predictions | None = None) -> dict[str, Any]:
    """Wrong slices of an arm by patient.

    Args:
        tables: One table a seed over the slices of all folds, the same slices in each.
        teacher: What the teacher said of these slices.

    Returns:
        ``slices`` and ``patients``, how many there are; ``wrong``, wrong slices, mean over the seeds; ``half_in``, the
        fewest patients that hold half of them; ``taught``, the share of wrong slices that the teacher has wrong
        too, ``None`` without a teacher or a mistake; ``worst``, up to ten patients by their wrong slices: ``patient``,
        ``label``, ``slices``, ``wrong``, and ``taken_for``, the most frequent wrong answer.

    Raises:
        ValueError: The tables, or the teacher's, are not of the same slices.
    """
    first = tables[0]
    wrong = np.mean([table.prediction[_rows(table, first)] != first.label for table in tables], axis=0)
    by_patient = _sums(first.patient, wrong)
    descending = sorted(by_patient.items(), key=lambda item: (-item[1], item[0]))
    return {
        "slices": len(first),
        "patients": len(by_patient),
        "wrong": float(wrong.sum()),
        "half_in": _holding_half([share for _, share in descending]),
        "taught": None if teacher is None else _share_of(teacher, first, wrong),
        "worst": [_patient(tables, name, share) for name, share in descending[:WORST] if share > 0],
    }


def _rows(table: Predictions, wanted: Predictions) -> NDArray[np.intp]:
    """Rows of ``table`` in the order of ``wanted``."""
    order = np.argsort(table.id)
    if len(table) != len(wanted) or not np.array_equal(table.id[order], np.sort(wanted.id)):
        raise ValueError("mistakes are compared on the same slices, and these tables have others")
    return order[np.searchsorted(table.id, wanted.id, sorter=order)]


def _sums(patient: NDArray[np.str_], wrong: NDArray[np.float64]) -> dict[str, float]:
    names, place = np.unique(patient, return_inverse=True)
    return dict(zip(names.tolist(), np.bincount(place, weights=wrong).tolist(), strict=True))


def _holding_half(descending: Sequence[float]) -> int:
    total = sum(descending)
    return int(np.searchsorted(np.cumsum(descending), total / 2 - 1e-9)) + 1 if total else 0


def _share_of(teacher: Predictions, first: Predictions, wrong: NDArray[np.float64]) -> float | None:
    too = teacher.prediction[_rows(teacher, first)] != first.label
    return float(wrong[too].sum() / wrong.sum()) if wrong.sum() else None


def _patient(tables: Sequence[Predictions], name: str, wrong: float) -> dict[str, Any]:
    own = [table.take(table.patient == name) for table in tables]
    answers = Counter(
        int(said) for table in own for said, true in zip(table.prediction, table.label, strict=True) if said != true
    )
    classes = tables[0].classes
    label, taken_for = int(own[0].label[0]), answers.most_common(1)[0][0]
    found = {"patient": name, "label": classes[label], "slices": len(own[0]), "wrong": round(wrong, 2)}
    return found | {"taken_for": classes[taken_for]}
