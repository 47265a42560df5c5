"""dist_loss against SciPy's Pearson correlation, what it cannot see, and its behaviour at the edges."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import pearsonr

from kdmri_monai.losses.dist import DistTargets, dist_loss, pearson_distance
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, beta, gamma, temperature):
    """T^2 (beta mean_b (1 - r of rows) + gamma mean_k (1 - r of columns)), Huang 2022."""
    s, t = softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1)
    inter = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(s, t, strict=True)])
    intra = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(s.T, t.T, strict=True)])
    return temperature**2 * (beta * inter + gamma * intra)


def arrays(batch=8, classes=3, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(size=(2, batch, classes)) * scale


def tensors(*args, **kwargs):
    return tuple(torch.from_numpy(a) for a in arrays(*args, **kwargs))


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (2.0, 0.0), (0.0, 3.0)])
@pytest.mark.parametrize(("scale", "temperature"), [(1.0, 1.0), (4.0, 2.0), (4.0, 4.0)])
@pytest.mark.parametrize(("batch", "classes"), [(6, 2), (8, 3), (5, 10)])
def test_equals_the_paper(beta, gamma, scale, temperature, batch, classes):
    student, teacher = arrays(batch, classes, scale)
    got = dist_loss(torch.from_numpy(student), torch.from_numpy(teacher), beta, gamma, temperature)
    np.testing.assert_allclose(got.item(), reference(student, teacher, beta, gamma, temperature), rtol=1e-5, atol=1e-6)


def test_equal_logits_cost_nothing_and_opposite_rows_two():
    student, _ = tensors(scale=2.0)
    assert dist_loss(student, student).item() == pytest.approx(0.0, abs=1e-5)
    rows = torch.tensor([[0.1, 0.3, 0.6]])
    assert pearson_distance(rows, 1 - rows).item() == pytest.approx(2.0, abs=1e-6)


def test_correlation_does_not_see_scale_and_shift():
    first, second = tensors(5, 10)
    torch.testing.assert_close(pearson_distance(3 * first + 7, second), pearson_distance(first, second))


def test_with_three_classes_a_sure_and_an_unsure_teacher_are_equal():
    """The reason for the warning: the distance over the classes of a sample is the same for both."""
    student = torch.randn(1, 3, dtype=torch.float64)
    sure, unsure = (torch.tensor([p], dtype=torch.float64).log() for p in ((0.98, 0.01, 0.01), (0.5, 0.25, 0.25)))
    torch.testing.assert_close(dist_loss(student, sure), dist_loss(student, unsure), rtol=1e-6, atol=1e-6)


def test_a_batch_of_one_has_no_part_over_the_batch():
    student, teacher = tensors(1, 4)
    expected = 1 - pearsonr(softmax(student.numpy()[0]), softmax(teacher.numpy()[0])).statistic
    assert dist_loss(student, teacher, gamma=100.0).item() == pytest.approx(expected, rel=1e-6)
    assert dist_loss(student, teacher, beta=0.0).item() == 0.0


@pytest.mark.parametrize("constant", ["student", "teacher"])
def test_what_does_not_vary_counts_as_uncorrelated_with_finite_gradients(constant):
    student, teacher = torch.zeros(4, 3), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    if constant == "teacher":
        student, teacher = teacher, student
    student.requires_grad_()
    loss = dist_loss(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(2.0, abs=1e-3)
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() < 1e5


def test_a_student_that_answers_all_classes_alike_learns_from_there():
    _, teacher = tensors(scale=3.0)
    student = torch.zeros_like(teacher, requires_grad=True)
    dist_loss(student, teacher, gamma=0.0).backward()
    downhill = -student.grad
    assert (downhill.argmax(1) == teacher.argmax(1)).all()


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (t.requires_grad_() for t in tensors(4, 4))
    assert torch.autograd.gradcheck(lambda s: dist_loss(s, teacher.detach(), 1.0, 2.0, 2.0), (student,))
    dist_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    student = torch.tensor([[1e4, -1e4, 0.0], [0.0, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    loss = dist_loss(student, -student.detach())
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_batch_and_classes_does_not_matter():
    student, teacher = tensors(8, 4, 2.0)
    expected = dist_loss(student, teacher)
    batch, classes = torch.randperm(8), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(dist_loss(student[batch], teacher[batch]), expected)
    torch.testing.assert_close(dist_loss(student[:, classes], teacher[:, classes]), expected)


def test_the_term_is_the_function():
    student, teacher = tensors()
    inputs = DistillationInputs(student, teacher, torch.zeros(8, dtype=torch.long))
    assert torch.equal(DistTargets(0.5, 2.0, 3.0)(inputs), dist_loss(student, teacher, 0.5, 2.0, 3.0))


def test_few_classes_are_warned_of_once():
    with pytest.warns(UserWarning, match="dist with 2 classes: .* is 0 or 2"):
        DistTargets().build([], [], 2)
    with pytest.warns(UserWarning, match=r"dist with 3 classes: .* takes \(.98, .01, .01\)") as seen:
        DistTargets().build([], [], 3)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DistTargets().build([], [], 4)


def test_wrong_input_is_told():
    student, teacher = tensors()
    with pytest.raises(ValueError, match=r"student logits \(8, 3\), teacher logits \(8, 2\)"):
        dist_loss(student, teacher[:, :2])
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        dist_loss(student, teacher, temperature=0)
    with pytest.raises(ValueError, match="temperature is -1, it must be positive"):
        DistTargets(temperature=-1)
