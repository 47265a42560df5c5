"""The geometry term against SciPy: targets by area, loss by its formula, slices without a mask left out."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from skimage.measure import block_reduce

from kdmri_monai.losses import DistillationInputs, GeometryTargets, geometry_loss
from kdmri_monai.losses.geometry_targets import geometry_targets


def masks(side=32):
    y, x = np.mgrid[:side, :side]
    return np.stack([(((y - 14) / 9) ** 2 + ((x - 18) / 5) ** 2 <= 1), ((y - 9) ** 2 + (x - 9) ** 2 <= 25)])[:, None]


def reference_targets(mask, limit):
    """At twice the size of maps of a quarter of the mask: blocks of 2, then SciPy, then blocks of 2."""
    half = block_reduce(mask.astype(float), (2, 2), np.mean) >= 0.5
    inside, outside = distance_transform_edt(half), distance_transform_edt(~half)
    depth = 2 * np.where(half, inside - 0.5, -(outside - 0.5))
    relative = depth / depth.max()
    rings = [relative > 0.5, relative <= 0.5, relative <= 0, relative <= -1, relative <= -2]
    rings = [ring & ~nxt for ring, nxt in zip(rings, [*rings[1:], np.zeros_like(half)], strict=True)]
    mean = lambda values: block_reduce(values.astype(float), (2, 2), np.mean)  # noqa: E731
    share = block_reduce(mask.astype(float), (4, 4), np.mean)
    return share, mean((depth / limit).clip(-1, 1)), np.stack([mean(ring) for ring in rings])


def reference_loss(maps, mask, limit):
    share, distance, rings = reference_targets(mask, limit)
    logit, guess, ring_logits = maps[0], maps[1], maps[2:]
    p = 1 / (1 + np.exp(-logit))
    cross = -(share * np.log(p) + (1 - share) * np.log(1 - p)).mean()
    dice = 1 - 2 * (p * share).sum() / (p.sum() + share.sum())
    gap = np.abs(guess - distance)
    smooth = np.where(gap < 0.1, gap**2 / 0.2, gap - 0.05).mean()
    log_rings = ring_logits - np.log(np.exp(ring_logits).sum(0))
    return cross + dice + smooth - (rings * log_rings).sum(0).mean()


@pytest.mark.parametrize("limit", [6.0, 32.0])
def test_equals_the_reference(limit):
    mask = masks()
    maps = np.random.default_rng(0).normal(size=(2, 7, 8, 8))
    got = geometry_loss(torch.from_numpy(maps), torch.from_numpy(mask).double(), limit)
    expected = [reference_loss(m, t[0], limit) for m, t in zip(maps, mask, strict=True)]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


def test_maps_that_say_the_targets_cost_little():
    mask = torch.from_numpy(masks()).double()
    share, distance, rings = geometry_targets(mask, (8, 8), 32.0)
    perfect = torch.cat([torch.logit(share, eps=1e-6), distance, torch.log(rings + 1e-6)], dim=1)
    shifted = perfect.roll(4, dims=3)
    assert (geometry_loss(perfect, mask) < 0.6 * geometry_loss(shifted, mask)).all()
    assert (geometry_loss(perfect, mask) < geometry_loss(torch.zeros_like(perfect), mask)).all()


def test_gradients_are_right_and_finite_at_large_logits():
    mask = torch.from_numpy(masks(16)).double()
    maps = torch.randn(2, 7, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: geometry_loss(m, mask), (maps,))
    for dtype in (torch.float32, torch.bfloat16):
        huge = (1e4 * torch.randn(2, 7, 4, 4)).to(dtype).requires_grad_()
        geometry_loss(huge, mask.float()).sum().backward()
        assert huge.grad.isfinite().all()


def inputs(maps, **batch):
    logits = torch.zeros(len(maps), 3)
    return DistillationInputs(logits, logits[:0], torch.zeros(len(maps), dtype=torch.long), [maps], [], batch)


def test_slices_without_a_mask_are_left_out():
    term, mask = GeometryTargets(), torch.from_numpy(masks()).float()
    maps = torch.randn(2, 7, 8, 8, requires_grad=True)
    both = term(inputs(maps, mask=mask, has_mask=torch.tensor([True, True])))
    first = term(inputs(maps, mask=mask, has_mask=torch.tensor([True, False])))
    torch.testing.assert_close(both, geometry_loss(maps, mask).mean())
    torch.testing.assert_close(first, geometry_loss(maps, mask)[0])
    none = term(inputs(maps, mask=mask, has_mask=torch.tensor([False, False])))
    none.backward()
    assert none == 0
    assert not maps.grad.any()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no key 'mask'"):
        GeometryTargets()(inputs(torch.zeros(1, 7, 4, 4)))
    with pytest.raises(ValueError, match=r"one student tap of 7 channels.*head\.maps"):
        GeometryTargets().build([torch.Size([8, 4, 4])], [], 3)
    with pytest.raises(ValueError, match="limit is 0 pixels"):
        GeometryTargets(limit=0)
    with pytest.raises(ValueError, match="not of one batch"):
        geometry_loss(torch.zeros(2, 7, 4, 4), torch.zeros(3, 1, 8, 8))
