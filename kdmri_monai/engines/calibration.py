"""One temperature that makes a teacher's probabilities as sure as it is right, found on validation patients.

A teacher trained to the end is surer than it should be; its soft targets are then nearly hard. Source: Guo et al., "On
calibration of modern neural networks", ICML 2017, section 4.2, temperature scaling.
"""

import warnings
from collections.abc import Callable, Iterable
from math import exp, log
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.engines.utils import default_prepare_batch
from monai.utils import evenly_divisible_all_gather
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from kdmri_monai.engines.processes import several_processes
from kdmri_monai.engines.teacher_reading import TeacherReader

BOUNDS = (0.05, 20.0)
"""Smallest and largest temperature."""
NEAR_BOUND = 0.01
"""How near to a bound, in log T, a temperature counts as being at it."""


def fit_temperature(
    teacher: nn.Module,
    batches: Iterable[dict[str, Any]],
    device: str | torch.device,
    prepare_batch: Callable[..., Any] = default_prepare_batch,
) -> float:
    """Temperature by which a teacher's logits are to be divided.

    Args:
        teacher: Any network, also one that is given more than the image; it is used in eval mode.
        batches: Validation patients, whom the teacher has not learned from and who are not augmented.
        device: Where the teacher is.
        prepare_batch: As for MONAI's evaluator: moves a batch to the device and gives image and label first.

    Returns:
        The temperature, within ``BOUNDS``.

    Raises:
        ValueError: As ``best_temperature``; the labels are soft; a batch lacks what the teacher wants to be given.
    """
    read, logits, labels = TeacherReader(teacher), [], []
    for batch in batches:
        prepared = prepare_batch(batch, torch.device(device), False)
        image, label = prepared[0], prepared[1]
        if label.ndim != 1:
            raise ValueError(f"a temperature is fitted to classes (B,), the batches give {tuple(label.shape)}")
        logits.append(read(image, batch)[0].double().cpu())
        labels.append(label.cpu())
    if not logits:
        raise ValueError("no batches, so there is nothing to fit a temperature to")
    everything, classes = _of_all_processes(torch.cat(logits)), _of_all_processes(torch.cat(labels))
    return best_temperature(everything.numpy(), classes.numpy())


def _of_all_processes(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, which may have shared out the patients."""
    if not several_processes():
        return rows
    gathered: torch.Tensor = evenly_divisible_all_gather(rows.to(idist.device()))
    return gathered.cpu()


def best_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Temperature of the smallest negative log-likelihood.

    The likelihood is convex in 1 / T, so it has one valley in log T. Where every sample is right, or none is better
    than chance, it falls towards a bound, which is then returned with a warning; where T changes nothing, it is 1.

    Args:
        logits: Shape ``(N, K)``.
        labels: Classes, integers 0 .. K - 1, shape ``(N,)``.

    Returns:
        The temperature, within ``BOUNDS``.

    Raises:
        ValueError: No samples, other shapes, classes outside the logits, or logits that are not finite.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits (N, K) and labels (N,) are wanted, got {logits.shape} and {labels.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("the teacher gives logits that are not finite, no temperature mends that")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels are {labels.min()} .. {labels.max()}, logits have {logits.shape[1]} classes")

    def nll(log_temperature: float) -> float:
        return negative_log_likelihood(logits / exp(log_temperature), labels)

    low, high = log(BOUNDS[0]), log(BOUNDS[1])
    found = minimize_scalar(nll, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    best = min((0.0, low, high, float(found.x)), key=nll)  # 1 where nothing is better
    if min(best - low, high - best) < NEAR_BOUND:
        warnings.warn(
            f"the temperature fitted to {len(labels)} validation samples is at its bound, {exp(best):.3g}: the network "
            "is right about all of them, or no better than chance, so they do not tell how sure it should be",
            UserWarning,
            stacklevel=2,
        )
    return exp(best)


def negative_log_likelihood(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Mean of -log p of the true class, natural logarithm.

    Args:
        logits: Shape ``(N, K)``.
        labels: Classes, integers 0 .. K - 1, shape ``(N,)``.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    picked = np.take_along_axis(shifted, labels.astype(np.int64)[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(axis=1)) - picked).mean())
