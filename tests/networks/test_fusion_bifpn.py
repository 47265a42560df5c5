"""BiFPN against the equations of the paper, written out node by node."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdmri_monai.networks.fusion import BiFPNFusion
from kdmri_monai.networks.fusion.bifpn import fast_normalised_fusion

IN, OUT, SIZES = [4, 6, 8], [5, 7, 9], [(17, 12), (9, 6), (5, 3)]


def weighted(maps, weights):
    """Section 3.3: sum of w_i x_i over 0.0001 + sum of w_j, weights kept positive by a ReLU; in NumPy."""
    w = np.maximum(weights, 0)
    return sum(a * x for a, x in zip(w, maps, strict=True)) / (1e-4 + w.sum())


def affine(norm, x):
    mean, var, weight, bias = (v[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / torch.sqrt(var + norm.eps) * weight + bias


def node(module, *maps):
    """Conv(weighted mean): depthwise 3 x 3, pointwise, normalisation, swish."""
    x = torch.from_numpy(weighted([m.numpy() for m in maps], module.weights.numpy()))
    x = F.conv2d(x, module.depthwise.weight, padding=1, groups=x.shape[1])
    conv, norm = module.pointwise
    x = affine(norm, F.conv2d(x, conv.weight))
    return x / (1 + torch.exp(-x))


def up(x, like):
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def down(x, like):
    return F.adaptive_avg_pool2d(x, like.shape[2:])


def reference(layer, features):
    """Three scales, from the finest: P1, P2, P3."""
    p1, p2, p3 = (affine(n, F.conv2d(f, c.weight)) for (c, n), f in zip(layer.lateral, features, strict=True))
    for repeat in layer.repeats:
        td2 = node(repeat.top_down[0], p2, up(p3, p2))
        out1 = node(repeat.top_down[1], p1, up(td2, p1))
        out2 = node(repeat.bottom_up[0], p2, td2, down(out1, p2))
        out3 = node(repeat.bottom_up[1], p3, down(out2, p3))
        p1, p2, p3 = out1, out2, out3
    return [affine(n, F.conv2d(p, c.weight)) for (c, n), p in zip(layer.project, (p1, p2, p3), strict=True)]


@pytest.mark.parametrize("depth", [1, 2])
@torch.no_grad()
def test_bifpn_equals_the_equations_of_the_paper(depth):
    torch.manual_seed(1)
    features = [torch.randn(2, c, *s) for c, s in zip(IN, SIZES, strict=True)]
    layer = BiFPNFusion(2, IN, OUT, width=8, depth=depth)
    for name, parameter in layer.named_parameters():
        if name.endswith("weights"):
            parameter.copy_(torch.randn_like(parameter) + 1)
    for _ in range(3):
        layer([2 * m - 1 for m in features])  # running statistics other than 0 and 1
    for got, expected in zip(layer.eval()(features), reference(layer, features), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_weights_start_equal_and_nodes_have_as_many_as_inputs():
    layer = BiFPNFusion(2, IN * 2, OUT * 2, width=8)
    weights = [n.weights for n in (*layer.repeats[0].top_down, *layer.repeats[0].bottom_up)]
    assert [len(w) for w in weights] == [2, 2, 2, 2, 2, 3, 3, 3, 3, 2]
    assert all((w == 1).all() for w in weights)


def test_weighted_mean_equals_numpy_and_ignores_negative_weights():
    maps = [torch.randn(2, 3, 4, 5) for _ in range(3)]
    for weights in ([1.0, 1, 1], [0.2, 3, 0.5], [-1, 0.5, 2], [0, 0, 7]):
        got = fast_normalised_fusion(maps, torch.tensor(weights))
        np.testing.assert_allclose(got, weighted([m.numpy() for m in maps], np.array(weights)), rtol=1e-5, atol=1e-6)
    assert (fast_normalised_fusion(maps, torch.tensor([-1.0, -2, -3])) == 0).all()


def test_weighted_mean_has_right_gradients():
    maps = [torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.tensor([0.5, 1.5, -0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, *m: fast_normalised_fusion(m, w), (weights, *maps))


def test_weights_must_match_the_maps():
    with pytest.raises(ValueError, match=r"weights of shape \(2,\) for 3 maps"):
        fast_normalised_fusion([torch.zeros(1, 1, 2, 2)] * 3, torch.ones(2))


def test_depth_must_be_positive():
    with pytest.raises(ValueError, match="depth is 0, it must be at least 1"):
        BiFPNFusion(2, IN, OUT, depth=0)
