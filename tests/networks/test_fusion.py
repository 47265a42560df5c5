"""Fusion layers: shapes, gates, gradients, the factory, export."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdmri_monai.networks import Fusion, get_fusion_layer

IN, OUT, SIZES = [4, 6, 8], [5, 7, 9], [17, 9, 5]


def maps(spatial_dims=2, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, *[s] * spatial_dims, generator=generator) for c, s in zip(IN, SIZES, strict=True)]


def reference_two_scales(layer, fine, coarse):
    """Figure 3 (a) of ReviewKD for two scales, in eval mode, written with functional calls and NumPy's sigmoid."""

    def lateral(i, x):
        conv, norm = layer.lateral[i]
        return F.batch_norm(F.conv2d(x, conv.weight), norm.running_mean, norm.running_var, norm.weight, norm.bias)

    def project(i, x):
        conv, norm = layer.project[i]
        mixed = F.conv2d(x, conv.weight, padding=1)
        return F.batch_norm(mixed, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    top = lateral(1, coarse)
    up = F.interpolate(top, size=fine.shape[2:], mode="bilinear", align_corners=False)
    low = lateral(0, fine)
    z = F.conv2d(torch.cat([low, up], 1), layer.gates[0].weight, layer.gates[0].bias).detach().numpy()
    gate = torch.from_numpy(1 / (1 + np.exp(-z)))
    return [project(0, low * gate[:, :1] + up * gate[:, 1:]), project(1, top)]


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_fused_maps_keep_their_sizes_and_take_the_wanted_channels(spatial_dims):
    layer = Fusion["ABF", spatial_dims](spatial_dims=spatial_dims, in_channels=IN, out_channels=OUT, width=8)
    fused = layer(maps(spatial_dims))
    assert [tuple(m.shape) for m in fused] == [(2, c, *[s] * spatial_dims) for c, s in zip(OUT, SIZES, strict=True)]


def test_abf_equals_the_figure_of_the_paper():
    torch.manual_seed(1)
    layer = get_fusion_layer(("abf", {"width": 8}), 2, IN[:2], OUT[:2]).eval()
    fine, coarse = maps()[:2]
    with torch.no_grad():
        for got, expected in zip(layer([fine, coarse]), reference_two_scales(layer, fine, coarse), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_every_parameter_gets_a_gradient():
    layer = get_fusion_layer("abf", 2, IN, OUT)
    sum((m * torch.randn_like(m)).sum() for m in layer(maps())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_coarse_scales_reach_the_finest_map_and_not_the_other_way():
    layer = get_fusion_layer("abf", 2, IN, OUT).eval()
    inputs = [m.requires_grad_() for m in maps()]
    fused = layer(inputs)
    to_finest = torch.autograd.grad(fused[0].sum(), inputs, retain_graph=True, allow_unused=True)
    to_coarsest = torch.autograd.grad(fused[2].sum(), inputs, allow_unused=True)
    assert all(g is not None and g.abs().sum() > 0 for g in to_finest)
    assert to_coarsest[0] is None
    assert to_coarsest[1] is None


def test_one_scale_is_allowed():
    assert get_fusion_layer("abf", 2, [4], [5])([maps()[0]])[0].shape == (2, 5, 17, 17)


def test_an_unknown_fusion_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"(?s)Unsupported option.*ABF"):
        get_fusion_layer("pyramid", 2, IN, OUT)


def test_scales_must_match():
    with pytest.raises(ValueError, match=r"in_channels \[4, 6, 8\] and out_channels \[5\] name other scales"):
        get_fusion_layer("abf", 2, IN, [5])
    with pytest.raises(ValueError, match="got 2 maps for 3 scales"):
        get_fusion_layer("abf", 2, IN, OUT)(maps()[:2])


@pytest.mark.slow
def test_abf_survives_export():
    layer = get_fusion_layer("abf", 2, IN, OUT).eval()
    exported = torch.export.export(layer, (maps(),))
    for got, expected in zip(exported.module()(maps()), layer(maps()), strict=True):
        torch.testing.assert_close(got, expected)
