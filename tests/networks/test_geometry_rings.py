"""Rings by signed distance; the reference is ``numpy.digitize`` on SciPy's distance transform."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import expit

from kdmri_monai.networks.geometry.distance import signed_distance
from kdmri_monai.networks.geometry.rings import relative_rings, ring_partition

EDGES = (-6.0, -2.0, 0.0, 3.0)


def disc(radius, size=48, centre=None):
    row, column = np.mgrid[:size, :size]
    y, x = centre or (size / 2, size / 2)
    return (row - y) ** 2 + (column - x) ** 2 < radius**2


def reference_rings(distance, edges):
    """One-hot rings, innermost first; a ring includes its upper edge."""
    ring = np.digitize(distance, edges, right=True)
    return np.stack([ring == number for number in range(len(edges), -1, -1)]).astype(np.float32)


def distances(*masks):
    return signed_distance(torch.from_numpy(np.stack(masks))[:, None])


def test_hard_rings_equal_digitize_in_2d_and_3d():
    flat = distances(disc(9), disc(5, centre=(2, 40)))
    solid = distances(np.random.default_rng(0).random((9, 10, 11)) < 0.1)
    for distance in (flat, solid):
        rings = ring_partition(distance, EDGES)
        for sample, expected in zip(rings.numpy(), distance[:, 0].numpy(), strict=True):
            np.testing.assert_array_equal(sample, reference_rings(expected, EDGES))
    assert set(flat[0].flatten().tolist()) > {-0.5, 0.5}  # pixels lie in rings on both sides of the border


def test_a_distance_on_an_edge_belongs_to_the_ring_below():
    distance = torch.tensor([3.0, 0.0, -2.0, -6.0]).reshape(1, 1, 1, 4)
    assert ring_partition(distance, EDGES).argmax(dim=1).flatten().tolist() == [1, 2, 3, 4]


def test_soft_rings_are_differences_of_sigmoids_that_sum_to_one():
    distance = distances(disc(9))
    rings = ring_partition(distance, EDGES, softness=0.7)
    level = [expit((distance[0, 0].numpy() - edge) / 0.7) for edge in EDGES]
    above = [np.ones_like(level[0]), *level, np.zeros_like(level[0])]
    expected = [above[i] - above[i + 1] for i in range(len(EDGES), -1, -1)]
    np.testing.assert_allclose(rings[0].numpy(), np.stack(expected), atol=1e-6)
    torch.testing.assert_close(rings.sum(dim=1, keepdim=True), torch.ones_like(distance))


def test_soft_rings_become_hard_ones_as_the_softness_goes_to_zero():
    distance = distances(disc(9))
    torch.testing.assert_close(ring_partition(distance, (-2.2, 1.7), 1e-3), ring_partition(distance, (-2.2, 1.7)))


def test_soft_rings_have_right_gradients():
    distance = torch.linspace(-8, 5, 12, dtype=torch.float64).reshape(1, 1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: ring_partition(d, EDGES, softness=1.3), distance)


def test_relative_rings_scale_with_the_depth_of_the_tumour():
    masks = [disc(4), disc(10), disc(7, centre=(0, 20))]
    rings = relative_rings(distances(*masks))
    for sample, mask in zip(rings.numpy(), masks, strict=True):
        inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
        distance = np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)
        depth = distance.max()
        edges = [-2 * depth, -depth, 0, depth / 2]
        clear = np.abs(distance[..., None] - edges).min(axis=-1) > 1e-4  # rounding may decide on an edge itself
        np.testing.assert_array_equal(sample[:, clear], reference_rings(distance, edges)[:, clear])
    assert (rings[:, :2].sum(dim=1).numpy() == np.stack(masks)).all()
    assert (rings.sum(dim=(2, 3)) > 0).all()


def test_without_tumour_all_is_rest_and_a_full_image_is_all_core():
    for limit in (None, 8.0):
        empty, full = signed_distance(torch.stack([torch.zeros(1, 9, 9), torch.ones(1, 9, 9)]), limit)
        assert relative_rings(empty[None])[0, 4].min() == 1
        assert relative_rings(empty[None], softness=0.1)[0, 4].min() == 1
        assert relative_rings(full[None])[0, 0].min() == 1


def test_a_tumour_of_one_pixel_is_all_core():
    mask = np.zeros((7, 7), dtype=bool)
    mask[3, 3] = True
    rings = relative_rings(distances(mask))[0]
    assert rings[0].sum() == 1
    assert rings[0, 3, 3] == 1
    assert torch.equal(rings.sum(dim=0), torch.ones(7, 7))


def test_rings_of_a_batch_do_not_depend_on_the_other_samples():
    distance = distances(disc(4), disc(10), disc(1))
    alone = torch.cat([relative_rings(sample[None], softness=0.2) for sample in distance])
    assert torch.equal(relative_rings(distance, softness=0.2), alone)


def test_soft_relative_rings_of_a_sample_without_tumour_have_finite_gradients():
    distance = torch.full((1, 1, 3, 3), -4.0, requires_grad=True)
    relative_rings(distance, softness=0.1).square().sum().backward()
    assert torch.isfinite(distance.grad).all()


@pytest.mark.parametrize("edges", [(), (1.0, 1.0), (2.0, -1.0)])
def test_edges_that_do_not_ascend_are_refused(edges):
    with pytest.raises(ValueError, match="must ascend"):
        ring_partition(torch.zeros(1, 1, 2, 2), edges)


def test_a_negative_softness_and_several_channels_are_refused():
    with pytest.raises(ValueError, match="softness is -1"):
        ring_partition(torch.zeros(1, 1, 2, 2), EDGES, softness=-1)
    with pytest.raises(ValueError, match=r"distance is \(1, 2, 2, 2\)"):
        relative_rings(torch.zeros(1, 2, 2, 2))
