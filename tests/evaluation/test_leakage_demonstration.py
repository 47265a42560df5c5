"""What a split by slices pretends, on slices whose labels nobody could know. Reference: correlations by NumPy."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from kdmri_monai.evaluation.leakage import leakage_controls, nearest, thumbnails
from kdmri_monai.evaluation.low_level import feature_table
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.split_slices import joined, whole_split

FEW = Resampling(300)
CLASSES = ("heads", "tails")


def near_copies(families, per_family=6, first=0, seed=0, told=False):
    """Families look like nothing but themselves; ``told`` gives a class a bright upper half."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(families), per_family)
    label = number % 2
    image = rng.random((families, 1, 48, 48))[number] + 0.05 * rng.random((len(number), 1, 48, 48))
    if told:
        image[label == 1, :, :24] += 1.0
    return {
        "image": torch.from_numpy(image).float(),
        "label": torch.from_numpy(label),
        "mask": torch.zeros(len(number), 1, 48, 48),
        "has_mask": torch.zeros(len(number), dtype=torch.bool),
        "id": [f"s{first}.{k}" for k in range(len(number))],
        "patient": [f"p{first + k}" for k in number],
        "family": [f"f{first + k}" for k in number],
    }


def rows(**more):
    sets = {"training": near_copies(40, seed=1, **more), "test": near_copies(30, first=100, seed=2, **more)}
    honest, leaky = leakage_controls(lambda split: [sets[split]], CLASSES, FEW)
    assert (honest.name, leaky.name) == ("nearest_by_family", "nearest_leaky")
    assert honest.group == leaky.group == "labels"
    assert honest.caught is leaky.caught is None
    return honest, leaky


def test_labels_that_nothing_tells_are_told_by_a_leaky_split():
    honest, leaky = rows()
    assert honest.null_low <= honest.value <= honest.null_high
    assert leaky.value == 1
    assert "leaky" in leaky.title
    assert "100% of the asked slices" in leaky.explains
    assert honest.n == leaky.n == 180


def test_what_is_truly_told_is_told_in_both():
    honest, leaky = rows(told=True)
    assert min(honest.value, leaky.value) > 0.98
    assert honest.low > honest.null_high


def reference_nearest(known, asked):
    """The known slice with the highest correlation, at 24 x 24 pixels of four each."""
    small = [
        part["image"][:, 0].numpy().reshape(-1, 24, 2, 24, 2).mean((2, 4)).reshape(-1, 576) for part in (known, asked)
    ]
    correlation = np.corrcoef(small[1], small[0])[: len(small[1]), len(small[1]) :]
    return known["label"].numpy()[correlation.argmax(axis=1)]


def test_the_nearest_slice_is_the_most_correlated_one():
    known, asked = near_copies(20, seed=3), near_copies(20, first=50, seed=4)
    tables = [feature_table(part, thumbnails(part.image)) for part in (whole_split([known]), whole_split([asked]))]
    table = nearest(*tables, CLASSES)
    assert np.array_equal(table.prediction, reference_nearest(known, asked))
    sets = {"training": known, "test": asked}
    honest, _ = leakage_controls(lambda split: [sets[split]], CLASSES, FEW)
    assert honest.value == pytest.approx(balanced_accuracy_score(asked["label"], reference_nearest(known, asked)))


def test_a_thumbnail_has_mean_zero_and_length_one_and_an_even_slice_none():
    values = thumbnails(torch.cat([torch.rand(3, 1, 50, 70), torch.full((1, 1, 50, 70), 0.4)]))
    assert values.shape == (4, 576)
    assert values.mean(axis=1) == pytest.approx(np.zeros(4), abs=1e-12)
    assert np.linalg.norm(values, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-3)


def test_the_leaky_split_follows_the_seed_and_keeps_the_slices():
    sets = {"training": near_copies(20, seed=1), "test": near_copies(10, first=50, seed=2)}
    every = joined([whole_split([part]) for part in sets.values()])
    assert len(set(every.id)) == len(every) == 180
    first, again, other = (
        leakage_controls(lambda split: [sets[split]], CLASSES, Resampling(50, seed=seed))[1] for seed in (0, 0, 1)
    )
    assert first == again
    assert other != first
    assert other.n == first.n == 60
