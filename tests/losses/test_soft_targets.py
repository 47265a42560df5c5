"""kd_loss against SciPy, its limits, and its behaviour at the edges."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from kdmri_monai.losses import DistillationInputs, SoftTargets, kd_loss


def reference(student, teacher, temperature):
    """T^2 mean_b sum_k p_t log(p_t / p_s), Hinton 2015."""
    p = softmax(teacher / temperature, axis=1)
    return temperature**2 * np.mean(
        np.sum(p * (log_softmax(teacher / temperature, axis=1) - log_softmax(student / temperature, axis=1)), axis=1)
    )


def logits(batch, classes, scale, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, batch, classes)) * scale


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (8, 3), (5, 10)])
def test_equals_the_formula(temperature, scale, batch, classes):
    student, teacher = logits(batch, classes, scale)
    got = kd_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    np.testing.assert_allclose(got.item(), reference(student, teacher, temperature), rtol=1e-9, atol=1e-12)


def test_a_teacher_that_is_sure_gives_cross_entropy():
    student = torch.randn(6, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    teacher = 1e3 * torch.nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(kd_loss(student, teacher, 1.0), torch.nn.functional.cross_entropy(student, labels))


def test_large_temperatures_match_logits():
    """For T to infinity the loss tends to the squared difference of centred logits over 2 K (Hinton 2015, eq. 4)."""
    student, teacher = (torch.from_numpy(z) for z in logits(16, 3, 1.0))
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = (centred**2).sum(1).mean() / 6
    torch.testing.assert_close(kd_loss(student, teacher, 1e4), expected, rtol=1e-3, atol=1e-6)


def test_gradients_are_right_and_none_reach_the_teacher():
    student, teacher = (torch.from_numpy(z).requires_grad_() for z in logits(4, 3, 1.0))
    assert torch.autograd.gradcheck(lambda s: kd_loss(s, teacher.detach(), 2.0), (student,))
    kd_loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = kd_loss(student, -student.detach(), 2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_order_of_batch_and_classes_does_not_matter():
    student, teacher = (torch.from_numpy(z) for z in logits(8, 3, 2.0))
    batch, classes = torch.randperm(8), torch.tensor([2, 0, 1])
    expected = kd_loss(student, teacher)
    torch.testing.assert_close(kd_loss(student[batch], teacher[batch]), expected)
    torch.testing.assert_close(kd_loss(student[:, classes], teacher[:, classes]), expected)


def test_the_term_is_the_function():
    student, teacher = (torch.from_numpy(z) for z in logits(8, 3, 2.0))
    inputs = DistillationInputs(student, teacher, torch.zeros(8, dtype=torch.long))
    assert torch.equal(SoftTargets(4.0)(inputs), kd_loss(student, teacher, 4.0))


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"student logits \(2, 3\), teacher logits \(2, 4\)"):
        kd_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="temperature is 0, it must be positive"):
        kd_loss(torch.zeros(2, 3), torch.zeros(2, 3), 0)
    with pytest.raises(ValueError, match="temperature is -1, it must be positive"):
        SoftTargets(-1)
