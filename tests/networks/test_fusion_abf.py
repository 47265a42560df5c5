"""Top-down gated fusion against the figure of the paper; direction; size of the projection."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdmri_monai.networks.fusion import AttentionBasedFusion

IN, OUT, SIZES = [4, 6, 8], [5, 7, 9], [(17, 12), (9, 6), (5, 3)]


def reference(layer, features):
    """Figure 3 (a) of ReviewKD in eval mode, coarsest scale first, with functional calls and NumPy's sigmoid."""

    def lateral(i):
        conv, norm = layer.lateral[i]
        return affine(norm, F.conv2d(features[i], conv.weight))

    def project(i, x):
        conv, norm = layer.project[i]
        return affine(norm, F.conv2d(x, conv.weight, padding=(conv.weight.shape[-1] - 1) // 2))

    def affine(norm, x):
        mean, var, weight, bias = (
            v[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (x - mean) / torch.sqrt(var + norm.eps) * weight + bias

    carried = lateral(2)
    fused = [project(2, carried)]
    for i in (1, 0):
        fine = lateral(i)
        up = F.interpolate(carried, size=fine.shape[2:], mode="bilinear", align_corners=False)
        z = F.conv2d(torch.cat([fine, up], 1), layer.gates[i].weight, layer.gates[i].bias).numpy()
        gate = torch.from_numpy(1 / (1 + np.exp(-z)))
        carried = fine * gate[:, :1] + up * gate[:, 1:]
        fused = [project(i, carried), *fused]
    return fused


def maps():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, *s, generator=generator) for c, s in zip(IN, SIZES, strict=True)]


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@torch.no_grad()
def test_abf_equals_the_figure_of_the_paper(kernel_size):
    torch.manual_seed(1)
    layer = AttentionBasedFusion(2, IN, OUT, width=8, kernel_size=kernel_size)
    for _ in range(3):
        layer([3 * m + 1 for m in maps()])  # running statistics other than 0 and 1
    for got, expected in zip(layer.eval()(maps()), reference(layer, maps()), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_coarse_scales_reach_the_finest_map_and_not_the_other_way():
    layer = AttentionBasedFusion(2, IN, OUT).eval()
    inputs = [m.requires_grad_() for m in maps()]
    fused = layer(inputs)
    to_finest = torch.autograd.grad(fused[0].sum(), inputs, retain_graph=True, allow_unused=True)
    to_coarsest = torch.autograd.grad(fused[2].sum(), inputs, allow_unused=True)
    assert all(g is not None and g.abs().sum() > 0 for g in to_finest)
    assert to_coarsest[0] is None
    assert to_coarsest[1] is None


def test_a_projection_of_one_pixel_has_few_parameters():
    layer = AttentionBasedFusion(2, [64, 128], [32, 32], width=32, kernel_size=1)
    lateral, gates, project = (64 + 128) * 32 + 2 * 64, 64 * 2 + 2, 2 * (32 * 32 + 64)
    assert sum(p.numel() for p in layer.parameters()) == lateral + gates + project
