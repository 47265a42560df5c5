"""McNemar's test of two networks on the same patients: does one decide more of them rightly than the other?"""

from dataclasses import dataclass

from scipy.stats import binomtest

from kdmri_monai.evaluation.independent_rows import check_independent
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions


@dataclass(frozen=True)
class McNemar:
    """Where two networks are not both right or both wrong.

    Attributes:
        only_candidate: Number of patients that the candidate alone decides rightly.
        only_reference: Number of patients that the reference alone decides rightly.
        n: Number of patients.
        p: Exact two-sided p-value; 1 where no patient tells them apart.
    """

    only_candidate: int
    only_reference: int
    n: int
    p: float


def mcnemar(candidate: Predictions, reference: Predictions) -> McNemar:
    """Exact McNemar test.

    Of the patients on which one network alone is right, each should be right on half, whatever the classes: a binomial
    test. It is about accuracy, so a frequent class counts more than a rare one, other than in balanced accuracy.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
        Psychometrika 1947; the exact form: Liddell, "Simplified exact analysis of case-referent studies", Journal of
        Epidemiology and Community Health 1983.

    Args:
        candidate: Table with one row a patient, and no two patients of a family (see ``by_family``).
        reference: Table over the same ids; their order does not matter.

    Raises:
        ComparisonError: Several rows of a patient or a family; tables that differ in classes, ids, labels, patients or
            families.
    """
    candidate = aligned(candidate, reference)
    check_independent(reference, "McNemar's test")
    right, was_right = (table.prediction == table.label for table in (candidate, reference))
    gained, lost = int((right & ~was_right).sum()), int((was_right & ~right).sum())
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return McNemar(gained, lost, len(reference), float(p))
