"""Overlap of the hot region with the tumour, at a threshold that was chosen elsewhere, beside chance.

Source: Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020, sections 3 and 4: the
threshold decides the score, so that it is chosen on slices that are not those of the result.
Differs: heat here is not negative, so that it is divided by its maximum and not stretched from its minimum.

Chance is the mean overlap of the same region moved to every place of the slice, wrapped round at the borders. With a
region of n pixels, a tumour of m and k(s) common pixels after the shift s, that is the mean over s of
``k(s) / (n + m - k(s))``; k is a circular correlation, which the Fourier transform gives exactly for all shifts. It
keeps the shape of the region, and heat spread evenly is at chance. A region that is central because heads are central
is above it: the randomised control says how much that is worth.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Shares of a slice's largest heat from which a threshold is chosen: 0.05 to 0.95."""


def overlaps(heat: Tensor, mask: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
    """Intersection over union of the tumour and the pixels of at least a share of the largest heat.

    Args:
        heat: Not negative, shape ``(B, 1, H, W)``.
        mask: Tumour, boolean, or numbers of which those above 0.5 are meant, same shape.
        thresholds: T shares, above 0 and up to 1.

    Returns:
        Overlaps 0..1, shape ``(B, T)``, float64; NaN without heat.

    Raises:
        ValueError: The shapes differ, a heat is negative, a threshold is out of range.
    """
    inside = mask > 0.5
    columns = []
    for threshold in thresholds:
        region = _hot(heat, mask, threshold)
        common, union = ((part).sum((1, 2, 3)).double() for part in (region & inside, region | inside))
        columns.append(common / union)
    return _without_heat_nan(torch.stack(columns, dim=1), heat)


def overlap_chance(heat: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """Mean overlap of the hot region moved to every place of the slice, shape ``(B,)``, float64; see above.

    Arguments and errors as for ``overlaps``, for one threshold; NaN without heat.
    """
    region, inside = _hot(heat, mask, threshold).double(), (mask > 0.5).double()
    spectrum = torch.fft.rfft2(region).conj() * torch.fft.rfft2(inside)
    common = torch.fft.irfft2(spectrum, s=region.shape[2:]).round()
    sizes = (region + inside).sum((2, 3), keepdim=True)
    return _without_heat_nan((common / (sizes - common)).mean((1, 2, 3)), heat)


def best_threshold(found: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> float:
    """The threshold with the best mean overlap, the lowest of equals.

    Args:
        found: From ``overlaps`` on slices that the result is not computed from, shape ``(N, T)``.
        thresholds: The T thresholds, ascending.

    Raises:
        ValueError: The numbers of thresholds differ, or no slice has heat.
    """
    if found.ndim != 2 or found.shape[1] != len(thresholds):
        raise ValueError(f"overlaps are {tuple(found.shape)}, expected (N, {len(thresholds)})")
    warm = found[~found.isnan().any(dim=1)]
    if not len(warm):
        raise ValueError(f"none of {len(found)} slices has heat, so no threshold can be chosen")
    return float(thresholds[int(warm.mean(dim=0).argmax())])


def _hot(heat: Tensor, mask: Tensor, threshold: float) -> Tensor:
    if heat.shape != mask.shape or heat.ndim != 4 or heat.shape[1] != 1:
        raise ValueError(f"heat is {tuple(heat.shape)} and mask {tuple(mask.shape)}, expected two of (B, 1, H, W)")
    if (heat < 0).any():
        raise ValueError("heat is negative in places: its largest value is then no measure of the others")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}, allowed is above 0 and up to 1")
    return heat >= threshold * heat.amax((1, 2, 3), keepdim=True)


def _without_heat_nan(values: Tensor, heat: Tensor) -> Tensor:
    return values.masked_fill((heat.amax((1, 2, 3)) == 0).reshape(-1, *[1] * (values.ndim - 1)), torch.nan)
