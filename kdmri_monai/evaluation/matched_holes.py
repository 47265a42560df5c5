"""Holes that hide a tumour and tell nothing of it: every slice loses a tumour's place of every class.

Leaving a tumour out leaves its size and its place behind: a hole at the skull takes bone away, one in the sella none,
and what is inpainted is smooth. Features that know nothing else tell the class of phantoms without any shortcut by that
(balanced accuracy .53 to .65 by family). So a slice also loses what tumours of the other classes would hide, of slices
drawn at random: the holes of all classes are then alike, and the same features fall to .37 to .40 (chance: .33).

Limit: only the own hole lies where this head has its tumour; those of others come from other heads and planes.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from kdmri_monai.evaluation.slice_batches import SliceBatch
from kdmri_monai.networks.inpainting import dilate


def matched_holes(slices: SliceBatch, donors: SliceBatch, margin: int, seed: int = 0) -> NDArray[np.bool_]:
    """Pixels to be left out of every slice: its own tumour, and one of each other class.

    Args:
        slices: N slices with masks, on the CPU.
        donors: Slices with masks, of the same size, from which the other tumours are drawn, as of a training split.
        margin: Pixels by which a tumour is taken to be larger than its mask.
        seed: Of the draws.

    Returns:
        Shape ``(N, H, W)``.
    """
    holes = dilate(slices.mask, margin)[:, 0].numpy()
    pool = dilate(donors.mask, margin)[:, 0].numpy()
    generator = np.random.default_rng(seed)
    for k in torch.unique(donors.label).tolist():
        drawn = generator.choice(np.flatnonzero((donors.label == k).numpy()), size=len(slices))
        other = (slices.label != k).numpy()
        holes[other] |= pool[drawn[other]]
    result: NDArray[np.bool_] = holes
    return result
