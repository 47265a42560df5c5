"""What a teacher says and shows of a batch, without gradient, whatever it wants to be given beside the image."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from kdmri_monai.engines.crossfit import CrossFittedTeacher
from kdmri_monai.networks.taps import FeatureTaps, TapSpec


class TeacherReader:
    """Logits and tapped features of a teacher, which stays in eval mode and is not registered as a submodule.

    A teacher with an attribute ``privileged_keys`` is given those items of the batch as keyword arguments. Of a
    ``CrossFittedTeacher`` every member is tapped in the same places, and a sample's features are those of the first
    member that did not learn from its family.

    Attributes:
        channels_differ: Whether one channel of the features means different things for different samples, because
            members that were trained apart take turns.

    Args:
        teacher: Any network; its forward gives logits ``(B, K)``.
        taps: Where it is read, finest map first, as for ``FeatureTaps``; of a cross-fitted teacher, names within a
            member.
        inferer: How the teacher is called; MONAI's ``SimpleInferer`` by default.
        temperature: Logits are divided by it (calibration).
        image_shape: As for ``FeatureTaps``.

    Raises:
        ValueError: A tap that the teacher does not have, or a temperature that is not positive.
    """

    def __init__(
        self,
        teacher: nn.Module,
        taps: Sequence[TapSpec] = (),
        inferer: Inferer | None = None,
        temperature: float = 1.0,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature is {temperature}, it must be positive and finite")
        self.teacher = teacher
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.temperature = temperature
        self._taking_turns = teacher if isinstance(teacher, CrossFittedTeacher) else None
        self.channels_differ = self._taking_turns is not None
        tapped = [teacher] if self._taking_turns is None else self._taking_turns.members
        self._taps = [FeatureTaps(network, taps, image_shape) for network in tapped]

    @property
    def tapped(self) -> bool:
        """Whether features of the teacher are read."""
        return any(len(taps) for taps in self._taps)

    @torch.no_grad()
    def __call__(self, image: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, list[Tensor]]:
        """Read the teacher on one batch.

        Args:
            image: The view that the student is given, shape ``(B, C, *spatial)``.
            batch: Where the teacher's privileged items are found; tensors are moved to the device of the image.

        Returns:
            Logits over the temperature, shape ``(B, K)``, and the features of the taps, in their order.

        Raises:
            ValueError: The batch lacks what the teacher wants to be given.
        """
        self.teacher.eval()
        given = self._privileged(batch, image.device)
        everything = list(range(len(image)))
        turns = [everything] if self._taking_turns is None else self._taking_turns.turns(given["family"])
        with ExitStack() as reading:
            seen = [
                reading.enter_context(taps.collect()) if places else []
                for taps, places in zip(self._taps, turns, strict=True)
            ]
            logits: Tensor = self.inferer(image, self.teacher, **given)
        features = seen[0] if self._taking_turns is None else _in_batch_order(seen, turns, len(image))
        return logits / self.temperature, features

    def _privileged(self, batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
        given = {}
        for key in getattr(self.teacher, "privileged_keys", ()):
            if key not in batch:
                raise ValueError(
                    f"{type(self.teacher).__name__} wants `{key}` beside the image; the batch holds "
                    f"{', '.join(sorted(map(str, batch)))}"
                )
            value = batch[key]
            given[key] = value.to(device) if isinstance(value, Tensor) else value
        return given


def _in_batch_order(seen: Sequence[list[Tensor]], turns: Sequence[list[int]], samples: int) -> list[Tensor]:
    """Features of the whole batch from those of the members' shares; the first member of a sample counts."""
    features: list[Tensor] = []
    for places, parts in zip(reversed(turns), reversed(seen), strict=True):
        if not places:
            continue
        if not features:
            features = [part.new_empty(samples, *part.shape[1:]) for part in parts]
        for whole, part in zip(features, parts, strict=True):
            whole[places] = part
    return features
