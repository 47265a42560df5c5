"""Projectors: shapes, gradients, and what each promises."""

import pytest
import torch

from kdmri_monai.losses.projectors import mlp_projector, orthogonal_projector, pointwise_projector


def test_the_mlp_ends_without_an_activation_and_every_parameter_learns():
    torch.manual_seed(0)
    projector = mlp_projector(6, 4)
    out = projector(torch.randn(32, 6))
    out.square().sum().backward()
    assert out.shape == (32, 4)
    assert (out < -0.5).any()
    assert [tuple(p.shape) for p in projector.parameters()] == [(12, 6), (12,), (12,), (12,), (4, 12), (4,)]
    assert all(p.grad is not None for p in projector.parameters())


@pytest.mark.parametrize(("narrow", "wide"), [(3, 8), (8, 8)])
def test_an_orthogonal_projection_to_more_channels_keeps_all_inner_products(narrow, wide):
    vectors = torch.randn(10, narrow)
    out = orthogonal_projector(narrow, wide)(vectors)
    torch.testing.assert_close(out @ out.T, vectors @ vectors.T, atol=1e-4, rtol=1e-4)


def test_an_orthogonal_projection_to_fewer_channels_never_lengthens():
    vectors = torch.randn(100, 8)
    projector = orthogonal_projector(8, 3)
    assert (projector(vectors).norm(dim=1) <= vectors.norm(dim=1) + 1e-5).all()
    torch.testing.assert_close(projector.weight @ projector.weight.T, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
def test_the_pointwise_projector_is_one_linear_map_at_every_position(dims):
    projector = pointwise_projector(4, 6, dims)
    maps = torch.randn(2, 4, *[3] * dims)
    weight = projector.weight.flatten(start_dim=1)
    expected = torch.einsum("dc,bc...->bd...", weight, maps) + projector.bias.reshape(6, *[1] * dims)
    torch.testing.assert_close(projector(maps), expected)
