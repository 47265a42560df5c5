"""Accuracy by kinds of slices: plane, tumour area, source of the patient id, slices of the patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.metrics_file import id_source
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling

NAMED = 5
"""How many slices an error names before it only counts them."""

Levels = tuple[tuple[str, ...], NDArray[np.int64]]
"""Names of the levels, and the number of the level of every slice, shape ``(N,)``; -1 for none."""


@dataclass(frozen=True, eq=False)
class Strata:
    """Slices of a table by kind.

    Attributes:
        levels: By stratum: ``plane``, ``tumour_area``, ``id_source``, and ``slices_of_patient``, how many slices of
            the patient stand in the table.
        absent: Why a stratum is not among them.
    """

    levels: dict[str, Levels]
    absent: dict[str, str]


def tumour_areas(datalist: Path, split: str) -> dict[str, float]:
    """Share of the stored image that is tumour, 0..1, by id; slices without a mask are left out.

    Args:
        datalist: ``datalist.json``; the masks are found beside it and mapped, not loaded.
        split: "training", "validation" or "test".

    Raises:
        FileNotFoundError: No datalist, or no store.
        IndexError: The store has fewer rows than an entry asks for.
        LeakageError: The datalist leaks.
        ValueError: An unknown or empty split, a datalist of another form, or a file that is not a store.
    """
    areas = {}
    for entry in load_split(Path(datalist), split):
        if "mask" not in entry:
            continue
        path, row = split_reference(entry["mask"])
        store = open_store(path)
        if row >= len(store):
            raise IndexError(f"{path} has {len(store)} rows, counted from 0; slice {entry['id']} asks for row {row}")
        areas[entry["id"]] = float(np.count_nonzero(store[row]) / store[row].size)
    return areas


def find_strata(
    predictions: Predictions, entries: Sequence[Mapping[str, Any]], areas: Mapping[str, float] | None = None
) -> Strata:
    """Sorts the slices of a table by kind.

    Args:
        predictions: One row a slice.
        entries: Those of the datalist, ``id`` and where it is known ``plane``; further entries do not matter.
        areas: Tumour area by id, from ``tumour_areas``; the levels are the terciles of the slices of the table that
            have one.

    Returns:
        The strata; levels without slices are left out.

    Raises:
        ComparisonError: A slice has no entry; up to five are named.
    """
    entry_of = {str(entry["id"]): entry for entry in entries}
    ids = predictions.id.tolist()
    unknown = [name for name in ids if name not in entry_of]
    if unknown:
        raise ComparisonError(f"{len(unknown)} slices are not in the datalist, among them {', '.join(unknown[:NAMED])}")
    levels = {
        "id_source": _named([id_source(patient) for patient in predictions.patient.tolist()]),
        "slices_of_patient": _binned(_slices_of_patient(predictions), (5, 12), ("1-5", "6-12", "13 or more")),
    }
    absent = {}
    planes = [entry_of[name].get("plane", "") for name in ids]
    if any(planes):
        levels["plane"] = _named(planes)
    else:
        absent["plane"] = "the datalist says of no slice in which plane it lies"
    sizes = np.array([(areas or {}).get(name, nan) for name in ids])
    if not np.isnan(sizes).all():
        levels["tumour_area"] = _terciles(sizes)
    else:
        absent["tumour_area"] = "no tumour areas are given" if areas is None else "no slice has a mask"
    return Strata(levels, absent)


def stratum_rows(
    predictions: Predictions, strata: Strata, resampling: Resampling | None = None
) -> list[dict[str, Any]]:
    """Accuracy of every level of every stratum.

    Args:
        predictions: The table that the strata are of.
        strata: From ``find_strata``.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default. Families are drawn within
            the level.

    Returns:
        ``stratum``, ``level``, ``n`` (slices), ``families``, ``accuracy``, ``balanced_accuracy`` (NaN where the level
        lacks a class, since it would be a mean over other classes), and ``recall`` by class: ``None`` for a class that
        is absent, else a number and its ``n``. A number is ``{"value", "low", "high"}``.
    """
    rows = []
    for stratum, (names, level) in strata.levels.items():
        for number, name in enumerate(names):
            row = _row(predictions.take(level == number), resampling)
            rows.append({"stratum": stratum, "level": name, **row})
    return rows


def _row(table: Predictions, resampling: Resampling | None) -> dict[str, Any]:
    found = bootstrap(table, resampling=resampling)
    counts = np.bincount(table.label, minlength=len(table.classes)).tolist()
    balanced = _num(found["balanced_accuracy"]) if all(counts) else dict.fromkeys(("value", "low", "high"), nan)
    recall = {
        name: {"n": n, **_num(found[f"sensitivity/{name}"])} if n else None
        for name, n in zip(table.classes, counts, strict=True)
    }
    return {
        "n": len(table),
        "families": found["accuracy"].groups,
        "accuracy": _num(found["accuracy"]),
        "balanced_accuracy": balanced,
        "recall": recall,
    }


def _slices_of_patient(predictions: Predictions) -> NDArray[np.float64]:
    _, row, count = np.unique(predictions.patient, return_inverse=True, return_counts=True)
    return count[row].astype(np.float64)


def _named(values: Sequence[str]) -> Levels:
    names = sorted(set(values) - {""})
    number = {name: place for place, name in enumerate(names)}
    return tuple(names), np.array([number.get(value, -1) for value in values], dtype=np.int64)


def _terciles(areas: NDArray[np.float64]) -> Levels:
    edges = np.nanquantile(areas, (1 / 3, 2 / 3))
    low, high = (f"{100 * edge:.2g} %" for edge in edges)
    return _binned(areas, tuple(edges.tolist()), (f"up to {low}", f"above {low}, up to {high}", f"above {high}"))


def _binned(values: NDArray[np.float64], edges: tuple[float, ...], names: tuple[str, ...]) -> Levels:
    """Levels closed on the right; those that are empty are left out, and NaN is in none."""
    place = np.where(np.isnan(values), -1, np.digitize(values, edges, right=True))
    filled = [number for number in range(len(names)) if (place == number).any()]
    renumbered = np.array([*(filled.index(n) if n in filled else -1 for n in range(len(names))), -1])
    return tuple(names[number] for number in filled), renumbered[place].astype(np.int64)


def _num(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}
