"""Concatenation of all scales against NumPy."""

import numpy as np
import torch
import torch.nn.functional as F

from kdmri_monai.networks.fusion import ConcatFusion

IN, OUT, SIZES = [4, 6, 8], [5, 7, 9], [(17, 12), (9, 6), (5, 3)]


def resized(x, size):
    """All of the sizes here shrink or grow along both axes."""
    if x.shape[2] >= size[0]:
        return F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def reference(layer, features):
    fused = []
    for (conv, norm), own in zip(layer.project, features, strict=True):
        stack = np.concatenate([resized(f, own.shape[2:]).numpy() for f in features], axis=1)
        mixed = np.einsum("oi,bihw->bohw", conv.weight.numpy()[:, :, 0, 0], stack)
        mean, var, weight, bias = (
            v.numpy()[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        fused.append((mixed - mean) / np.sqrt(var + norm.eps) * weight + bias)
    return fused


@torch.no_grad()
def test_concat_equals_a_matrix_on_the_stacked_scales():
    torch.manual_seed(1)
    features = [torch.randn(2, c, *s) for c, s in zip(IN, SIZES, strict=True)]
    layer = ConcatFusion(2, IN, OUT)
    layer([2 * m - 1 for m in features])  # running statistics other than 0 and 1
    for got, expected in zip(layer.eval()(features), reference(layer, features), strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
