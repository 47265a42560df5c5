"""What a student took over from its teacher, beside a baseline that was trained alike and without one.

Everything is over the same slices. In every bootstrap replicate all tables are weighed alike, so what a hard patient
does to all of them cancels in differences and ratios. Several seeds of an arm are averaged, as by ``seed_averaged``;
intervals are those of other patients for these networks.

Sources: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015; Stanton et al., "Does knowledge
distillation really work?", NeurIPS 2021, section 3 (agreement and KL to the teacher, apart from accuracy); Fard et al.,
"Launch and iterate: reducing prediction churn", NIPS 2016 (churn); Fieller, JRSS B 1954 (when a ratio has bounds).
"""

from collections.abc import Sequence
from itertools import combinations, product
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.family_statistics import family_means
from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import FLOOR, Predictions
from kdmri_monai.evaluation.resampling import Resampling, expanded_tail, family_classes, family_weights
from kdmri_monai.evaluation.statistic import Statistic, Values, decision_statistic

CHURN = ("churn", "churn_between_baselines")
METRICS = ("balanced_accuracy", "accuracy", "macro_f1")

Array = NDArray[np.float64]
Tables = Sequence[Predictions]
Num = dict[str, float]

UNDEFINED: Num = {"value": nan, "low": nan, "high": nan}


