"""How patient families are drawn for a bootstrap, and the weightings that tell what each of them does to a metric.

A family is drawn with all of its slices, because slices of one patient are near-copies of one another; every class
keeps its number of families. Where percentiles are used, those of so few independent units are too narrow, so they are
taken further out.

Sources: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 2.7 (influence), 3.2 (strata),
3.8 (clusters) and 5.3 (percentiles); Hesterberg, "What teachers should know about the bootstrap", The American
Statistician 2015 (expanded percentiles). Differs: G families in S classes take the t distribution with G - S degrees of
freedom and the mean number of families of a class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from kdmri_monai.evaluation.predictions import Predictions

NUDGE = 1e-4
"""How much more a family counts where its influence is found; results change by this share of themselves at most."""


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is done.

    Attributes:
        replicates: Number of replicates, at least 1.
        level: Nominal coverage, above 0 and below 1.
        seed: Seed of the draws; the same seed and families give the same draws for every table.

    Raises:
        ValueError: ``replicates`` or ``level`` is out of range.
    """

    replicates: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.replicates < 1:
            raise ValueError(f"replicates is {self.replicates}, at least 1 is needed")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}, allowed is above 0 and below 1")


def family_classes(predictions: Predictions) -> NDArray[np.int64]:
    """The most frequent label of every family, the first of equals, shape ``(G,)``, families in sorted order."""
    families, family = np.unique(predictions.family, return_inverse=True)
    shape = (len(families), len(predictions.classes))
    votes = np.bincount(family * shape[1] + predictions.label, minlength=shape[0] * shape[1]).reshape(shape)
    return votes.argmax(axis=1).astype(np.int64)


def family_weights(stratum: NDArray[np.int64], resampling: Resampling) -> NDArray[np.int64]:
    """How often every family is drawn in every replicate.

    Args:
        stratum: Class of every family, shape ``(G,)``.
        resampling: Number of replicates and seed.

    Returns:
        Counts, shape ``(R, G)``; the families of a class sum to their number.
    """
    generator = np.random.default_rng(resampling.seed)
    weights = np.zeros((resampling.replicates, len(stratum)), dtype=np.int64)
    for k in np.unique(stratum):
        members = np.flatnonzero(stratum == k)
        even = np.full(len(members), 1 / len(members))
        weights[:, members] = generator.multinomial(len(members), even, size=resampling.replicates)
    return weights


def probe_weights(stratum: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weightings that show a metric as it is, what each family does to it, and which classes it is made of.

    Args:
        stratum: Class of every family, shape ``(G,)``; S different ones.

    Returns:
        Weights, shape ``(1 + G + S, G)``: 1 for every family; for each family in turn ``NUDGE`` more for it; for each
        class in ascending order, 1 for its families and 0 for the others.
    """
    even = np.ones((1, len(stratum)))
    alone = np.unique(stratum)[:, None] == stratum
    return np.concatenate((even, even + NUDGE * np.eye(len(stratum)), alone.astype(np.float64)))


def expanded_tail(level: float, groups: int, strata: int) -> float:
    """Share of the replicates beyond each bound, so that the interval is as wide as one of Student's t.

    Args:
        level: Nominal coverage, above 0 and below 1.
        groups: Number of families G.
        strata: Number of classes S among them.

    Returns:
        ``Phi(-t sqrt(m / (m - 1)))`` with ``m = G / S`` and t the quantile for G - S degrees of freedom; a little
        below ``(1 - level) / 2``. NaN where G is S.
    """
    if groups <= strata:
        return float("nan")
    spread = np.sqrt(groups / (groups - strata))
    return float(ndtr(stdtrit(groups - strata, (1 - level) / 2) * spread))
