"""Maps brought to the size of another scale, against SciPy and plain means."""

from itertools import product
from math import ceil, floor

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from kdmri_monai.networks.fusion.scales import resample


def reference(image, size):
    """Means over the pixels that a smaller grid's pixel touches, then linear interpolation between pixel centres."""
    smaller = [min(have, want) for have, want in zip(image.shape, size, strict=True)]
    means = np.zeros(smaller)
    for pixel in product(*map(range, smaller)):
        window = tuple(
            slice(floor(i * n / m), ceil((i + 1) * n / m)) for i, n, m in zip(pixel, image.shape, smaller, strict=True)
        )
        means[pixel] = image[window].mean()
    places = [(np.arange(want) + 0.5) * have / want - 0.5 for have, want in zip(smaller, size, strict=True)]
    return map_coordinates(means, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ((7,), (3,)),
        ((3,), (8,)),
        ((8, 6), (4, 3)),
        ((17, 9), (5, 4)),
        ((5, 4), (17, 9)),
        ((16, 3), (4, 9)),
        ((6, 6), (6, 6)),
        ((4, 6, 5), (8, 3, 5)),
    ],
)
def test_resampling_equals_means_and_scipy(have, want):
    maps = torch.randn(2, 3, *have, dtype=torch.float64)
    got = resample(maps, want).numpy()
    assert got.shape == (2, 3, *want)
    for b, c in product(range(2), range(3)):
        np.testing.assert_allclose(got[b, c], reference(maps[b, c].numpy(), want), atol=1e-12)


def test_a_pattern_too_fine_for_the_smaller_grid_is_averaged_away():
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 3, 16)
    assert resample(stripes, (6, 4)).abs().max() < 1e-6