def transfer(
    students: Tables,
    baselines: Tables,
    teacher: Predictions,
    metric: str = METRICS[0],
    resampling: Resampling | None = None,
) -> dict[str, Any]:
    """Distillation's own measures.

    Args:
        students: Tables of the distilled student, one a seed.
        baselines: Tables of the same student trained without teacher, one a seed.
        teacher: Table of the teacher.
        metric: ``balanced_accuracy``, ``accuracy`` or ``macro_f1``; S_kd, S and T below.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        ``metric``; counts ``slices``, ``families``, ``students``, ``baselines`` and ``teacher_errors`` (slices); and
        numbers ``{"value", "low", "high"}``:
        ``teacher`` T, ``student`` S_kd, ``baseline`` S, ``gain`` S_kd - S, ``gap`` T - S, ``retention`` S_kd / T;
        ``gap_closed``, gain / gap, NaN where the interval of the gap is not above zero, and then
        ``gap_closed_undefined`` says so, which else is ``None``;
        ``agreement``, share of slices decided as the teacher does, ``copied_errors``, the same share of the slices that
        the teacher has wrong (the very same mistake; no bounds where a replicate has none), and ``kl``, the mean of
        ``KL(teacher || student)`` in nats, each of ``student``, ``baseline`` and their ``difference``;
        ``churn``, share of slices that student and baseline decide differently, the mean over all pairs, and
        ``churn_between_baselines``, what another seed alone changes, NaN with one baseline.

    Raises:
        ComparisonError: No student or no baseline, or tables that differ in classes, ids, labels, patients or families.
        ValueError: Another metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}, allowed are {', '.join(METRICS)}")
    if not students or not baselines:
        raise ComparisonError(f"{len(students)} students and {len(baselines)} baselines, one of each is the least")
    resampling = resampling or Resampling()
    arms = {name: [aligned(table, teacher) for table in tables]
            for name, tables in (("student", students), ("baseline", baselines))}  # fmt: skip
    scores, answers = _scores(arms, teacher, metric), _answers(arms, teacher)
    found = bootstrap(teacher, lambda weights: scores(weights) | answers(weights), resampling)
    numbers = {name: _num(interval) for name, interval in found.items()}
    gap_closed, undefined = _gap_closed(teacher, scores, numbers["gap"], resampling)
    return {
        "metric": metric,
        "slices": len(teacher),
        "families": found["gap"].groups,
        "students": len(students),
        "baselines": len(baselines),
        "teacher_errors": int((teacher.prediction != teacher.label).sum()),
        **{name: numbers[name] for name in ("teacher", "student", "baseline", "gain", "gap", "retention")},
        "gap_closed": gap_closed,
        "gap_closed_undefined": undefined,
        **{measure: {arm: numbers[f"{measure}/{arm}"] for arm in (*arms, "difference")}
           for measure in ("agreement", "copied_errors", "kl")},
        **{name: numbers.get(name, dict(UNDEFINED)) for name in CHURN},
    }  # fmt: skip


def kl_to_teacher(teacher: Predictions, student: Predictions) -> Array:
    """``KL(teacher || student)`` of every slice, nats, shape ``(N,)``.

    Args:
        teacher: Table of the teacher.
        student: Table of the student, rows in the same order; probabilities below ``FLOOR`` count as it.
    """
    divergence: Array = rel_entr(teacher.probabilities, np.maximum(student.probabilities, FLOOR)).sum(axis=1)
    return divergence


def _scores(arms: dict[str, list[Predictions]], teacher: Predictions, metric: str) -> Statistic:
    """Metrics of the three, and what is made of them."""
    of_teacher = decision_statistic(teacher)
    of_arm = {name: [decision_statistic(table) for table in tables] for name, tables in arms.items()}

    def statistic(weights: Array) -> Values:
        best = of_teacher(weights)[metric]
        mean = {name: np.mean([one(weights)[metric] for one in seeds], axis=0) for name, seeds in of_arm.items()}
        return {
            "teacher": best,
            **mean,
            "gain": mean["student"] - mean["baseline"],
            "gap": best - mean["baseline"],
            "retention": ratio(mean["student"], best),
        }

    return statistic


def _answers(arms: dict[str, list[Predictions]], teacher: Predictions) -> Statistic:
    """How much alike the tables answer, whoever is right."""
    wrong = (teacher.prediction != teacher.label).astype(np.float64)
    columns = {"wrong": wrong}
    for name, tables in arms.items():
        alike = np.mean([table.prediction == teacher.prediction for table in tables], axis=0)
        columns |= {f"agreement/{name}": alike, f"copied_errors/{name}": alike * wrong}
        columns[f"kl/{name}"] = np.mean([kl_to_teacher(teacher, table) for table in tables], axis=0)
    pairs = product(arms["student"], arms["baseline"]), combinations(arms["baseline"], 2)
    for name, two in zip(CHURN, pairs, strict=True):
        differs = [one.prediction != other.prediction for one, other in two]
        columns |= {name: np.mean(differs, axis=0)} if differs else {}
    means = family_means(teacher.family, columns)

    def statistic(weights: Array) -> Values:
        values = means(weights)
        errors = values.pop("wrong")
        for name in arms:
            values[f"copied_errors/{name}"] = ratio(values[f"copied_errors/{name}"], errors)
        for measure in ("agreement", "copied_errors", "kl"):
            values[f"{measure}/difference"] = values[f"{measure}/student"] - values[f"{measure}/baseline"]
        return values

    return statistic


def _gap_closed(teacher: Predictions, scores: Statistic, gap: Num, resampling: Resampling) -> tuple[Num, str | None]:
    """The share of the gap that is closed, or why there is none.

    A value t is within the bounds where ``gain - t gap`` can be zero. A replicate without a gap speaks for no finite t:
    it counts below the lower bound, and above the upper one.
    """
    if not gap["low"] > 0:
        bounds = f"T - S is {gap['value']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})"
        return dict(UNDEFINED), f"the teacher is not surely ahead of the baseline: {bounds}"
    stratum = family_classes(teacher)
    values = scores(family_weights(stratum, resampling).astype(np.float64))
    closed = ratio(values["gain"], values["gap"])  # NaN where the gap is 0
    tail = expanded_tail(resampling.level, len(stratum), len(np.unique(stratum)))
    defined = values["gap"] > 0
    low = np.quantile(np.where(defined, closed, -np.inf), tail, method="lower")
    high = np.quantile(np.where(defined, closed, np.inf), 1 - tail, method="higher")
    whole = scores(np.ones((1, len(stratum))))
    value = float(whole["gain"][0] / whole["gap"][0])
    return {"value": value, "low": _finite(low), "high": _finite(high)}, None


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else nan


def _num(interval: Interval) -> Num:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}
