"""What a student says of pictures, and what speaks against it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from kdmri_monai.evaluation.penultimate import NoLinearLayer, penultimate_features
from kdmri_monai.evaluation.prediction_pictures import Picture, PicturePrediction, predict_pictures, unlabelled
from kdmri_monai.sharing.open_student import OpenStudent
from kdmri_monai.sharing.trust_distances import mahalanobis, unit_length
from kdmri_monai.sharing.trust_profile import TrustProfile
from kdmri_monai.sharing.trust_reasons import Reason, abstains, reasons
from kdmri_monai.sharing.trust_traits import traits

ABSTAINS = "abstains"


@dataclass(frozen=True, eq=False)
class JudgedPicture:
    """A prediction with what speaks against it.

    Attributes:
        prediction: What the network says, probabilities calibrated.
        reasons: Against it, see ``trust_reasons.reasons``; empty where nothing was compared.
        traits: Of the picture, by name; empty likewise.
        distance: Of its features; ``None`` where it cannot be measured.
        compared: Whether there was a profile of the training data.
    """

    prediction: PicturePrediction
    reasons: tuple[Reason, ...]
    traits: Mapping[str, float]
    distance: float | None
    compared: bool

    @property
    def abstains(self) -> bool:
        """Whether nothing is decided."""
        return abstains(self.reasons)

    @property
    def most_probable(self) -> str:
        """The most probable class, decided or not."""
        return self.prediction.classes[self.prediction.label]

    @property
    def decision(self) -> str:
        """The class, or ``ABSTAINS``."""
        return ABSTAINS if self.abstains else self.most_probable

    @property
    def words(self) -> str:
        """The decision and, where there is none, the first reason, for people."""
        if not self.abstains:
            return self.prediction.words
        return f"{ABSTAINS}: {self.reasons[0].kind}; most probable: {self.prediction.words}"

    def as_dict(self) -> dict[str, Any]:
        """Everything but pixels, for JSON."""
        picture, one = self.prediction.picture, self.prediction
        return {
            "file": picture.file or picture.name,
            "slice": picture.index,
            "plane": picture.plane,
            "class": None if self.abstains else self.most_probable,
            "abstains": self.abstains if self.compared else None,
            "most_probable": self.most_probable,
            "probabilities": dict(zip(one.classes, one.probabilities.tolist(), strict=True)),
            "reasons": [asdict(reason) for reason in self.reasons],
            "feature_distance": self.distance,
            "traits": dict(self.traits),
            **({} if one.tumour_percent is None else {"tumour_percent": one.tumour_percent}),
        }


def judge_pictures(student: OpenStudent, pictures: Iterator[Picture], batch_size: int = 32) -> Iterator[JudgedPicture]:
    """What a student says of pictures, and what speaks against it; a batch of pictures is in memory at a time.

    Args:
        student: Opened.
        pictures: Read as they are needed.
        batch_size: Pictures at a time.

    Raises:
        ValueError: The network gives logits of other classes.
    """
    predictions = predict_pictures(
        student.network,
        pictures,
        student.steps,
        student.device,
        batch_size,
        temperature=student.temperature,
        classes=student.classes,
        as_it_came=student.as_it_came,
    )
    while batch := list(islice(predictions, batch_size)):
        distances = _distances(student, batch)
        for one, distance in zip(batch, distances, strict=True):
            yield _judged(student.profile, one, distance)


def _judged(profile: TrustProfile | None, one: PicturePrediction, distance: float | None) -> JudgedPicture:
    if profile is None:
        return JudgedPicture(one, (), {}, None, False)
    found = traits(one.picture.pixels)
    size = None if one.picture.raw is None else one.picture.raw.shape
    told = reasons(profile, found, distance, one.confidence, size)
    return JudgedPicture(one, tuple(told), found, distance, True)


def _distances(student: OpenStudent, batch: Sequence[PicturePrediction]) -> list[float | None]:
    if student.profile is None or student.profile.gaussians is None:
        return [None] * len(batch)
    images = torch.stack([one.image for one in batch if one.image is not None]).to(student.device)
    try:
        features = penultimate_features(student.network, unlabelled(images))
    except NoLinearLayer:
        return [None] * len(batch)
    found: list[float | None] = mahalanobis(unit_length(features.cpu().numpy()), student.profile.gaussians).tolist()
    return found
