"""Normals and curvature; the references are circles, ellipses and balls, and NumPy's gradient of SciPy's smoothing."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from kdmri_monai.networks.geometry.contour import border_curvature, border_normal
from kdmri_monai.networks.geometry.distance import signed_distance


def ball(radius, centre, size):
    away = [axis - c for axis, c in zip(np.indices(size), centre, strict=True)]
    mask = sum(a**2 for a in away) < radius**2
    return torch.from_numpy(mask)[None, None], np.stack(away)


def reference_normal(distance, sigma):
    slope = np.stack(np.gradient(ndimage.gaussian_filter(distance, sigma)))
    return -slope / np.linalg.norm(slope, axis=0)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("radius", [8, 12, 20, 30])
def test_curvature_on_a_circle_is_one_over_its_radius_within_two_percent(radius, sigma):
    mask, _ = ball(radius, (47.3, 48.1), (96, 96))
    distance = signed_distance(mask, 32.0)
    border = distance.abs() < 0.6
    mean = border_curvature(distance, sigma)[border].mean().item()
    assert mean == pytest.approx(1 / radius, rel=0.02)


@pytest.mark.parametrize("radius", [8, 20])
def test_a_hole_is_bent_the_other_way(radius):
    mask, _ = ball(radius, (40, 40), (81, 81))
    hole, tumour = signed_distance(~mask, 32.0), signed_distance(mask, 32.0)
    torch.testing.assert_close(border_curvature(hole, 2.0), -border_curvature(tumour, 2.0), rtol=0, atol=1e-5)


def test_curvature_of_a_ball_is_one_over_its_radius_within_four_percent():
    mask, _ = ball(10, (16, 15.6, 16.3), (32, 32, 32))
    distance = signed_distance(mask)
    mean = border_curvature(distance, 1.5)[distance.abs() < 0.6].mean().item()
    assert mean == pytest.approx(1 / 10, rel=0.04)


def test_curvature_at_the_ends_of_an_ellipse_is_the_analytic_one():
    """``a b / (a^2 sin^2 t + b^2 cos^2 t)^(3/2)``: within 12 % over ten places on the grid, at both kinds of ends."""
    a, b, sigma = 30.0, 18.0, 3.0
    ratios = []
    for y, x in 48 + np.random.default_rng(0).random((10, 2)):
        row, column = np.mgrid[:97, :97] - np.array([y, x])[:, None, None]
        distance = signed_distance(torch.from_numpy((column / a) ** 2 + (row / b) ** 2 < 1)[None, None], 32.0)
        t = np.arctan2(row / b, column / a)
        expected = a * b / ((a * np.sin(t)) ** 2 + (b * np.cos(t)) ** 2) ** 1.5
        got, border = border_curvature(distance, sigma)[0, 0].numpy(), (distance.abs() < 0.6)[0, 0].numpy()
        sharp, blunt = border & (np.abs(np.cos(t)) > 0.97), border & (np.abs(np.sin(t)) > 0.97)
        ratios.append([got[end].mean() / expected[end].mean() for end in (sharp, blunt)])
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1, atol=0.12)


def test_normals_point_out_of_a_circle_within_seven_degrees():
    mask, away = ball(15, (31.2, 32.4), (64, 64))
    distance = signed_distance(mask, 32.0)
    normal = border_normal(distance, 2.0)[0].numpy()
    near = (distance.abs() < 4)[0, 0].numpy()
    radial = away / np.linalg.norm(away, axis=0)
    assert (normal * radial).sum(axis=0)[near].min() > np.cos(np.deg2rad(7))
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0)[near], 1, atol=1e-4)


@pytest.mark.parametrize("size", [(40, 44), (20, 21, 22)])
def test_normals_equal_numpy_and_scipy_where_there_is_a_slope(size):
    """Within 2e-4: the fading of flat places, and float32."""
    mask, _ = ball(6, [length / 2 + 0.3 for length in size], size)
    distance = signed_distance(mask)
    expected = reference_normal(distance[0, 0].numpy().astype(np.float64), 1.0)
    near = (distance.abs() < 3)[0, 0].numpy()
    got = border_normal(distance, 1.0)[0].numpy()
    np.testing.assert_allclose(got[:, near], expected[:, near], atol=2e-4)


def test_curvature_stays_in_its_band_and_is_cut_at_one_over_sigma():
    mask = torch.zeros(1, 1, 21, 21)
    mask[..., 10, 10] = 1  # a tumour of one pixel
    distance = signed_distance(mask)
    curvature = border_curvature(distance, 2.0, band=3.0)
    assert (curvature[distance.abs() > 3] == 0).all()
    assert curvature[..., 10, 10] == pytest.approx(0.5, abs=1e-6)
    assert curvature.abs().max() <= 0.5


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_border_there_is_neither_normal_nor_curvature(value):
    distance = signed_distance(torch.full((1, 1, 24, 24), value), 32.0)
    assert border_normal(distance, 2.0).abs().max() < 5e-3
    assert border_curvature(distance, 2.0).abs().max() == 0


def test_a_tumour_at_the_edge_of_the_image_gives_finite_maps():
    mask, away = ball(12, (0, 20), (48, 48))
    distance = signed_distance(mask, 32.0)
    normal, curvature = border_normal(distance, 1.0), border_curvature(distance, 1.0)
    assert torch.isfinite(normal).all()
    assert torch.isfinite(curvature).all()
    away_from_the_edge = (distance[0, 0].abs() < 0.6).numpy() & (away[0] > 5)
    assert curvature[0, 0].numpy()[away_from_the_edge].mean() == pytest.approx(1 / 12, rel=0.1)


def test_contours_of_a_batch_equal_those_of_its_samples():
    distance = torch.cat([signed_distance(ball(r, (16, 18), (36, 32))[0], 32.0) for r in (1, 5, 9)])
    alone = torch.cat([border_curvature(sample[None], 1.5) for sample in distance])
    torch.testing.assert_close(border_curvature(distance, 1.5), alone, rtol=0, atol=2e-5)


def test_normals_and_curvature_have_right_gradients():
    distance = signed_distance(ball(3, (4, 4.5), (9, 9))[0]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: border_normal(d, 1.0), distance)
    assert torch.autograd.gradcheck(lambda d: border_curvature(d, 0.5, band=2.3), distance)


def test_several_channels_and_an_empty_band_are_refused():
    with pytest.raises(ValueError, match=r"distance is \(1, 2, 4, 4\)"):
        border_normal(torch.zeros(1, 2, 4, 4), 1.0)
    with pytest.raises(ValueError, match="band is 0"):
        border_curvature(torch.zeros(1, 1, 4, 4), 1.0, band=0)
