"""What the student says of some validation slices while it learns, as pictures for TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.networks.dry_run import evaluating
from kdmri_monai.report.axes import pixels
from kdmri_monai.report.figures_grid import GridCell, prediction_grid


class Slices(Protocol):
    """A dataset of slices: ``image`` ``(1, H, W)``, ``label``, ``mask`` where there is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Mapping[str, Any]: ...


class PredictionPictures:
    """Draws the same slices after every ``interval`` epochs, for ``CurveWriter``.

    Args:
        network: Whose answers are drawn. It runs in eval mode and is afterwards in the mode that it was in. What it
            wants beside the image (``privileged_keys``) must be among the keys of a slice.
        dataset: Slices to choose from, the validation slices.
        device: Where the network is.
        interval: Epochs between two pictures.
        slices: How many, spread evenly over the dataset; all, where it has no more.
        classes: Names of the K classes.

    Raises:
        ValueError: ``interval`` or ``slices`` is below 1, or the dataset is empty.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: Slices,
        device: torch.device | str,
        interval: int = 1,
        slices: int = 16,
        classes: Sequence[str] = CLASSES,
    ) -> None:
        if interval < 1 or slices < 1 or len(dataset) < 1:
            raise ValueError(f"interval is {interval}, slices {slices} of {len(dataset)}: at least 1 of each is needed")
        self.network, self.dataset, self.device = network, dataset, device
        self.interval, self.classes = interval, tuple(classes)
        places = np.linspace(0, len(dataset) - 1, min(slices, len(dataset))).round().astype(int)
        self.places: list[int] = places.tolist()

    def __call__(self, epoch: int) -> NDArray[np.uint8] | None:
        """The picture after this epoch, shape ``(rows, columns, 3)``; ``None`` between two of them."""
        if epoch % self.interval:
            return None
        items = [self.dataset[place] for place in self.places]
        probabilities = self._answer(items)
        cells = [self._cell(item, row) for item, row in zip(items, probabilities, strict=True)]
        return pixels(prediction_grid(cells, total=len(self.dataset)))

    @torch.no_grad()
    def _answer(self, items: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        def stacked(key: str) -> Tensor:
            return torch.stack([_plain(item[key]) for item in items]).to(self.device)

        privileged = {key: stacked(key) for key in getattr(self.network, "privileged_keys", ())}
        with evaluating(self.network):
            logits = self.network(stacked("image").float(), **privileged)
        return logits.double().softmax(dim=1).cpu().numpy()

    def _cell(self, item: Mapping[str, Any], probabilities: NDArray[np.float64]) -> GridCell:
        predicted = int(probabilities.argmax())
        mask = _plain(item["mask"])[0].numpy() > 0.5 if "mask" in item else None
        return GridCell(
            image=_plain(item["image"])[0].numpy(),
            true=self.classes[int(item["label"])],
            predicted=self.classes[predicted],
            probability=float(probabilities[predicted]),
            mask=mask,
        )


def _plain(value: Any) -> Tensor:
    return torch.as_tensor(value).as_subclass(Tensor).detach().cpu()
