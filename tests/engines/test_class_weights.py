"""Weights of classes: every class has the same total in the loss."""

import pytest
import torch

from kdmri_monai.engines import class_weights

ENTRIES = [{"label": label} for label, number in enumerate([1, 16, 8]) for _ in range(number)]


def test_every_class_has_the_same_total():
    weights = class_weights(ENTRIES, 3)
    torch.testing.assert_close(weights * torch.tensor([1.0, 16.0, 8.0]), torch.full((3,), 25 / 3))


def test_a_class_without_slices_is_named():
    with pytest.raises(ValueError, match="classes 3 have no slice"):
        class_weights(ENTRIES, 4)
