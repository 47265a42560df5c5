"""MONAI transforms for slices of which some have no mask."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import LoadImage, MapTransform, Resize
from torch import Tensor

from kdmri_monai.data.readers import StoreReader


class LoadMaskd(MapTransform):
    """Loads ``masks.npy#17``, or makes an empty mask where an entry has none, so that all entries can be collated.

    A mask is brought to its size as MONAI's ``Resized`` with ``mode="area"`` brings the image: a pixel belongs to the
    tumour where at least half of its area does. Adds ``has_<key>``, for ``mask`` so ``has_mask``: False where there is
    no mask, or where nothing of it is left at this size.

    Args:
        keys: Keys that hold references to stored masks; they may be absent.
        spatial_size: Rows and columns of the masks.
    """

    def __init__(self, keys: KeysCollection, spatial_size: Sequence[int]) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.spatial_size = tuple(spatial_size)
        self.load = LoadImage(StoreReader(), image_only=True, ensure_channel_first=True)
        self.resize = Resize(self.spatial_size, mode="area")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The entry with masks ``(1, H, W)`` of 0 and 1, uint8, and boolean tensors ``has_<key>`` of one element.

        Raises:
            FileNotFoundError: There is no such store.
            IndexError: The store has fewer rows.
            ValueError: Not a reference, or not a store.
        """
        entry = dict(data)
        for key in self.keys:
            mask = self._loaded(entry[key]) if key in entry else torch.zeros(1, *self.spatial_size, dtype=torch.uint8)
            entry[key], entry[f"has_{key}"] = mask, mask.bool().any()
        return entry

    def _loaded(self, reference: str) -> Tensor:
        return (self.resize(self.load(reference)).as_tensor() >= 0.5).to(torch.uint8)
