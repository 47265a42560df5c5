"""Several teachers as one network: the weighted mean of their probabilities."""

from collections.abc import Sequence
from math import isfinite, log
from typing import Any, Literal

import torch
from torch import Tensor, nn

SMALLEST_CONFIDENCE = 1e-6
"""So that members who are all at a loss about a sample count alike."""


class TeacherEnsemble(nn.Module):
    """Logits are the log of the weighted mean of the members' probabilities.

    Members are tapped by names such as ``members.0.layer1``.

    Source: fixed weights, Hinton et al. 2015, section 2, and You et al., "Learning from multiple teacher networks",
        KDD 2017. Weighting by each sample, Zhang et al., "Confidence-aware multi-teacher knowledge distillation",
        ICASSP 2022, equations 3 and 4.
    Differs: there the weight falls with the cross-entropy to the label. Here it falls with the member's entropy and no
        label is asked, so that the ensemble can be validated and used like any network; a member that is sure and
        wrong weighs as much as one that is sure and right. Calibrate members by ``temperatures`` first.

    Args:
        members: Networks that give logits ``(B, K)``; a member with ``privileged_keys`` is given those.
        weights: One not negative number a member, normalised to a sum of 1; ``None`` for equal ones; ``confidence``
            for ``member_confidence`` of every sample, normalised over the members.
        temperatures: By which every member's logits are divided; 1 by default.

    Raises:
        ValueError: No members, weights that are negative or all zero, temperatures that are not positive, or another
            number of them than of members.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Sequence[float] | Literal["confidence"] | None = None,
        temperatures: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble has at least one member")
        self.members = nn.ModuleList(members)
        self.by_confidence = weights == "confidence"
        if isinstance(weights, str) and not self.by_confidence:
            raise ValueError(f"weights are {weights!r}, allowed are numbers, None and 'confidence'")
        fixed = [1.0] * len(members) if weights is None or isinstance(weights, str) else [float(w) for w in weights]
        self.temperatures = [1.0] * len(members) if temperatures is None else [float(t) for t in temperatures]
        if len(fixed) != len(members) or not all(isfinite(w) and w >= 0 for w in fixed) or sum(fixed) == 0:
            raise ValueError(f"weights are {fixed}: {len(members)} of them, none negative, not all zero")
        if len(self.temperatures) != len(members) or not all(isfinite(t) and t > 0 for t in self.temperatures):
            raise ValueError(f"temperatures are {self.temperatures}: {len(members)} positive ones are wanted")
        self.weights = [w / sum(fixed) for w in fixed]

    @property
    def privileged_keys(self) -> tuple[str, ...]:
        """Keys of the batch that ``forward`` wants beside the image: those of all members."""
        return union_of_privileged_keys(self.members)

    def forward(self, image: Tensor, **privileged: Any) -> Tensor:
        """Logits, shape ``(B, K)``, which are log-probabilities.

        Args:
            image: Shape ``(B, C, *spatial)``.
            **privileged: What members want beside the image; each is given its own only.

        Raises:
            ValueError: Something that a member wants is missing.
        """
        logits = [member(image, **own_privileged(member, privileged)) for member in self.members]
        scaled = torch.stack([z / t for z, t in zip(logits, self.temperatures, strict=True)])
        log_probabilities = torch.log_softmax(scaled, dim=-1, dtype=torch.promote_types(scaled.dtype, torch.float32))
        if self.by_confidence:
            weights = member_confidence(log_probabilities)
            weights = weights / weights.sum(dim=0)
        else:
            weights = log_probabilities.new_tensor(self.weights)[:, None].expand(-1, len(image))
        return mean_log_probabilities(log_probabilities, weights)

    def extra_repr(self) -> str:
        """Weights and temperatures."""
        weights = "confidence" if self.by_confidence else [round(weight, 4) for weight in self.weights]
        return f"weights={weights}, temperatures={self.temperatures}"


def mean_log_probabilities(log_probabilities: Tensor, weights: Tensor) -> Tensor:
    """Log of the weighted mean of probabilities.

    Args:
        log_probabilities: Shape ``(M, B, K)``.
        weights: Shape ``(M, B)``, not negative, with a sum of 1 over the members.

    Returns:
        Shape ``(B, K)``; what a member of weight 0 says does not count.
    """
    return torch.logsumexp(log_probabilities + weights.log()[..., None], dim=0)


def member_confidence(log_probabilities: Tensor) -> Tensor:
    """One minus the entropy over its largest value, log K: 1 for a sure answer, nearly 0 for a uniform one.

    Args:
        log_probabilities: Shape ``(..., K)``, K at least 2.

    Returns:
        Shape ``(...)``, at least ``SMALLEST_CONFIDENCE``.
    """
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
    return (1 - entropy / log(log_probabilities.shape[-1])).clamp_min(SMALLEST_CONFIDENCE)


def union_of_privileged_keys(members: Sequence[nn.Module] | nn.ModuleList) -> tuple[str, ...]:
    """Keys of the batch that any of the members wants, each once, in the order of the members."""
    return tuple(dict.fromkeys(key for member in members for key in getattr(member, "privileged_keys", ())))


def own_privileged(member: nn.Module, privileged: dict[str, Any]) -> dict[str, Any]:
    """Those of the privileged items that a member wants.

    Raises:
        ValueError: One is missing.
    """
    wanted = getattr(member, "privileged_keys", ())
    missing = [key for key in wanted if key not in privileged]
    if missing:
        raise ValueError(f"{type(member).__name__} wants {', '.join(missing)} beside the image")
    return {key: privileged[key] for key in wanted}
