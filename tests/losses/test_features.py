"""hcl_loss against scikit-image's block means, and the term that fuses."""

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce

from kdmri_monai.losses import DistillationInputs, FusedFeatures, hcl_loss
from kdmri_monai.networks.resampling import channel_norm, match_size


def reference(student, teacher):
    """Section 3.4 of ReviewKD for maps whose side is a multiple of 4."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        loss, weights, weight = ((s - t) ** 2).mean(), 1.0, 1.0
        for size in (4, 2, 1):
            if size >= s.shape[2]:
                continue
            weight /= 2
            weights += weight
            block = (1, 1, s.shape[2] // size, s.shape[3] // size)
            loss += weight * ((block_reduce(s, block, np.mean) - block_reduce(t, block, np.mean)) ** 2).mean()
        total += loss / weights
    return total


def pair(sizes=(16, 8, 4, 1), channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=(2, channels, s, s)) for s in sizes] for _ in range(2)]


def tensors(maps):
    return [torch.from_numpy(m) for m in maps]


@pytest.mark.parametrize("sizes", [(16,), (16, 8, 4, 1), (1,), (4, 2)])
def test_equals_the_paper(sizes):
    student, teacher = pair(sizes)
    got = hcl_loss(tensors(student), tensors(teacher)).item()
    np.testing.assert_allclose(got, reference(student, teacher), rtol=1e-12)


def test_equal_maps_cost_nothing():
    student, _ = pair()
    assert hcl_loss(tensors(student), tensors(student)).item() == 0.0


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = ([m.requires_grad_() for m in tensors(maps)] for maps in pair((8, 2)))
    assert torch.autograd.gradcheck(lambda *s: hcl_loss(s, [t.detach() for t in teacher]), tuple(student))
    hcl_loss(student, teacher).backward()
    assert all(t.grad is None for t in teacher)


def test_volumes_work_too():
    student, teacher = torch.zeros(1, 2, 8, 8, 8), torch.ones(1, 2, 8, 8, 8)
    assert hcl_loss([student], [teacher]).item() == pytest.approx(1.0)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"student maps \[\(1, 2, 4, 4\)\] and teacher maps \[\(1, 3, 4, 4\)\]"):
        hcl_loss([torch.zeros(1, 2, 4, 4)], [torch.zeros(1, 3, 4, 4)])
    with pytest.raises(ValueError, match="must be the same shapes"):
        hcl_loss([], [])


def test_channel_norm_is_layer_norm_over_channels():
    maps = np.random.default_rng(0).normal(size=(2, 6, 3, 5)) * 7 + 2
    expected = (maps - maps.mean(1, keepdims=True)) / np.sqrt(maps.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(channel_norm(torch.from_numpy(maps)).numpy(), expected, rtol=1e-9, atol=1e-9)


def test_larger_maps_are_area_pooled_and_smaller_ones_enlarged():
    maps = np.random.default_rng(0).normal(size=(1, 2, 8, 8))
    pooled = match_size(torch.from_numpy(maps), (4, 4)).numpy()
    np.testing.assert_allclose(pooled, block_reduce(maps, (1, 1, 2, 2), np.mean))
    assert match_size(torch.from_numpy(maps), (16, 16)).shape == (1, 2, 16, 16)


def inputs(student, teacher):
    logits = torch.zeros(2, 3)
    return DistillationInputs(logits, logits, torch.zeros(2, dtype=torch.long), tensors(student), tensors(teacher))


def test_the_term_learns_on_the_student_side_only():
    term = FusedFeatures(("abf", {"width": 8}))
    rng = np.random.default_rng(0)
    student = [torch.randn(2, c, s, s, requires_grad=True) for c, s in ((4, 8), (6, 4))]
    teacher = [torch.from_numpy(rng.normal(size=(2, c, s, s))).float().requires_grad_() for c, s in ((5, 16), (7, 4))]
    term.build([m.shape[1:] for m in student], [m.shape[1:] for m in teacher], 3)
    logits = torch.zeros(2, 3)
    value = term(DistillationInputs(logits, logits, torch.zeros(2, dtype=torch.long), student, teacher))
    value.backward()
    assert value.ndim == 0
    assert all(m.grad is not None for m in student)
    assert all(m.grad is None for m in teacher)
    assert all(p.grad is not None for p in term.parameters())


def test_training_brings_the_fused_maps_to_the_teacher():
    torch.manual_seed(0)
    term = FusedFeatures(("abf", {"width": 16}))
    teacher = [torch.randn(4, 3, 8, 8), torch.randn(4, 5, 4, 4)]
    student = [torch.cat([teacher[0], torch.randn(4, 2, 8, 8)], 1), torch.cat([teacher[1], torch.randn(4, 1, 4, 4)], 1)]
    term.build([m.shape[1:] for m in student], [m.shape[1:] for m in teacher], 3)
    given = DistillationInputs(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4, dtype=torch.long), student, teacher)
    optimizer = torch.optim.Adam(term.parameters(), 1e-2)
    first = term(given).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = term(given)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first


def test_the_term_wants_taps_and_to_be_built():
    with pytest.raises(ValueError, match="as many student taps as teacher taps"):
        FusedFeatures().build([torch.Size([4, 8, 8])], [], 3)
    with pytest.raises(ValueError, match="at least one"):
        FusedFeatures().build([], [], 3)
    with pytest.raises(RuntimeError, match="must be called"):
        FusedFeatures()(inputs(*pair((4,))))
