"""Lengths and directions of vectors, with gradients that stay finite at vectors of length zero."""

import torch
from torch import Tensor


def lengths(vectors: Tensor, dim: int = -1) -> Tensor:
    """Euclidean length along ``dim``, which is kept with size 1; a vector of zeros has no gradient."""
    square = vectors.square().sum(dim, keepdim=True)
    return torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)


def unit_vectors(vectors: Tensor, dim: int = -1, floor: float | Tensor = 1e-12) -> Tensor:
    """Vectors divided by their length along ``dim``.

    Args:
        vectors: Any shape.
        dim: Axis of the components.
        floor: Shorter vectors are divided by this length instead, which bounds the gradient by its inverse.

    Returns:
        The same shape; a vector of zeros stays one and gets no gradient.
    """
    length = lengths(vectors, dim)
    floor = torch.as_tensor(floor, dtype=length.dtype, device=length.device)
    return torch.where(length > 0, vectors / torch.maximum(length, floor), 0.0)
