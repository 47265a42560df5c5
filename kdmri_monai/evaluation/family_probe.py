"""Logistic regression whose strength is chosen by patient families, to ask features what they know.

Slices of one patient are near-copies of one another: cross-validation by slices would choose too weak a penalty.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from kdmri_monai.evaluation.metrics import balanced_accuracy, confusion_matrix

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Values of scikit-learn's C that are tried."""
FOLDS = 5

Features = NDArray[np.floating]


def fit_probe(features: Features, label: NDArray[np.int64], family: NDArray[np.str_]) -> Pipeline:
    """Standardised features to classes that weigh alike; C by cross-validation grouped by family.

    Args:
        features: Shape ``(N, F)``.
        label: Classes, shape ``(N,)``.
        family: Patient family of every row, shape ``(N,)``.

    Returns:
        Fitted pipeline of scikit-learn.

    Raises:
        ValueError: Fewer than two classes, or a class with fewer than two families.
    """
    families = rarest(label, family)
    if len(np.unique(label)) < 2 or families < 2:
        raise ValueError(
            f"a probe needs two classes of two families each, got {len(np.unique(label))} classes, the rarest of "
            f"{families} families"
        )
    folds = StratifiedGroupKFold(min(FOLDS, families), shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
    search = GridSearchCV(model, {"logisticregression__C": list(STRENGTHS)}, scoring=make_scorer(_score), cv=folds)
    chosen: Pipeline = search.fit(features, label, groups=family).best_estimator_
    return chosen


def probe_probabilities(probe: Pipeline, features: Features, classes: int) -> NDArray[np.float64]:
    """Probabilities of all K classes, 0 for a class that the probe has not seen, shape ``(N, K)``."""
    probabilities = np.zeros((len(features), classes))
    probabilities[:, probe.classes_] = probe.predict_proba(features)
    return probabilities


def rarest(label: NDArray[np.int64], family: NDArray[np.str_]) -> int:
    """Number of families of the class that has the fewest, of the classes that occur."""
    return min(len(np.unique(family[label == k])) for k in np.unique(label))


def _score(label: NDArray[np.int64], prediction: NDArray[np.int64]) -> float:
    """Balanced accuracy over the classes of a fold, without scikit-learn's warning where one is absent."""
    classes = int(max(label.max(), prediction.max())) + 1
    return float(balanced_accuracy(confusion_matrix(label, prediction, classes)))
