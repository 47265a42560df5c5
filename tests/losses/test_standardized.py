"""ls_loss against SciPy's z-scores, what it cannot see, and its behaviour at the edges."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from scipy.stats import zscore

from kdmri_monai.losses.standardized import StandardizedTargets, ls_loss, standardized
from kdmri_monai.losses.terms import DistillationInputs


def reference(student, teacher, temperature):
    """T^2 mean_b KL of softmax(Z(z) / T), Z with the standard deviation over K (Sun 2024)."""
    s, t = (softmax(zscore(z, axis=1) / temperature, axis=1) for z in (student, teacher))
    return temperature**2 * np.mean(np.sum(rel_entr(t, s), axis=1))


def arrays(batch=8, classes=3, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(size=(2, batch, classes)) * scale


def tensors(*args, **kwargs):
    return tuple(torch.from_numpy(a) for a in arrays(*args, **kwargs))


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (8, 3), (5, 10)])
def test_equals_the_paper(temperature, scale, batch, classes):
    student, teacher = arrays(batch, classes, scale)
    got = ls_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    np.testing.assert_allclose(got.item(), reference(student, teacher, temperature), rtol=1e-4, atol=1e-9)


def test_only_the_pattern_of_the_logits_counts():
    student, teacher = tensors(8, 10)
    torch.testing.assert_close(
        ls_loss(5 * student + 3, 0.7 * teacher - 2), ls_loss(student, teacher), rtol=1e-4, atol=1e-6
    )
    assert ls_loss(9 * teacher + 1, teacher).item() == pytest.approx(0.0, abs=1e-9)


def test_with_three_classes_a_sure_and_an_unsure_teacher_give_one_target():
    """The reason for the warning."""
    sure, unsure = (torch.tensor([[p, (1 - p) / 2, (1 - p) / 2]]).log() for p in (0.999, 0.527))
    torch.testing.assert_close(standardized(sure), standardized(unsure), rtol=1e-4, atol=1e-4)


def test_equal_logits_are_standardised_to_zeros():
    assert torch.equal(standardized(torch.full((2, 3), 7.0)), torch.zeros(2, 3))


@pytest.mark.parametrize("constant", ["student", "teacher"])
def test_logits_without_spread_give_finite_gradients(constant):
    student, teacher = torch.zeros(4, 3), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    if constant == "teacher":
        student, teacher = teacher, student
    student.requires_grad_()
    ls_loss(student, teacher).backward()
    assert torch.isfinite(student.grad).all()
    assert 0 < student.grad.abs().max() < 1e4


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (t.requires_grad_() for t in tensors(4, 4))
    assert torch.autograd.gradcheck(lambda s: ls_loss(s, teacher.detach()), (student,))
    ls_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = ls_loss(student, -student.detach())
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_batch_and_classes_does_not_matter():
    student, teacher = tensors(8, 4, 2.0)
    expected = ls_loss(student, teacher)
    batch, classes = torch.randperm(8), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(ls_loss(student[batch], teacher[batch]), expected)
    torch.testing.assert_close(ls_loss(student[:, classes], teacher[:, classes]), expected)


def test_the_term_is_the_function():
    student, teacher = tensors()
    inputs = DistillationInputs(student, teacher, torch.zeros(8, dtype=torch.long))
    assert torch.equal(StandardizedTargets(3.0)(inputs), ls_loss(student, teacher, 3.0))


def test_few_classes_are_warned_of_once():
    with pytest.warns(UserWarning, match="ls with 2 classes: standardised logits are two points"):
        StandardizedTargets().build([], [], 2)
    with pytest.warns(UserWarning, match="ls with 3 classes: standardised logits lie on a circle") as seen:
        StandardizedTargets().build([], [], 3)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StandardizedTargets().build([], [], 4)


def test_wrong_input_is_told():
    student, teacher = tensors()
    with pytest.raises(ValueError, match=r"student logits \(8, 3\), teacher logits \(8, 2\)"):
        ls_loss(student, teacher[:, :2])
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        ls_loss(student, teacher, 0)
    with pytest.raises(ValueError, match="temperature is -1, it must be positive"):
        StandardizedTargets(-1)
