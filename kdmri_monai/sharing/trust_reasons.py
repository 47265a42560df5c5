"""Why not to trust what a network says of a picture: each reason with its number and that of the training slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kdmri_monai.sharing.trust_profile import TrustProfile
from kdmri_monai.sharing.trust_traits import GREY, WORDS

Kind: TypeAlias = Literal["input range odd", "not a head", "far from training data", "low confidence", "odd size"]

SMALLER, LONGER = 0.5, 1.5
"""Share of the smallest training side, and multiple of the longest aspect, beyond which a size is odd."""


@dataclass(frozen=True)
class Reason:
    """One reason to distrust.

    Attributes:
        kind: In two or three words.
        measure: What was measured: a name of ``WORDS``, ``feature distance``, ``confidence``, ``side`` or ``aspect``.
        value: What was found.
        words: The number, and what it is for training or validation slices, for people.
        hard: Whether it is enough to decide nothing.
        excess: How far beyond its limit, to put reasons in order: 0 at the limit, 1 as far again as the limit or the
            width of its range.
    """

    kind: Kind
    measure: str
    value: float
    words: str
    hard: bool
    excess: float


def reasons(
    profile: TrustProfile,
    found: Mapping[str, float],
    distance: float | None,
    confidence: float,
    size: Sequence[int] | None = None,
) -> list[Reason]:
    """Everything that speaks against a prediction, hard reasons first, in each part the furthest beyond its limit.

    Args:
        profile: What the training data looked like.
        found: Traits of the picture.
        distance: Of its features; ``None`` where it cannot be measured.
        confidence: Largest calibrated probability, 0..1.
        size: Rows and columns as the picture came; ``None`` where it is not known.
    """
    told = [*_traits(profile, found), *_distance(profile, distance), *_confidence(profile, confidence)]
    if size is not None:
        told += _size(profile, size)
    return sorted(told, key=lambda one: (not one.hard, -one.excess))


def abstains(told: Sequence[Reason]) -> bool:
    """Whether one of the reasons is enough to decide nothing."""
    return any(one.hard for one in told)


def _traits(profile: TrustProfile, found: Mapping[str, float]) -> list[Reason]:
    odd = []
    for name, usual in profile.traits.items():
        excess = usual.excess(found[name])
        if excess > 0:
            kind: Kind = "input range odd" if name in GREY else "not a head"
            words = (
                f"{WORDS[name]} {_number(found[name])}; 99 % of training slices lie in "
                f"{_number(usual.low)} to {_number(usual.high)}"
            )
            odd.append(Reason(kind, name, found[name], words, True, excess))
    return odd


def _distance(profile: TrustProfile, distance: float | None) -> list[Reason]:
    limits = profile.distance
    if limits is None or distance is None or not distance > limits.far:
        return []
    share, limit = (99, limits.very_far) if distance > limits.very_far else (95, limits.far)
    words = f"feature distance {_number(distance)}; {share} % of validation slices lie below {_number(limit)}"
    return [Reason("far from training data", "feature distance", distance, words, True, distance / limits.far - 1)]


def _confidence(profile: TrustProfile, confidence: float) -> list[Reason]:
    limit = profile.confidence
    if limit is None:
        words = f"probability {confidence:.2f}; on validation slices no probability was right often enough"
        return [Reason("low confidence", "confidence", confidence, words, True, 0.0)]
    if confidence >= limit.least:
        return []
    words = (
        f"probability {confidence:.2f}; at {limit.least:.2f} and above {100 * limit.risk:.0f} % of the decisions on "
        f"validation slices are wrong"
    )
    return [Reason("low confidence", "confidence", confidence, words, True, (limit.least - confidence) / limit.least)]


def _size(profile: TrustProfile, size: Sequence[int]) -> list[Reason]:
    told = []
    side, aspect = min(size), max(size) / max(1, min(size))
    if profile.smallest_side is not None and side < SMALLER * profile.smallest_side:
        words = f"smaller side {side} pixels; training slices had at least {profile.smallest_side}"
        told.append(Reason("odd size", "side", side, words, False, profile.smallest_side / side - 1))
    if profile.longest_aspect is not None and aspect > LONGER * profile.longest_aspect:
        words = f"longer side is {aspect:.2f} times the other; in training slices at most {profile.longest_aspect:.2f}"
        told.append(Reason("odd size", "aspect", aspect, words, False, aspect / profile.longest_aspect - 1))
    return told


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
