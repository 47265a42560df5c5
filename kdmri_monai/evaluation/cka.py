"""How alike two networks represent the same images (CKA), and which of their layers go together.

For the report and for choosing taps, not a loss: it can be 1 while the geometry of two representations differs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdmri_monai.networks.precision import at_least_float32
from kdmri_monai.networks.resampling import area_pool

MIN_SAMPLES = 4
"""Samples a batch must have: the unbiased estimator divides by ``n (n - 3)``."""


def linear_cka(student: Tensor, teacher: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same samples.

    ``||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F)`` with centred columns, the biased estimate over all samples at once: 1 up to
    rotation and scale, and above 0 for unrelated features where these outnumber the samples; ``CKAMatrix`` corrects
    that.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, equation 4 and
        section 3.

    Args:
        student: Features, shape ``(n, C_s)``, or maps, which are flattened.
        teacher: The same of the teacher, shape ``(n, C_t)``.

    Returns:
        0..1; NaN where a representation is the same for all samples.

    Raises:
        ValueError: Not the same number of samples.
    """
    if len(student) != len(teacher):
        raise ValueError(f"{len(student)} samples of the student and {len(teacher)} of the teacher")
    grams = torch.stack([_gram(student), _gram(teacher)])
    products = torch.einsum("aij,bij->ab", grams, grams).cpu().numpy()
    return float(_normalised(products[0, 1], products[0, 0], products[1, 1]))


class CKAMatrix:
    """CKA of every student tap with every teacher tap, summed up over batches.

    ``CKA = sum_b n_b H(K_b, L_b) / sqrt(sum_b n_b H(K_b, K_b) sum_b n_b H(L_b, L_b))`` with linear kernels and the
    unbiased ``H = HSIC_1``, so that small batches do not raise it. ``HSIC_1`` is computed as the product of U-centred
    Gram matrices, ``sum_ij K~_ij L~_ij / (n (n - 3))``.

    Source: Nguyen et al., "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021, section 2 on minibatch CKA;
        Song et al., "Feature Selection via Dependence Maximization", JMLR 2012, equation 5, for ``HSIC_1``; Szekely and
        Rizzo, "Partial distance correlation with methods for dissimilarities", 2014, for U-centring.
    Differs: batches are weighted by their samples, since the last one may be smaller.

    Args:
        grid: Maps are area-pooled to at most so many positions along every axis and flattened; 1 averages over space.

    Raises:
        ValueError: ``grid`` is below 1.
    """

    def __init__(self, grid: int = 4) -> None:
        if grid < 1:
            raise ValueError(f"grid is {grid}, it must be at least 1")
        self.grid = grid
        self.samples = 0
        self._products: Tensor | None = None
        self._taps = (0, 0)

    @torch.no_grad()
    def update(self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> None:
        """Add one batch.

        Args:
            student_features: Of every tap maps ``(n, C, *spatial)`` or vectors ``(n, C)``.
            teacher_features: The same of the teacher, for the same samples.

        Raises:
            ValueError: Fewer than four samples, numbers of samples that differ, no taps, or other taps than before.
        """
        taps = len(student_features), len(teacher_features)
        sizes = {len(feature) for feature in (*student_features, *teacher_features)}
        if 0 in taps or (self._products is not None and taps != self._taps):
            raise ValueError(f"{taps[0]} student and {taps[1]} teacher taps, before {self._taps}; none may be 0")
        if len(sizes) > 1 or min(sizes) < MIN_SAMPLES:
            raise ValueError(f"batches want {MIN_SAMPLES} samples or more, as many of every tap; got {sorted(sizes)}")
        count = sizes.pop()
        features = (*student_features, *teacher_features)
        grams = torch.stack([_u_centred(_gram(_pooled_to(f, self.grid))) for f in features])
        products = torch.einsum("aij,bij->ab", grams, grams) / (count * (count - 3))
        self._products = count * products + (0 if self._products is None else self._products)
        self._taps = taps
        self.samples += count

    def compute(self) -> NDArray[np.float64]:
        """The matrix, shape ``(S, T)``; NaN for a tap that gave the same for all samples of every batch.

        Raises:
            RuntimeError: There was no batch.
        """
        if self._products is None:
            raise RuntimeError("no batch was given to CKAMatrix.update")
        products, students = self._products.numpy(), self._taps[0]
        own = np.diag(products)
        return _normalised(products[:students, students:], own[:students, None], own[None, students:])


def propose_pairing(matrix: NDArray[np.float64], pairs: int | None = None) -> list[tuple[int, int]]:
    """Pairs of taps with the largest sum of CKA that keep the order of depth.

    Every tap is in one pair at most, and the deeper of two student taps gets the deeper of two teacher taps. Found by
    dynamic programming: the best sum of ``k`` pairs among the first ``i`` and ``j`` taps either leaves out the last
    student tap, or the last teacher tap, or pairs them.

    Args:
        matrix: CKA, shape ``(S, T)``, taps from shallow to deep.
        pairs: How many; as many as the shorter side has taps by default.

    Returns:
        Index of the student tap and of the teacher tap, ascending.

    Raises:
        ValueError: The matrix has values that are not finite, or not so many taps.
    """
    students, teachers = matrix.shape
    count = min(students, teachers) if pairs is None else pairs
    if not np.isfinite(matrix).all():
        raise ValueError("the matrix has values that are not finite: a tap gives the same for all samples")
    if not 1 <= count <= min(students, teachers):
        raise ValueError(f"{count} pairs are not to be had of {students} student and {teachers} teacher taps")
    best = np.full((count + 1, students + 1, teachers + 1), -np.inf)
    best[0] = 0
    for k in range(1, count + 1):
        for i in range(1, students + 1):
            for j in range(1, teachers + 1):
                paired = best[k - 1, i - 1, j - 1] + matrix[i - 1, j - 1]
                best[k, i, j] = max(paired, best[k, i - 1, j], best[k, i, j - 1])
    return _read_back(best, students, teachers)


def _read_back(best: NDArray[np.float64], i: int, j: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    k = len(best) - 1
    while k:
        if best[k, i, j] == best[k, i - 1, j]:
            i -= 1
        elif best[k, i, j] == best[k, i, j - 1]:
            j -= 1
        else:
            k, i, j = k - 1, i - 1, j - 1
            found.append((i, j))
    return found[::-1]


def _pooled_to(features: Tensor, grid: int) -> Tensor:
    if features.ndim == 2:
        return features
    return area_pool(at_least_float32(features), [min(grid, size) for size in features.shape[2:]])


def _gram(features: Tensor) -> Tensor:
    # on the CPU, since not every accelerator has float64
    flat = features.detach().flatten(start_dim=1).cpu().double()
    centred = flat - flat.mean(dim=0)
    return centred @ centred.T


def _u_centred(gram: Tensor) -> Tensor:
    count = len(gram)
    hollow = gram.clone().fill_diagonal_(0)
    rows = hollow.sum(dim=1)
    spread = (rows[:, None] + rows[None, :]) / (count - 2)
    return (hollow - spread + rows.sum() / ((count - 1) * (count - 2))).fill_diagonal_(0)


def _normalised(
    product: NDArray[np.float64], own: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    scale = np.sqrt(np.clip(own, 0, None) * np.clip(others, 0, None))
    return np.divide(product, scale, out=np.full_like(scale, np.nan), where=scale > 0)
