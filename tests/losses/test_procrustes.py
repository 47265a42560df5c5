"""procrustes_loss against scipy.linalg.orthogonal_procrustes."""

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from kdmri_monai.losses.procrustes import ProcrustesAlignment, procrustes_loss
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher):
    """||X_s Q - X_t||^2 with the best orthogonal Q, after centring, scaling and filling up with zero channels."""
    width = max(student.shape[1], teacher.shape[1])
    clouds = []
    for cloud in (student, teacher):
        centred = np.pad(cloud - cloud.mean(0), ((0, 0), (0, width - cloud.shape[1])))
        clouds.append(centred / np.linalg.norm(centred))
    rotation, _ = orthogonal_procrustes(*clouds)
    return np.sum((clouds[0] @ rotation - clouds[1]) ** 2)


def features(batch, student, teacher, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, student)) * scale + 4, rng.normal(size=(batch, teacher)) * scale - 1


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(
    ("batch", "student", "teacher"), [(2, 3, 3), (20, 4, 6), (20, 6, 4), (6, 30, 40), (6, 4, 40), (6, 40, 4), (5, 5, 5)]
)
def test_equals_the_formula_whether_the_teacher_is_wider_than_the_batch_or_not(batch, student, teacher, scale):
    arrays = features(batch, student, teacher, scale)
    np.testing.assert_allclose(procrustes_loss(*tensors(arrays)).item(), reference(*arrays), rtol=1e-7, atol=1e-9)


def test_rotation_shift_and_scale_cost_nothing():
    for width in (4, 50):
        _, teacher = tensors(features(12, 3, width))
        rotation = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64)).Q
        assert abs(procrustes_loss(7 * teacher @ rotation + 3, teacher).item()) < 1e-12


def test_clouds_along_orthogonal_directions_of_the_batch_are_farthest_apart():
    student = torch.tensor([[1.0], [-1], [0], [0]])
    teacher = torch.tensor([[0.0], [0], [1], [-1]])
    assert procrustes_loss(student, teacher).item() == pytest.approx(2.0)


@pytest.mark.parametrize(("batch", "student", "teacher"), [(6, 3, 4), (4, 3, 9)])
def test_gradients_are_right_and_none_reach_the_teacher(batch, student, teacher):
    s, t = (f.requires_grad_() for f in tensors(features(batch, student, teacher)))
    assert torch.autograd.gradcheck(lambda x: procrustes_loss(x, t.detach()), (s,))
    procrustes_loss(s, t).backward()
    assert t.grad is None


def test_repeated_and_vanishing_singular_values_give_bounded_gradients():
    teacher = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    student = (teacher * torch.tensor([1.0, 1.0, 0.0]) + 2).requires_grad_()
    procrustes_loss(student, teacher).backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() < 2
    collapsed = torch.full((6, 3), 5.0, requires_grad=True)
    loss = procrustes_loss(collapsed, teacher)
    loss.backward()
    assert loss.item() == 2
    assert (collapsed.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_features_stay_finite_and_single_precision_is_enough(dtype):
    student, teacher = (f.to(dtype) for f in tensors(features(16, 8, 100, 1e4)))
    expected = reference(student.double().numpy(), teacher.double().numpy())
    student.requires_grad_()
    loss = procrustes_loss(student, teacher)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = tensors(features(8, 3, 20))
    order = torch.randperm(8)
    torch.testing.assert_close(procrustes_loss(student[order], teacher[order]), procrustes_loss(student, teacher))


def test_the_term_is_the_mean_over_its_pairs_and_pools_maps():
    student = [torch.randn(4, 3, 5, 5), torch.randn(4, 6)]
    teacher = [torch.randn(4, 8), torch.randn(4, 2, 3, 3)]
    term = ProcrustesAlignment()
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    first = procrustes_loss(student[0].mean((2, 3)), teacher[0])
    second = procrustes_loss(student[1], teacher[1].mean((2, 3)))
    torch.testing.assert_close(term(given(student, teacher)), (first + second) / 2)


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match="a batch of 1 is too small, this term compares 2 samples or more"):
        procrustes_loss(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="5 samples of the student and 4 of the teacher"):
        procrustes_loss(torch.zeros(5, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="at least one"):
        ProcrustesAlignment().build([], [], 3)
