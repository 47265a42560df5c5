"""The random augmentation of a run: kornia's steps, applied to images and masks alike."""

from collections.abc import Sequence

from kornia.augmentation import AugmentationSequential
from kornia.constants import DataKey
from torch import nn

from kdmri_monai.engines.replay import ReplayedAugmentation


def batch_augmentation(
    steps: Sequence[nn.Module], replay_seed: int | None = None
) -> AugmentationSequential | ReplayedAugmentation:
    """Steps one after the other, all samples of a batch at once.

    Masks are interpolated bilinearly, to be cut at one half by ``AugmentedBatch``: a mask that is moved by the nearest
    neighbour loses up to a pixel of its border.

    Args:
        steps: Modules of ``kornia.augmentation``.
        replay_seed: Makes every sample's view depend on this seed, the epoch and the sample's id alone, as a cache of
            teacher outputs needs; slower. ``None`` draws for a batch at once.
    """
    extra = {DataKey.MASK: {"resample": "bilinear", "align_corners": False}}
    sequential = AugmentationSequential(*steps, data_keys=["input"], extra_args=extra)
    return sequential if replay_seed is None else ReplayedAugmentation(sequential, replay_seed)
