"""Two tables of predictions are compared over the same slices, or not at all."""

from collections.abc import Collection

import numpy as np

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.predictions import Predictions

NAMED = 5
"""How many slices an error names before it only counts them."""


def aligned(candidate: Predictions, reference: Predictions) -> Predictions:
    """The rows of ``candidate`` in the order of ``reference``.

    Args:
        candidate: Table to be brought into order.
        reference: Table over the same ids.

    Returns:
        The candidate's rows; ids, labels, patients and families equal the reference's.

    Raises:
        ComparisonError: Classes, ids, labels, patients or families differ; the message names up to five slices.
    """
    if candidate.classes != reference.classes:
        raise ComparisonError(f"classes differ: {', '.join(candidate.classes)} and {', '.join(reference.classes)}")
    row = {name: number for number, name in enumerate(candidate.id.tolist())}
    missing = [name for name in reference.id.tolist() if name not in row]
    known = set(reference.id.tolist())
    added = [name for name in row if name not in known]
    if missing or added:
        parts = [f"{len(missing)} missing ({_some(missing)})"] if missing else []
        parts += [f"{len(added)} more ({_some(added)})"] if added else []
        raise ComparisonError(f"slices differ: {', '.join(parts)}")
    ordered = candidate.take(np.array([row[name] for name in reference.id.tolist()], dtype=np.intp))
    for column in ("label", "patient", "family"):
        differs = getattr(ordered, column) != getattr(reference, column)
        if differs.any():
            raise ComparisonError(f"{column} differs for {_some(reference.id[differs].tolist())}")
    return ordered


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMED])
    return shown + (f" and {len(names) - NAMED} others" if len(names) > NAMED else "")
