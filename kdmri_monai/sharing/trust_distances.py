"""How far features lie from those of the training slices: scores of foreign pictures, as pure functions.

All are larger the more foreign a picture is. What they keep of the training slices differs: ``Gaussians`` holds class
means and a covariance, the distance to a neighbour needs the features of single slices, which are data of patients.

Sources: Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018, equation 2
(Mahalanobis distance to the nearest class, one covariance); Mueller and Hein, "Mahalanobis++", ICML 2025 (the same on
features of unit length); Ren et al., "A simple fix to Mahalanobis distance", 2021, equation 3 (relative); Sun et al.,
"Out-of-distribution detection with deep nearest neighbors", ICML 2022 (k-th neighbour, unit length); Liu et al.,
"Energy-based out-of-distribution detection", NeurIPS 2020, equation 4; Wang et al., "ViM", CVPR 2022, section 4.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf

Array = NDArray[np.float64]

LARGEST = 50_000
"""Numbers in the basis of a covariance: 200 kB as float32."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Classes as Gaussians with one covariance, of which the directions of largest variance are kept.

    Across them the variance is the same in all directions, so that the covariance stays of full rank (Tipping and
    Bishop, "Probabilistic principal component analysis", 1999, section 3.2).

    Attributes:
        means: Shape ``(K, C)``.
        basis: Orthonormal directions, shape ``(C, R)``.
        variances: Along them, shape ``(R,)``, above 0.
        rest: Variance across them, above 0; without meaning for R = C.
    """

    means: Array
    basis: Array
    variances: Array
    rest: float


def unit_length(features: NDArray[np.floating]) -> Array:
    """Feature vectors of length 1, shape ``(N, C)``; zeros stay zeros."""
    rows = np.asarray(features, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def fit_gaussians(features: Array, label: NDArray[np.integer], largest: int = LARGEST) -> Gaussians:
    """Means of the classes and their shared covariance, shrunk after Ledoit and Wolf (2004).

    Args:
        features: Shape ``(N, C)``.
        label: Class of each, shape ``(N,)``; a class without a slice has no mean.
        largest: Most numbers in the basis; R is C where C x C are not more.

    Raises:
        ValueError: Fewer than two slices, or features that do not vary within a class.
    """
    if len(features) < 2:
        raise ValueError(f"{len(features)} slices: at least 2 are needed for a covariance")
    present, place = np.unique(label, return_inverse=True)
    means = np.stack([features[place == k].mean(axis=0) for k in range(len(present))])
    covariance = LedoitWolf(assume_centered=True).fit(features - means[place]).covariance_
    values, vectors = np.linalg.eigh(covariance)
    if not values[-1] > 0:
        raise ValueError("the features of the training slices do not vary within a class")
    values = np.maximum(values, values[-1] * 1e-9)
    width = features.shape[1]
    rank = width if width**2 <= largest else max(1, largest // width)
    kept, left = slice(width - rank, None), values[: width - rank]
    return Gaussians(means, _signed(vectors[:, kept]), values[kept], float(left.mean()) if len(left) else 1.0)


def mahalanobis(features: Array, fit: Gaussians) -> Array:
    """Squared Mahalanobis distance to the nearest class, shape ``(N,)``.

    Args:
        features: Shape ``(N, C)``.
        fit: Means and covariance.
    """
    away = np.asarray(features, dtype=np.float64)[:, None] - fit.means
    along = away @ fit.basis
    distance = (along**2 / fit.variances).sum(axis=2)
    if fit.basis.shape[0] > fit.basis.shape[1]:
        distance += np.maximum((away**2).sum(axis=2) - (along**2).sum(axis=2), 0.0) / fit.rest
    nearest: Array = distance.min(axis=1)
    return nearest


def relative_mahalanobis(features: Array, fit: Gaussians, all_classes: Gaussians) -> Array:
    """Distance to the nearest class less that to all classes as one Gaussian, shape ``(N,)``.

    Args:
        features: Shape ``(N, C)``.
        fit: Means and covariance of the classes.
        all_classes: ``fit_gaussians`` of the same slices with one label.
    """
    return mahalanobis(features, fit) - mahalanobis(features, all_classes)


def neighbour_distance(features: Array, known: Array, k: int = 50) -> Array:
    """Euclidean distance of features of unit length to their k-th nearest known ones, shape ``(N,)``.

    Args:
        features: Shape ``(N, C)``, any length.
        known: Those of the training slices, shape ``(M, C)``.
        k: 1..M.

    Raises:
        ValueError: k out of range.
    """
    if not 1 <= k <= len(known):
        raise ValueError(f"k is {k}, allowed are 1..{len(known)}")
    cosine = unit_length(features) @ unit_length(known).T
    nearest = -np.partition(-cosine, k - 1, axis=1)[:, k - 1]
    distance: Array = np.sqrt(np.maximum(2 - 2 * nearest, 0.0))
    return distance


def energy(logits: Array) -> Array:
    """Negative logarithm of the summed exponentials of the logits ``(N, K)``, shape ``(N,)``."""
    value: Array = -logsumexp(np.asarray(logits, dtype=np.float64), axis=1)
    return value


@dataclass(frozen=True, eq=False)
class VirtualLogit:
    """Directions in which the training slices hardly vary, and how their length becomes a logit.

    Attributes:
        origin: Shape ``(C,)``.
        across: Orthonormal, shape ``(C, C - R)``.
        scale: Makes the mean virtual logit of the training slices the mean of their largest logits.
    """

    origin: Array
    across: Array
    scale: float


def fit_virtual_logit(features: Array, logits: Array, rank: int) -> VirtualLogit:
    """Directions beyond the ``rank`` largest of the training features.

    Differs: the origin is the mean of the features, not where all logits are 0.

    Args:
        features: Shape ``(N, C)``.
        logits: Shape ``(N, K)``.
        rank: R, 1..C - 1.

    Raises:
        ValueError: The rank is out of range.
    """
    if not 1 <= rank < features.shape[1]:
        raise ValueError(f"rank is {rank}, allowed are 1..{features.shape[1] - 1}")
    origin = features.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((features - origin).T))
    across = vectors[:, : features.shape[1] - rank]
    length = np.linalg.norm((features - origin) @ across, axis=1)
    return VirtualLogit(origin, across, float(logits.max(axis=1).mean() / length.mean()))


def virtual_logit_score(features: Array, logits: Array, fit: VirtualLogit) -> Array:
    """Virtual logit plus ``energy``, shape ``(N,)``."""
    length: Array = np.linalg.norm((features - fit.origin) @ fit.across, axis=1)
    return fit.scale * length + energy(logits)


def _signed(vectors: Array) -> Array:
    """The same directions, the largest entry of each above 0: the same on every call."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    signed: Array = vectors * np.where(largest < 0, -1.0, 1.0)
    return signed
