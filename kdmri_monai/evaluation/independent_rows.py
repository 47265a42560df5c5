"""Tables whose rows are independent, as textbook tests want them: one row a patient family."""

from dataclasses import replace

import numpy as np

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.predictions import Predictions, by_patient


def by_family(predictions: Predictions) -> Predictions:
    """One row a family: the mean log-probability over all of its slices, renormalised; as ``by_patient``.

    Args:
        predictions: One row a slice, or one a patient, which then all weigh the same in their family.

    Returns:
        One row a family, sorted by family; ``id`` and ``patient`` are the family.

    Raises:
        PredictionError: A family with two labels.
    """
    return by_patient(replace(predictions, patient=predictions.family))


def check_independent(predictions: Predictions, test: str) -> None:
    """Refuses a table in which a patient or a family has several rows.

    Args:
        predictions: Table for the test.
        test: Name of the test, for the message.

    Raises:
        ComparisonError: Rows belong together; it names one patient or family and the way out.
    """
    for column, way_out in (("patient", "by_patient or by_family"), ("family", "by_family")):
        names, count = np.unique(getattr(predictions, column), return_counts=True)
        if (count > 1).any():
            most = int(count.argmax())
            raise ComparisonError(
                f"{test} takes rows for independent, but {column} {str(names[most])!r} has {count[most]} of the "
                f"{len(predictions)} rows; bring the table to one row each by {way_out}"
            )
