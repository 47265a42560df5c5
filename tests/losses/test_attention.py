"""at_loss against NumPy and scikit-image's block means."""

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce

from kdmri_monai.losses.attention import AttentionTransfer, at_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, power, size):
    """Equations 1 and 2 with the published mean over positions; sides are multiples of ``size``."""
    rows = []
    for maps in (student, teacher):
        strength = (np.abs(maps) ** power).sum(1)
        block = (1, *(have // want for have, want in zip(maps.shape[2:], size, strict=True)))
        flat = block_reduce(strength, block, np.mean).reshape(len(maps), -1)
        rows.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    return np.mean((rows[0] - rows[1]) ** 2)


def maps(student=(4, 8, 8), teacher=(6, 16, 16), batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=(batch, *shape))) for shape in (student, teacher)]


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        (((4, 8, 8), (6, 16, 16)), (8, 8)),
        (((3, 16, 8), (3, 8, 24)), (8, 8)),
        (((2, 5, 5), (2, 5, 5)), (5, 5)),
        (((2, 4, 4, 8), (5, 4, 8, 4)), (4, 4, 4)),
    ],
)
def test_equals_the_formula(shapes, size, power):
    student, teacher = maps(*shapes)
    expected = reference(student.numpy(), teacher.numpy(), power, size)
    np.testing.assert_allclose(at_loss(student, teacher, power).item(), expected, rtol=1e-9)


def test_signs_scale_and_order_of_channels_change_nothing():
    _, teacher = maps()
    assert at_loss(-30 * teacher.flip(1), teacher).item() < 1e-24


def test_attention_at_different_places_is_farthest_apart():
    student, teacher = torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2)
    student[..., 0, 0], teacher[..., 1, 1] = 1, 5
    assert at_loss(student, teacher).item() == pytest.approx(2 / 4)


@pytest.mark.parametrize("power", [2.0, 3.0])
def test_gradients_are_right_and_none_reach_the_teacher(power):
    student, teacher = (m.requires_grad_() for m in maps((2, 4, 4), (3, 8, 8), batch=2))
    assert torch.autograd.gradcheck(lambda s: at_loss(s, teacher.detach(), power), (student,))
    at_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_large_and_empty_maps_stay_finite(dtype, level):
    student = (torch.randn(2, 3, 4, 4) * level).to(dtype).requires_grad_()
    loss = at_loss(student, torch.randn(2, 3, 4, 4).to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = maps(batch=5)
    order = torch.randperm(5)
    torch.testing.assert_close(at_loss(student[order], teacher[order]), at_loss(student, teacher))


def test_the_term_is_the_mean_over_its_pairs():
    first, second = maps(), maps((2, 4, 4), (3, 4, 4), seed=1)
    term = AttentionTransfer(power=3.0)
    term.build([first[0].shape[1:], second[0].shape[1:]], [first[1].shape[1:], second[1].shape[1:]], 3)
    expected = (at_loss(*first, 3.0) + at_loss(*second, 3.0)) / 2
    torch.testing.assert_close(term(given([first[0], second[0]], [first[1], second[1]])), expected)


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"maps of as many axes are wanted; got \(1, 2\) and \(1, 2\)"):
        at_loss(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="2 samples of the student and 3 of the teacher"):
        at_loss(torch.zeros(2, 2, 4, 4), torch.zeros(3, 2, 4, 4))
    with pytest.raises(ValueError, match=r"power is 0\.5, it must be 1 or more"):
        AttentionTransfer(0.5)
    with pytest.raises(ValueError, match="maps of as many axes"):
        AttentionTransfer().build([torch.Size([4, 8, 8])], [torch.Size([4, 8, 8, 8])], 3)
