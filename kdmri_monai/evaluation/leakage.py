"""What leakage is worth: the nearest slice tells the class, the better the more its own patient is among those known.

Neighbouring slices of one patient are near-copies. A split by slices lets a model answer by recognising the patient;
the difference between the two rows is what such a result pretends.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from kdmri_monai.evaluation.control_rows import ControlRow, decision_row
from kdmri_monai.evaluation.low_level import FeatureTable, feature_table
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.slice_batches import Batches, SliceBatch
from kdmri_monai.evaluation.split_slices import joined, whole_split
from kdmri_monai.networks.resampling import area_pool

SIDE = 24
FAMILIES, LEAKY = "nearest_by_family", "nearest_leaky"
_TITLES = {
    FAMILIES: "Nearest thumbnail, split by family",
    LEAKY: "Nearest thumbnail, split by slice (leaky)",
}


def thumbnails(images: torch.Tensor, side: int = SIDE) -> NDArray[np.float64]:
    """Slices at so few pixels, each of mean 0 and length 1, so that the nearest one is the most correlated.

    Args:
        images: Shape ``(N, 1, H, W)``.
        side: Rows and columns, pixels.

    Returns:
        Shape ``(N, side * side)``; zeros for an even slice.
    """
    small = area_pool(images.double(), (side, side)).flatten(start_dim=1)
    centred = small - small.mean(dim=1, keepdim=True)
    result: NDArray[np.float64] = (centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)).numpy()
    return result


def leakage_controls(
    batches: Batches, classes: Sequence[str], resampling: Resampling | None = None
) -> list[ControlRow]:
    """One-nearest-neighbour on thumbnails, by family and, of the very same slices, by slice at random.

    Args:
        batches: Split to batches; ``training`` and ``test`` are asked for.
        classes: Names of the K classes.
        resampling: Of intervals and permutations; its seed draws the leaky split too.

    Returns:
        Two rows that catch nothing: known and asked slices are as many in both.

    Raises:
        ValueError: A split without slices, a batch that lacks a key.
    """
    resampling = resampling or Resampling()
    training, test = whole_split(batches("training")), whole_split(batches("test"))
    every = joined([training, test])
    order = np.random.default_rng(resampling.seed).permutation(len(every))
    dealt = order[: len(training)], order[len(training) :]
    leaky = [_table(every.take(torch.from_numpy(rows))) for rows in dealt]
    tables = {
        FAMILIES: nearest(_table(training), _table(test), classes),
        LEAKY: nearest(leaky[0], leaky[1], classes),
    }
    explains = {
        FAMILIES: "The class of the most similar training slice; no patient is on both sides.",
        LEAKY: f"The same slices dealt at random: {_shared(every, *dealt):.0%} of the asked slices have a slice of "
        "their own family among the known ones. What is gained is leakage.",
    }
    return [decision_row(tables[name], name, title, "labels", explains[name], resampling, judged=False)
            for name, title in _TITLES.items()]  # fmt: skip


def nearest(known: FeatureTable, asked: FeatureTable, classes: Sequence[str]) -> Predictions:
    """The class of the nearest known slice, as a table of probabilities 0 and 1."""
    model = KNeighborsClassifier(n_neighbors=1).fit(known.values, known.label)
    return asked.predictions(np.eye(len(classes))[model.predict(asked.values)], classes)


def _table(slices: SliceBatch) -> FeatureTable:
    return feature_table(slices, thumbnails(slices.image))


def _shared(every: SliceBatch, known: NDArray[np.intp], asked: NDArray[np.intp]) -> float:
    family = np.array(every.family)
    return float(np.isin(family[asked], family[known]).mean())
