"""Weights of slices by which classes and patients count alike, however many slices they have."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

LEVELS = {"class": "label", "patient": "patient", "family": "family"}


def balanced_weights(entries: Sequence[Mapping[str, Any]], by: Sequence[str] = ("class", "patient")) -> list[float]:
    """Weights of slices: the total is shared out evenly, level by level.

    ``("class", "patient")`` gives every class the same total, within a class every patient the same, and within these
    every slice; ``("class",)`` counts every slice of a class alike; ``("patient",)`` every patient, whatever the
    class. A patient with slices of two classes has a share in both.

    Args:
        entries: Entries of a datalist, with ``label``, ``patient`` or ``family``, as the levels need.
        by: Levels from the outermost on: ``class``, ``patient``, ``family`` (patients who may be one person).

    Returns:
        A weight for every entry, in order; their mean is 1. They serve for sampling and for a weighted loss.

    Raises:
        KeyError: An entry lacks a field of a level.
        ValueError: No entries; no level, an unknown one, or one that stands twice.
    """
    if not by or set(by) - LEVELS.keys() or len(set(by)) < len(by):
        raise ValueError(f"by is {tuple(by)}, allowed are different ones of {', '.join(LEVELS)}, at least one")
    if not entries:
        raise ValueError("there are no entries to balance")
    paths = [tuple(entry[LEVELS[level]] for level in by) for entry in entries]
    groups = {path[:depth] for path in paths for depth in range(1, len(by) + 1)}
    parts = Counter(group[:-1] for group in groups)  # of every group but the innermost: groups within it
    parts.update(paths)  # of the innermost: slices
    weights = []
    for path in paths:
        weight = float(len(entries))
        for depth in range(len(by) + 1):
            weight /= parts[path[:depth]]
        weights.append(weight)
    return weights
