"""rkd_loss against SciPy's distances and loops over triplets."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from kdmri_monai.losses.relational import RelationalGeometry, angle_loss, distance_loss, rkd_loss
from kdmri_monai.losses.terms import DistillationInputs


def huber(difference):
    """Equation 7."""
    size = np.abs(difference)
    return np.where(size <= 1, 0.5 * size**2, size - 0.5)


def reference_distance(student, teacher):
    """Equations 5-8."""
    s, t = pdist(student), pdist(teacher)
    return np.mean(huber(s / s.mean() - t / t.mean()))


def reference_angle(student, teacher):
    """Equations 9-11."""

    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    triplets = list(itertools.permutations(range(len(student)), 3))
    return np.mean([huber(cosine(student, *t) - cosine(teacher, *t)) for t in triplets])


def features(batch=6, student=4, teacher=7, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, student)) * scale + 2, rng.standard_cauchy(size=(batch, teacher)) * scale


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


def given(student, teacher):
    logits = torch.zeros(len(student[0]), 3)
    return DistillationInputs(logits, logits, torch.zeros(len(logits), dtype=torch.long), student, teacher)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("batch", "student", "teacher"), [(3, 2, 2), (6, 4, 7), (8, 1, 3)])
def test_equals_the_formula(batch, student, teacher, scale):
    arrays = features(batch, student, teacher, scale)
    s, t = tensors(arrays)
    np.testing.assert_allclose(distance_loss(s, t).item(), reference_distance(*arrays), rtol=1e-9)
    np.testing.assert_allclose(angle_loss(s, t).item(), reference_angle(*arrays), rtol=1e-9)
    expected = 25 * reference_distance(*arrays) + 50 * reference_angle(*arrays)
    np.testing.assert_allclose(rkd_loss(s, t).item(), expected, rtol=1e-9)


def test_rotation_shift_and_scale_cost_nothing():
    _, teacher = tensors(features())
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    assert rkd_loss(30 * teacher @ rotation + 5, teacher).item() < 1e-20


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (f.requires_grad_() for f in tensors(features(5)))
    assert torch.autograd.gradcheck(lambda s: rkd_loss(s, teacher.detach()), (student,))
    rkd_loss(student, teacher).backward()
    assert teacher.grad is None


def test_samples_that_coincide_give_finite_gradients():
    student = torch.tensor([[1.0, 2], [1, 2], [0, 0], [3, 1]], requires_grad=True)
    rkd_loss(student, torch.randn(4, 3)).backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() > 0
    collapsed = torch.ones(4, 2, requires_grad=True)
    loss = rkd_loss(collapsed, torch.ones(4, 3))
    loss.backward()
    assert loss.item() == 0
    assert (collapsed.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_features_stay_finite(dtype):
    student = (torch.randn(5, 4) * 1e4).to(dtype).requires_grad_()
    loss = rkd_loss(student, -student.detach() + 1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_the_batch_does_not_matter():
    student, teacher = tensors(features(8))
    order = torch.randperm(8)
    torch.testing.assert_close(rkd_loss(student[order], teacher[order]), rkd_loss(student, teacher))


def test_the_term_is_the_mean_over_its_pairs_and_pools_maps():
    student = [torch.randn(4, 3, 5, 5), torch.randn(4, 6)]
    teacher = [torch.randn(4, 8), torch.randn(4, 2, 3, 3)]
    term = RelationalGeometry(distance_weight=2.0, angle_weight=3.0)
    term.build([f.shape[1:] for f in student], [f.shape[1:] for f in teacher], 3)
    first = rkd_loss(student[0].mean((2, 3)), teacher[0], 2.0, 3.0)
    second = rkd_loss(student[1], teacher[1].mean((2, 3)), 2.0, 3.0)
    torch.testing.assert_close(term(given(student, teacher)), (first + second) / 2)
    assert not list(term.parameters())


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match="a batch of 2 is too small, this term compares 3 samples or more"):
        rkd_loss(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="5 samples of the student and 4 of the teacher"):
        rkd_loss(torch.zeros(5, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"weights of distance -1 and angle 50\.0 must not be negative"):
        RelationalGeometry(distance_weight=-1)
    with pytest.raises(ValueError, match="at least one"):
        RelationalGeometry().build([], [], 3)
