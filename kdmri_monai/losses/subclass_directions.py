"""Directions along which a teacher's embeddings vary within a class, beside what its logits say."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdmri_monai.losses.logits import check_labels

# deviations below this part of the embeddings' whole deviation are rounding of float32, not structure
NEGLIGIBLE = 1e-5


def subclass_directions(
    embeddings: Tensor, logits: Tensor, labels: Tensor, subclasses: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Where the teacher's embeddings of every class vary beside what its logits say.

    The span of the linear map from embeddings to logits (least squares; the teacher's last weights where the embeddings
    are the input of its last layer) is projected out. Of what is left, every class gives its first S principal
    directions. A random rotation, the same for all classes, shares the variance out among them, and they are scaled so
    that the mean variance along the S directions is 1.

    Source: Loo et al., "Linear Projections of Teacher Embeddings for Few-Class Distillation", 2024, arXiv 2409.20449,
    section 3.1.
    Differs: the paper reads the last weights from the network; the scaling to unit variance is not in the paper and
    makes the temperature of the subclasses independent of the network.

    Args:
        embeddings: Teacher's embeddings of training samples, shape ``(N, D)``.
        logits: Its logits of them, shape ``(N, K)``.
        labels: Their classes, integers, shape ``(N,)``.
        subclasses: ``S``, pseudo-subclasses of every class, at least 2.
        seed: Of the rotation.

    Returns:
        Means of the classes ``(K, D)`` and directions ``(K, S, D)``, float32 on the CPU.

    Raises:
        ValueError: Shapes that do not belong together, fewer than two subclasses, or a class whose embeddings do not
            vary along S directions.
    """
    check_subclasses(subclasses)
    if embeddings.ndim != 2 or logits.ndim != 2 or len(embeddings) != len(logits):
        raise ValueError(
            f"embeddings {tuple(embeddings.shape)} and logits {tuple(logits.shape)} must be (N, D) and (N, K)"
        )
    check_labels(logits, labels)
    embeddings, logits, labels = embeddings.detach().cpu().double(), logits.detach().cpu().double(), labels.cpu()
    centred = embeddings - embeddings.mean(dim=0)
    said = _span_of_logits(centred, logits - logits.mean(dim=0))
    unsaid = centred - centred @ said @ said.T
    floor = NEGLIGIBLE * float(centred.square().sum(dim=1).mean().sqrt())
    rotation = _rotation(subclasses, seed)
    means, directions = [], []
    for label in range(logits.shape[1]):
        own = labels == label
        found = _principal_directions(unsaid[own], floor)
        if len(found) < subclasses:
            raise ValueError(
                f"{int(own.sum())} embeddings of class {label} vary along {len(found)} directions beside the logits, "
                f"{subclasses} pseudo-subclasses want as many: give more samples or fewer subclasses"
            )
        found = found[:subclasses]
        means.append(embeddings[own].mean(dim=0))
        directions.append(rotation @ F.normalize(found, dim=1) / found.square().sum(dim=1).mean().sqrt())
    return torch.stack(means).float(), torch.stack(directions).float()


def _span_of_logits(embeddings: Tensor, logits: Tensor) -> Tensor:
    """Orthonormal directions ``(D, R)`` of the embeddings, R at most K, that give the logits; both centred."""
    weights = torch.linalg.lstsq(embeddings, logits, rcond=NEGLIGIBLE, driver="gelsd").solution
    span, strengths, _ = torch.linalg.svd(weights, full_matrices=False)
    return span[:, strengths > NEGLIGIBLE * strengths.max()]


def _principal_directions(embeddings: Tensor, floor: float) -> Tensor:
    """Principal directions ``(R, D)`` of deviation above ``floor``, as long as that deviation; signs are fixed."""
    if len(embeddings) < 2:
        return embeddings[:0]
    _, strengths, directions = torch.linalg.svd(embeddings - embeddings.mean(dim=0), full_matrices=False)
    deviations = strengths / (len(embeddings) - 1) ** 0.5
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return (directions * largest.sign() * deviations.unsqueeze(1))[deviations > floor]


def _rotation(size: int, seed: int) -> Tensor:
    """Uniformly random orthogonal matrix, float64."""
    gaussian = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    orthogonal, triangle = torch.linalg.qr(gaussian)
    return orthogonal * triangle.diagonal().sign()


def check_subclasses(subclasses: int) -> None:
    """Refuse a number of pseudo-subclasses that splits nothing."""
    if subclasses < 2:
        raise ValueError(f"{subclasses} pseudo-subclasses split nothing: give at least 2")
