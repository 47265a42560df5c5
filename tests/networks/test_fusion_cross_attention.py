"""Attention over the tokens of all scales: formula, code of positions, reach."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdmri_monai.networks.fusion import CrossAttentionFusion
from kdmri_monai.networks.fusion.positions import sine_cosine_code

IN, OUT, SIZES = [4, 6, 8], [5, 7, 9], [(17, 12), (9, 6), (5, 3)]


def code_of(size, channels, finest):
    """Sine and cosine of the pixel's centre along each axis, at frequencies from pi to pi * finest; pixel by pixel."""
    count = channels // (2 * len(size))
    frequencies = np.pi * np.geomspace(1, finest, count)
    codes = np.zeros((*size, channels))
    for pixel in product(*map(range, size)):
        for axis, (place, side) in enumerate(zip(pixel, size, strict=True)):
            angle, start = (place + 0.5) / side * frequencies, 2 * count * axis
            codes[pixel][start : start + 2 * count] = np.concatenate([np.sin(angle), np.cos(angle)])
    return codes.reshape(-1, channels)


def affine(norm, x):
    mean, var, weight, bias = (v[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / torch.sqrt(var + norm.eps) * weight + bias


def layer_norm(norm, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + norm.eps) * norm.weight + norm.bias


def attention(module, x, heads):
    """softmax(q k' / sqrt(d)) v, one head after the other."""
    q, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).chunk(3, dim=-1)
    answers = []
    for q_h, k_h, v_h in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        scores = q_h @ k_h.transpose(1, 2) / np.sqrt(q_h.shape[-1])
        shares = torch.exp(scores - scores.max()) / torch.exp(scores - scores.max()).sum(-1, keepdim=True)
        answers.append(shares @ v_h)
    return F.linear(torch.cat(answers, -1), module.out_proj.weight, module.out_proj.bias)


def reference(layer, features, heads, tokens):
    maps = [affine(n, F.conv2d(f, c.weight)) for (c, n), f in zip(layer.lateral, features, strict=True)]
    sizes = [tuple(min(side, tokens) for side in m.shape[2:]) for m in maps]
    sequence = []
    for m, size, level in zip(maps, sizes, layer.level, strict=True):
        code = torch.from_numpy(code_of(size, m.shape[1], tokens)).float()
        sequence.append(F.adaptive_avg_pool2d(m, size).flatten(2).movedim(1, 2) + code + level)
    x = torch.cat(sequence, dim=1)
    for block in layer.layers:
        x = x + attention(block.attention, layer_norm(block.attention_norm, x), heads)
        hidden = F.gelu(F.linear(layer_norm(block.mlp_norm, x), block.mlp.linear1.weight, block.mlp.linear1.bias))
        x = x + F.linear(hidden, block.mlp.linear2.weight, block.mlp.linear2.bias)
    x, start, fused = layer_norm(layer.norm, x), 0, []
    for (conv, norm), m, size in zip(layer.project, maps, sizes, strict=True):
        part = x[:, start : start + size[0] * size[1]].movedim(1, 2).reshape(len(m), -1, *size)
        start += size[0] * size[1]
        whole = F.interpolate(part, size=m.shape[2:], mode="bilinear", align_corners=False)
        fused.append(affine(norm, F.conv2d(m + whole, conv.weight, padding=conv.weight.shape[-1] // 2)))
    return fused


def maps(batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, *s, generator=generator) for c, s in zip(IN, SIZES, strict=True)]


def layer_with(**arguments):
    torch.manual_seed(1)
    return CrossAttentionFusion(2, IN, OUT, width=16, **arguments)


@pytest.mark.parametrize(("heads", "depth", "tokens", "kernel_size"), [(4, 1, 7, 3), (2, 2, 4, 1), (1, 1, 32, 3)])
@torch.no_grad()
def test_fusion_equals_the_formula(heads, depth, tokens, kernel_size):
    layer = layer_with(num_heads=heads, depth=depth, tokens=tokens, kernel_size=kernel_size)
    for parameter in layer.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # norms other than the identity
    for _ in range(3):
        layer([2 * m - 1 for m in maps()])
    for got, expected in zip(layer.eval()(maps()), reference(layer, maps(), heads, tokens), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_patch_is_felt_in_the_opposite_corner_of_every_scale():
    layer = layer_with().eval()
    for moved in range(3):
        inputs, changed = maps(), maps()
        changed[moved][:, :, :2, :2] += 5
        for before, after in zip(layer(inputs), layer(changed), strict=True):
            assert (before[:, :, -1, -1] - after[:, :, -1, -1]).abs().amin(dim=0).max() > 1e-4


@torch.no_grad()
def test_a_scale_smaller_than_the_tokens_is_not_enlarged():
    layer, lengths = layer_with(tokens=6).eval(), []
    layer.layers[0].register_forward_hook(lambda _module, inputs, _output: lengths.append(inputs[0].shape))
    layer(maps())
    assert lengths == [(2, 6 * 6 + 6 * 6 + 5 * 3, 16)]


@pytest.mark.parametrize(("spatial_dims", "size"), [(1, (7,)), (2, (3, 5)), (3, (2, 4, 3))])
def test_code_equals_numpy(spatial_dims, size):
    layer = CrossAttentionFusion(spatial_dims, [4], [4], width=20)
    np.testing.assert_allclose(layer.position_code(size), code_of(size, 20, 7), atol=1e-5)


def test_code_tells_rows_from_columns():
    code = layer_with().position_code((7, 7)).reshape(7, 7, 16)
    for y, x in product(range(7), range(7)):
        assert y == x or not torch.allclose(code[y, x], code[x, y], atol=1e-2)
        torch.testing.assert_close(code[y, x, :8], code[y, 0, :8])
        torch.testing.assert_close(code[y, x, 8:], code[0, x, 8:])


def test_code_in_3d_tells_all_axes_apart():
    layer = CrossAttentionFusion(3, [4], [4], width=24)
    code = layer.position_code((4, 4, 4)).reshape(4, 4, 4, 24)
    places = [code[1, 2, 3], code[1, 3, 2], code[2, 1, 3], code[2, 3, 1], code[3, 1, 2], code[3, 2, 1]]
    assert all((a - b).abs().max() > 0.1 for i, a in enumerate(places) for b in places[:i])


def test_one_place_has_one_code_on_all_scales():
    layer = layer_with(tokens=6)
    coarse, fine = layer.position_code((2, 2)).reshape(2, 2, 16), layer.position_code((6, 6)).reshape(6, 6, 16)
    torch.testing.assert_close(coarse, fine[1::3, 1::3])


def test_no_two_places_share_a_code():
    for channels in (4, 16, 64):
        layer = CrossAttentionFusion(2, [4], [4], width=channels)
        code = layer.position_code((7, 7))
        assert torch.pdist(code).min() > 0.05


def test_code_follows_the_layer_to_float64_and_is_in_no_checkpoint():
    layer = layer_with().double().eval()
    assert [m.dtype for m in layer([m.double() for m in maps()])] == [torch.float64] * 3
    assert not {"half_pixels", "frequencies"} & set(layer.state_dict())


def test_code_needs_channels_for_its_frequencies():
    with pytest.raises(ValueError, match="3 frequencies on 2 axes need 12 channels, there are 8"):
        sine_cosine_code([torch.rand(4), torch.rand(5)], torch.ones(3), 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 18, "num_heads": 4}, "width 18 is no multiple of num_heads 4"),
        ({"width": 3, "num_heads": 1}, "width is 3, the positions along 2 axes need 4 or more"),
        ({"num_heads": 0}, "num_heads is 0, it must be at least 1"),
        ({"tokens": 0}, "tokens is 0, it must be at least 1"),
        ({"depth": 0}, "depth is 0, it must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossAttentionFusion(2, IN, OUT, **arguments)
